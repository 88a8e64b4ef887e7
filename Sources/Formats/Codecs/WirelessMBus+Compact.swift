// Compact frames of wireless M-Bus (CI 79; EN 13757-3 annex on compact profiles): data without DIFs and
// VIFs. Two bytes name the record heads of the full frame (their check value), two check the full frame,
// the data follow.
//
// Heads are known by a table, not learnt from full frames that were seen: so the same telegram always
// gives the same readings, also when the journal is decoded again after a crash. A signature that is not
// in the table, or a full frame that its check value refuses, leaves the telegram as it is.

import Model

extension Machine {
    /// Heads of full frames that water and heat meters are known to abbreviate; each is found by the
    /// check value of its bytes, so an error in one could only make it unknown.
    static let compactHeads: [[UInt8]] = [
        [0x02, 0xFF, 0x20, 0x04, 0x13, 0x44, 0x13, 0x61, 0x5B, 0x61, 0x67],
        [
            0x02, 0xFF, 0x20, 0x04, 0x13, 0x92, 0x01, 0x3B, 0xA1, 0x01, 0x5B, 0x81, 0x01, 0xE7,
            0xFF, 0x0F,
        ],
        [0x02, 0xFF, 0x20, 0x04, 0x13, 0x44, 0x13, 0xA1, 0x01, 0x5B, 0x81, 0x01, 0xE7, 0xFF, 0x0F],
        [0x02, 0xFF, 0x20, 0x04, 0x13, 0x44, 0x13, 0x61, 0x5B, 0x51, 0x67],
        [0x02, 0xFF, 0x20, 0x04, 0x13, 0x44, 0x13],
    ]

    /// A head's signature, its first byte in `headBytes`, its count.
    private struct Head: BitwiseCopyable, Sendable {
        var signature: UInt16
        var from: Int
        var count: Int
    }

    private static let headBytes = FixedTable(compactHeads.flatMap { $0 })
    private static let heads: FixedTable<Head> = {
        var from = 0
        return FixedTable(
            compactHeads.map { bytes in
                defer { from += bytes.count }
                let signature = Cursor.over(bytes.span) { linkCRC($0, 0..<bytes.count) }
                return Head(signature: signature ?? 0, from: from, count: bytes.count)
            })
    }()

    mutating func compact<S: FrameSink>(
        _ place: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        if S.explains {
            sink.leaf("data", position..<limit, .bytes(cursor.bytes(position..<limit)), self)
        }
        let signature = cursor.little(try take(2), width: 2) ?? 0
        let check = cursor.little(try take(2), width: 2) ?? 0
        let scratch = work.planes[Int(place.plane)]
        let base = scratch.count
        guard let head = Machine.head(signature), expand(head, scratch),
            Machine.linkCRC(scratch.cursor(count: scratch.count), base..<scratch.count)
                .map({ UInt64($0) }) == check
        else {
            scratch.cut(to: base)
            position = limit
            return
        }
        cursor = scratch.cursor(count: scratch.count)
        position = base
        limit = scratch.count
        try mbusRecords(place, &sink)
    }

    private static func head(_ signature: UInt64) -> Head? {
        for i in 0..<heads.count where UInt64(heads[i].signature) == signature { return heads[i] }
        return nil
    }

    /// Appends the full frame's records to the plane. False when data or room end early.
    private func expand(_ head: Head, _ scratch: BytePlane) -> Bool {
        var data = position
        var at = head.from
        let end = head.from &+ head.count
        let base = scratch.count
        var written = 0
        while at < end {
            let coding = Machine.headBytes[at] & 15
            // DIF and DIFEs, then VIF and VIFEs.
            for _ in 0..<2 {
                var more = true
                while more, at < end {
                    more = Machine.headBytes[at] & 0x80 != 0
                    scratch.append(Machine.headBytes[at])
                    at &+= 1
                    written &+= 1
                }
            }
            let count = coding == 7 ? 8 : coding <= 4 || coding == 6 ? Int(coding) : -1
            guard count >= 0, data <= limit &- count else { return false }
            for i in 0..<count { scratch.append(cursor.byte(data &+ i) ?? 0) }
            data &+= count
            written &+= count
        }
        return data == limit && scratch.count == base &+ written
    }
}
