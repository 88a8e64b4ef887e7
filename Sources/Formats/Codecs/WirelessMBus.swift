// `{ codec: "wmbus" }`: a telegram of wireless M-Bus (EN 13757-4, -7; OMS volume 2), with or without the
// check values of its link layer, as receivers hand them on.
//
//   L C M2 A6 | CI … : L counts what follows it; M maker, A number, version, medium
//   format A: a check value behind byte 10, then behind every 16; L does not count them
//   format B: behind byte 126 and at the end; L counts them
//
// Layers, each before the next: extended link (8C 8D 8E 8F), authentication (90), transport (72 7A 78),
// then records. The telegram is copied once into the codec's plane, without check values, and deciphered
// there in place: whatever is refused or wrong, nothing outside the plane is touched.
//
// A payload that is enciphered and has no key here is left alone: the frame is accepted, says whose it is
// and yields no reading.

import Model

/// What is gathered on the way through the layers of one telegram.
struct Telegram {
    /// Who sends it: the link's address, or the one that a long header names.
    var meter: MBusAddress
    /// Message counter of the authentication layer (four bytes), -1 none.
    var counterAt = -1
    /// Message control byte, check value and message length of the authentication layer; -1 none.
    var controlAt = -1
    var macAt = -1
    var macCount = 0
    var lengthAt = -1
    /// Codec's place.
    var place: CodecPlace
}

extension Machine {
    mutating func wirelessMBus<S: FrameSink>(
        _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let outer = (cursor, plane, start, limit)
        let isChecked = try unpack(at)
        if S.explains {
            sink.structure("length", 0..<1, machine: self)
            sink.leaf("c", 1..<2, .number(.decimal(Int64(cursor.byte(1) ?? 0))), self)
        }
        let link = MBusAddress(link: 2)
        if S.explains {
            link.explain(self, &sink)
            if isChecked { sink.leaf("dll_crc", limit..<limit, .boolean(true), self) }
        }
        position = 10
        var telegram = Telegram(meter: link, place: at)
        if try extendedLink(&telegram, &sink) {
            try application(&telegram, isNested: false, &sink)
        }
        try identify(telegram.meter, &sink)
        (cursor, plane, start, limit) = outer
        position = limit
    }

    /// A byte of the telegram; moves on behind it.
    @inline(__always)
    mutating func take() throws(Rejection) -> UInt8 {
        guard position < limit, let byte = cursor.byte(position) else { throw .truncated }
        position &+= 1
        return byte
    }

    mutating func take(_ count: Int) throws(Rejection) -> Int {
        guard count >= 0, position <= limit &- count else { throw .truncated }
        position &+= count
        return position &- count
    }

    func number<S: FrameSink>(_ name: String, _ at: Int, _ count: Int, _ sink: inout S) {
        guard S.explains else { return }
        let word = cursor.little(at, width: count) ?? 0
        sink.leaf(name, at..<at &+ count, .number(.decimal(Int64(word))), self)
    }

    // MARK: Link layer

    /// EN 13757-4 section 12.2.4: polynomial 3D65.
    private static let linkRule = CRC16Rule(
        polynomial: 0x3D65, start: 0, isReflected: false, final: 0xFFFF)

    static func linkCRC(_ bytes: Cursor, _ range: Range<Int>) -> UInt16? {
        bytes.crc16(range, rule: linkRule)
    }

    /// Copies the telegram without check values into the plane and goes on there. True when there were
    /// check values, which hold.
    private mutating func unpack(_ at: CodecPlace) throws(Rejection) -> Bool {
        let from = position
        let there = limit &- from
        guard let announced = cursor.byte(from) else { throw .truncated }
        let total = Int(announced) &+ 1
        guard total >= 11 else { throw .badLength }
        guard there >= total else { throw .truncated }
        let blocks = 1 &+ (total &- 10 &+ 15) / 16
        var layout = BytePlane.Spread(base: from, first: .max, then: .max)
        var count = total
        if there == total &+ 2 &* blocks {
            layout = .init(base: from, first: 10, then: 16)
            guard holds(total, layout) else { throw .badChecksum }
        } else if there == total {
            let isLong = total > 128
            let inner = total &- (isLong ? 4 : 2)
            let b = BytePlane.Spread(base: from, first: isLong ? 126 : inner, then: .max)
            if inner >= 11, holds(inner, b) {
                layout = b
                count = inner
            }
        } else {
            throw .badLength
        }
        let scratch = work.planes[Int(at.plane)]
        scratch.clear()
        for i in 0..<count { scratch.append(cursor.byte(layout.origin(i)) ?? 0) }
        guard scratch.count == count else { throw .oversized }
        scratch.setMap(.spread(layout), below: plane)
        cursor = scratch.cursor(count: count)
        plane = at.plane &+ 1
        start = 0
        limit = count
        return layout.first != .max
    }

    /// Whether the check value behind each block of the `count` bytes of content is right. A block of
    /// format B that is last begins where the block before ended; the first check value of format B
    /// covers all before it.
    private func holds(_ count: Int, _ layout: BytePlane.Spread) -> Bool {
        var at = 0
        while at < count {
            let size = at == 0 ? layout.first : layout.then
            let end = size >= count &- at ? count : at &+ size
            let first = layout.origin(at)
            let last = layout.origin(end &- 1) &+ 1
            guard let expected = Machine.linkCRC(cursor, first..<last),
                let found = cursor.big(last, width: 2), found == UInt64(expected)
            else { return false }
            at = end
        }
        return true
    }

    // MARK: Extended link layer

    /// CI 8C to 8F. False when what follows stays enciphered.
    private mutating func extendedLink<S: FrameSink>(
        _ telegram: inout Telegram, _ sink: inout S
    ) throws(Rejection) -> Bool {
        guard position < limit, let ci = cursor.byte(position), ci >= 0x8C, ci <= 0x8F else {
            return true
        }
        if S.explains { sink.structure("extended link", position..<position &+ 1, machine: self) }
        position &+= 1
        if S.explains { sink.openObject("ell", at: position, machine: self) }
        let control = try take(2)
        number("cc", control, 1, &sink)
        number("acc", control &+ 1, 1, &sink)
        if ci >= 0x8E {
            let receiver = MBusAddress(link: try take(8))
            if S.explains {
                sink.openObject("receiver", at: position, machine: self)
                receiver.explain(self, &sink)
                sink.close()
            }
        }
        guard ci == 0x8D || ci == 0x8F else {
            if S.explains { sink.close() }
            return true
        }
        let session = try take(4)
        if S.explains {
            sink.leaf("session", session..<position, .bytes(cursor.bytes(session..<position)), self)
            sink.close()
        }
        return try openSession(control, session, &telegram, &sink)
    }

    /// Deciphers and checks what stands behind a session number: a check value of two bytes (low byte
    /// first), then the payload.
    private mutating func openSession<S: FrameSink>(
        _ control: Int, _ session: Int, _ telegram: inout Telegram, _ sink: inout S
    ) throws(Rejection) -> Bool {
        let from = try take(2)
        let isEnciphered = (cursor.byte(session &+ 3) ?? 0) >> 5 != 0
        func holds() -> Bool {
            Machine.linkCRC(cursor, position..<limit).map { UInt64($0) }
                == cursor.little(from, width: 2)
        }
        if holds() {
            if isEnciphered, S.explains {
                sink.leaf("encryption", from..<from, .text("removed"), self)
            }
        } else {
            guard isEnciphered else { throw .badChecksum }
            if S.explains { sink.leaf("encryption", from..<from, .text("ell-aes-ctr"), self) }
            guard let key = work.keys.key(telegram.meter.key(cursor)) else {
                seal(from, &sink)
                return false
            }
            var counter = Block128()
            for i in 0..<8 { counter[i] = cursor.byte(2 &+ i) ?? 0 }
            counter[8] = cursor.byte(control) ?? 0
            for i in 0..<4 { counter[9 &+ i] = cursor.byte(session &+ i) ?? 0 }
            decipher(stream: AES128(key: key), counter, from..<limit, telegram.place)
            guard holds() else { throw .badDecryption }
        }
        if S.explains { sink.structure("payload checksum", from..<from &+ 2, machine: self) }
        return true
    }

    private func decipher(
        stream aes: AES128, _ counter: Block128, _ range: Range<Int>, _ place: CodecPlace
    ) {
        let scratch = work.planes[Int(place.plane)]
        var counter = counter
        var at = range.lowerBound
        while at < range.upperBound {
            let key = aes.stream(counter)
            for i in 0..<min(16, range.upperBound &- at) {
                scratch.set((cursor.byte(at &+ i) ?? 0) ^ key[i], at: at &+ i)
            }
            counter.low &+= 1
            at &+= 16
        }
    }

    /// The rest stays as it is.
    mutating func seal<S: FrameSink>(_ from: Int, _ sink: inout S) {
        if S.explains {
            sink.leaf("encrypted", from..<limit, .bytes(cursor.bytes(from..<limit)), self)
        }
        sink.seal()
        position = limit
    }
}
