// What a conversation with a device knows about a payload and the payload does not say itself, and the
// envelope that keeps both together: the journal holds envelopes for frames that came through an
// exchange, so that decoding them again after a crash needs no session.
//
//   offset  bytes
//   0       45 01               mark and version
//   2       u8                  count of `device`
//   3       u8                  count of `scope`
//   4       u8                  count of `key`
//   5       u16 LE              count of `path`
//   7       4 × s64 LE          `numbers`
//   39      device, scope, key, path, then the payload to the end

package import Model

/// Storage is reused: fill it anew for each payload.
package struct FrameContext: Hashable, Sendable {
    /// Identity of the device (LwM2M endpoint name, MQTT-SN client): at most 64 bytes of
    /// `[A-Za-z0-9._:-]`. Empty: the payload's format identifies.
    package var device: [UInt8] = []
    /// Stands before identities that count only on their line: `dtu7` makes `dtu7:1`.
    package var scope: [UInt8] = []
    /// What makes a repeated message the same (endpoint, message id); empty: the format's own key.
    package var key: [UInt8] = []
    /// Resource path or topic name: `/3303/0`, the beginning of stream names.
    package var path: [UInt8] = []
    /// Of the request that this frame answers: `asked0` … `asked3` of the language; -1 not known.
    package var numbers: [4 of Int64] = [-1, -1, -1, -1]

    package init() {}

    package static func == (a: FrameContext, b: FrameContext) -> Bool {
        for i in 0..<4 where a.numbers[i] != b.numbers[i] { return false }
        return a.device == b.device && a.scope == b.scope && a.key == b.key && a.path == b.path
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(device)
        hasher.combine(path)
    }

    package mutating func removeAll() {
        device.removeAll(keepingCapacity: true)
        scope.removeAll(keepingCapacity: true)
        key.removeAll(keepingCapacity: true)
        path.removeAll(keepingCapacity: true)
        numbers = [-1, -1, -1, -1]
    }

    static let headCount = 39

    /// Longest envelope around a payload of `count` bytes.
    package static func maximumEnvelope(payload count: Int) -> Int {
        headCount + 3 * 255 + 0xFFFF + count
    }

    /// Writes the envelope around `payload` into `out`, which it empties first. Parts that are too long
    /// are cut to their limits (255 bytes, the path 65,535).
    package func encode(_ payload: Span<UInt8>, into out: inout [UInt8]) {
        out.removeAll(keepingCapacity: true)
        let pathCount = min(path.count, 0xFFFF)
        out += [0x45, 1]
        for part in [device.count, scope.count, key.count] { out.append(UInt8(min(part, 255))) }
        out.append(UInt8(truncatingIfNeeded: pathCount))
        out.append(UInt8(truncatingIfNeeded: pathCount >> 8))
        for i in 0..<4 {
            let word = UInt64(bitPattern: numbers[i])
            for shift in 0..<8 { out.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * shift))) }
        }
        out += device.prefix(255)
        out += scope.prefix(255)
        out += key.prefix(255)
        out += path.prefix(pathCount)
        for i in 0..<payload.count { out.append(payload[i]) }
    }
}

/// Where the parts of an envelope lie.
struct Envelope {
    var device: Range<Int>
    var scope: Range<Int>
    var key: Range<Int>
    var path: Range<Int>
    var payload: Range<Int>

    /// Nil when the bytes are no envelope.
    init?(_ bytes: Cursor) {
        guard bytes.byte(0) == 0x45, bytes.byte(1) == 1, let device = bytes.byte(2),
            let scope = bytes.byte(3), let key = bytes.byte(4),
            let path = bytes.little(5, width: 2)
        else { return nil }
        self.device = FrameContext.headCount..<FrameContext.headCount + Int(device)
        self.scope = self.device.upperBound..<self.device.upperBound + Int(scope)
        self.key = self.scope.upperBound..<self.scope.upperBound + Int(key)
        self.path = self.key.upperBound..<self.key.upperBound + Int(path)
        guard self.path.upperBound <= bytes.count else { return nil }
        payload = self.path.upperBound..<bytes.count
    }

    static func number(_ bytes: Cursor, _ index: Int) -> Int64 {
        Int64(bitPattern: bytes.little(7 &+ 8 &* index, width: 8) ?? .max)
    }
}

extension Workspace {
    /// Lays out what the envelope says for the run over its payload.
    func load(_ bytes: Cursor, _ envelope: Envelope, isLocal: Bool) {
        defer { given = identity.count }
        isIdentified = !envelope.device.isEmpty
        for i in 0..<4 {
            slots.setValue(Envelope.number(bytes, i), at: SlotFile.asked &+ UInt16(i))
        }
        for i in envelope.path { path.append(bytes.byte(i) ?? 0) }
        if isIdentified {
            for i in envelope.device { identity.append(bytes.byte(i) ?? 0) }
        } else if isLocal, !envelope.scope.isEmpty {
            for i in envelope.scope { identity.append(bytes.byte(i) ?? 0) }
            identity.append(0x3A)
        }
    }
}

extension Decoder {
    /// Decodes the payload of an envelope (`FrameContext.encode`), as `decode` does a plain frame.
    /// Bytes that are no envelope are refused as `malformed`.
    package func decode(
        envelope: Span<UInt8>, direction: Direction, into result: inout DecodedFrame
    ) throws(Rejection) {
        result.removeAll()
        try Cursor.over(envelope) { (bytes) throws(Rejection) in
            guard let parts = Envelope(bytes) else { throw .malformed }
            guard !parts.payload.isEmpty else { throw .empty }
            work.begin()
            work.load(bytes, parts, isLocal: format.identityIsLocal)
            try run(bytes.part(parts.payload), direction: direction, into: &result)
            try finish(bytes, parts, &result)
        }
    }

    func finish(
        _ bytes: Cursor, _ parts: Envelope, _ result: inout DecodedFrame
    ) throws(Rejection) {
        if work.isIdentified {
            guard let key = work.identity.deviceKey else { throw .noIdentity }
            result.device = key
            result.isIdentityGlobal = true
        } else if !parts.scope.isEmpty, result.device == .empty {
            // The format names no device: the line's name is what there is.
            work.identity.clear()
            for i in parts.scope { work.identity.append(bytes.byte(i) ?? 0) }
            guard let key = work.identity.deviceKey else { throw .noIdentity }
            result.device = key
        }
        // The line's name stands in the identity already.
        if !parts.scope.isEmpty { result.isIdentityGlobal = true }
        var hash = DuplicateHash(seed: work.seed, salt: 0x45)
        if !parts.key.isEmpty {
            hash.mix(bytes, parts.key)
            hash.mix(bytes, parts.payload)
            result.duplicateKey = hash.value
            result.isKeyOfMessage = true
        } else if let own = result.duplicateKey, work.isIdentified {
            // The format's key is made of the payload alone, which two devices may share.
            hash.mix(bytes, parts.device)
            result.duplicateKey = hash.value ^ own
        }
    }

    /// The payload of an envelope, for people; nil when the bytes are none.
    package static func payload(ofEnvelope bytes: [UInt8]) -> [UInt8]? {
        Cursor.over(bytes.span) { cursor in
            Envelope(cursor).map { cursor.bytes($0.payload) }
        }
    }
}
