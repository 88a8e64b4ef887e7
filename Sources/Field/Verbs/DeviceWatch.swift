// `sluice device ID --watch DURATION`: what one device sends while somebody looks: from which endpoint,
// what becomes of it, when its endpoint changes. Refused frames name no device: those count that come
// from an endpoint at which it was heard. Made of the daemon's recording. On the main thread.

import Formats
import Host
package import Model

/// What was seen of one device; values only, so that a test can play any recording.
package struct DeviceWatch: Sendable {
    private let identity: String
    private var endpoint: Endpoint?
    private var known: Set<Endpoint> = []
    /// Verdicts of endpoints at which the device was not heard yet, a bounded number.
    private var strangers: [Endpoint: [String: Int]] = [:]
    package private(set) var verdicts: [String: Int] = [:]
    package private(set) var endpointChanges = 0
    private static let maximumStrangers = 4096

    package init(_ identity: String) { self.identity = identity }

    /// Takes a record; the line to show, nil when it is not of the device.
    package mutating func take(
        _ delivery: CapturedDelivery, from client: Endpoint, _ language: Language
    ) -> String? {
        guard delivery.isToServer, delivery.kind == .datagram || delivery.kind == .bytes else {
            return nil
        }
        let parts = delivery.note.split(separator: ";").map(String.init)
        let verdict = parts.first ?? ""
        let isOurs = parts.dropFirst().contains { part in
            part.split(separator: " ").dropFirst().joined(separator: " ") == identity
        }
        guard isOurs || known.contains(client) else {
            if strangers[client] != nil || strangers.count < DeviceWatch.maximumStrangers {
                strangers[client, default: [:]][verdict, default: 0] += 1
            }
            return nil
        }
        // A frame that another device sent from the same endpoint (a concentrator) is not ours.
        guard isOurs || parts.count == 1 else { return nil }
        var note = ""
        if isOurs {
            if let endpoint, endpoint != client {
                endpointChanges += 1
                note = "  " + language(.watchMoved, endpoint.description)
            }
            endpoint = client
            if known.insert(client).inserted {
                for (word, count) in strangers.removeValue(forKey: client) ?? [:]
                where word.hasPrefix("rejected") { verdicts[word, default: 0] += count }
            }
        }
        verdicts[verdict, default: 0] += 1
        let time = StatusScreen.time(Timestamp(milliseconds: delivery.time / 1_000_000))
        let size = language.count(delivery.bytes.count, .nounByte)
        return "\(time)  \(client.description)  \(size)  \(verdict)\(note)"
    }

    package func summary(_ language: Language) -> String {
        let words = verdicts.sorted { $0.key < $1.key }.map {
            "\($0.key) \(Words.grouped($0.value))"
        }
        return language(
            .watchSummary, words.isEmpty ? language(.nothing) : words.joined(separator: ", "),
            Words.grouped(endpointChanges))
    }

    var json: JSON {
        .object([
            (
                "verdicts",
                .object(
                    verdicts.sorted { $0.key < $1.key }.map { ($0.key, .integer(Int64($0.value))) })
            ),
            ("endpointChanges", .integer(Int64(endpointChanges))),
            ("endpoint", endpoint.map { .string($0.description) } ?? .null),
        ])
    }
}

extension DevicesVerb {
    /// Watches until the time is over or Ctrl-C; nil, after complaining, when the daemon goes away.
    static func watch(
        _ identity: String, _ milliseconds: Int64, _ socket: String, _ console: Console,
        shows: Bool
    ) -> DeviceWatch? {
        Interrupts.block()
        var watch = DeviceWatch(identity)
        func ask(_ route: String) -> String? { AdminVerbs.ask(route, socket, console) }
        guard let number = ask("/capture/begin?source=&device=&verdict=")?.trimmingEnd else {
            return nil
        }
        let end = SendingClock.now &+ min(milliseconds, 1 << 40) * 1_000_000
        while true {
            let left = max(0, (end - SendingClock.now) / 1_000_000)
            let isOver =
                Interrupts.wait(milliseconds: min(200, left)) || SendingClock.now >= end
            guard let text = ask("/capture/\(isOver ? "end" : "fetch")?id=\(number)") else {
                return nil
            }
            for line in text.split(separator: "\n").dropFirst() {
                guard let (delivery, conversation) = CaptureLine.parse(line, number: 0),
                    let shown = watch.take(delivery, from: conversation.client, console.language)
                else { continue }
                if shows { console.line(Table.printable(shown)) }
            }
            console.flush()
            if isOver { return watch }
        }
    }
}

extension String {
    /// Without blanks and line ends after it.
    fileprivate var trimmingEnd: String {
        var text = self[...]
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}
