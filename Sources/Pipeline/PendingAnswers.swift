// Answers that wait for the commit that holds their frames. Owned by the intake: one flat byte buffer
// and a queue of spans in it, in the order of journal positions, so that nothing is allocated an answer.

import Model

struct PendingAnswers {
    private struct Entry {
        /// The answer may leave when every frame before this journal position is durable.
        var needs: UInt64
        var recipient: Recipient
        var offset: Int
        var count: Int
    }

    private var entries: [Entry] = []
    private var head = 0
    private var bytes: [UInt8] = []

    var count: Int { entries.count - head }
    var byteCount: Int { bytes.count }

    mutating func append(
        _ answer: some Collection<UInt8>, to recipient: Recipient, needs position: UInt64
    ) {
        entries.append(
            Entry(needs: position, recipient: recipient, offset: bytes.count, count: answer.count))
        bytes.append(contentsOf: answer)
    }

    /// Puts `others` behind these.
    mutating func append(_ others: PendingAnswers) {
        for entry in others.entries[others.head...] {
            append(
                others.bytes[entry.offset..<entry.offset + entry.count], to: entry.recipient,
                needs: entry.needs)
        }
    }

    /// Sends what is durable up to `committed`; returns how many answers left.
    mutating func release(upTo committed: UInt64, through port: any AnswerPort) -> Int {
        let sent = send(upTo: committed, through: port)
        guard sent > 0 else { return 0 }
        port.flush()
        head += sent
        compact()
        return sent
    }

    /// Lets go of answers whose frames were not stored: the devices repeat them.
    mutating func forget(upTo position: UInt64) {
        while head < entries.count, entries[head].needs <= position { head += 1 }
        compact()
    }

    private func send(upTo committed: UInt64, through port: any AnswerPort) -> Int {
        var next = head
        let all = bytes.span
        while next < entries.count, entries[next].needs <= committed {
            let entry = entries[next]
            port.answer(
                all.extracting(entry.offset..<entry.offset + entry.count), to: entry.recipient)
            next += 1
        }
        return next - head
    }

    private mutating func compact() {
        if head == entries.count {
            entries.removeAll(keepingCapacity: true)
            bytes.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 4096 {
            let cut = entries[head].offset
            bytes.removeFirst(cut)
            entries.removeFirst(head)
            for i in entries.indices { entries[i].offset -= cut }
            head = 0
        }
    }
}
