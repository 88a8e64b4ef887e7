// Sends answers to devices. Owner: IntakeSockets; on the intake's queue only. Datagrams gather in
// one buffer until `flush` and leave in one sendmmsg a source; stream answers go to their
// connection. An answer that the kernel does not take is counted and forgotten: the device repeats
// its frame.

import CLinux
import Model
package import Pipeline

package final class AnswerSender: AnswerPort {
    /// The most bytes that one datagram answer may have; the rest of a slot's Ethernet frame.
    package static let maximumAnswer = 1472

    private var datagramSources: [Int: UDPSource] = [:]
    private var streamSources: [Int: StreamSource] = [:]
    private var bytes: [UInt8] = []
    private var items: [sluice_outgoing] = []
    private var itemsSource = -1
    package private(set) var lost: UInt64 = 0
    /// Somebody records.
    var recording: Recording?

    init() {
        bytes.reserveCapacity(Int(SLUICE_OUTGOING_MAX) * 64)
        items.reserveCapacity(Int(SLUICE_OUTGOING_MAX))
    }

    func attach(_ source: UDPSource) { datagramSources[source.number] = source }
    func attach(_ source: StreamSource) { streamSources[source.number] = source }

    func detachAll() {
        datagramSources.removeAll()
        streamSources.removeAll()
    }

    package func answer(_ answer: Span<UInt8>, to recipient: Recipient) {
        if let recording { recording.answer(answer, to: recipient) }
        switch recipient {
        case .connection(let connection):
            let source = streamSources[ConnectionNumbers.source(of: connection)]
            if source?.answer(answer, to: connection) != true { lost &+= 1 }
        case .datagram(let source, let endpoint):
            guard answer.count <= AnswerSender.maximumAnswer else {
                lost &+= 1
                return
            }
            if source != itemsSource || items.count == Int(SLUICE_OUTGOING_MAX) {
                sendDatagrams()
                itemsSource = source
            }
            items.append(
                sluice_outgoing(
                    to: endpoint.raw, offset: UInt32(bytes.count), count: UInt32(answer.count)))
            for i in 0..<answer.count { bytes.append(answer[i]) }
        }
    }

    package func flush() {
        sendDatagrams()
        for source in streamSources.values { source.flushAnswers() }
    }

    private func sendDatagrams() {
        guard !items.isEmpty else { return }
        defer {
            items.removeAll(keepingCapacity: true)
            bytes.removeAll(keepingCapacity: true)
        }
        guard let source = datagramSources[itemsSource] else {
            lost &+= UInt64(items.count)
            return
        }
        let failures = source.send(bytes, items)
        if failures > 0 {
            lost &+= UInt64(failures)
            source.countLostAnswers(failures)
        }
    }
}
