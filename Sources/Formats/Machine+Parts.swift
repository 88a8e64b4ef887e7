// Frames that are parts of one body: what the format says of a part, and reading a body that was put
// together from its parts. Keeping the parts until all are there is the pipeline's.

package import Model

/// One of several frames that together make one body.
package struct FramePart: Hashable, Sendable {
    /// Hash of what the parts of one body have in common; keyed as duplicate keys are.
    package var key: UInt64
    /// From 1 to `parts`.
    package var part: Int
    /// From 1 to 65,535.
    package var parts: Int
    /// The key may be that of the next body, too: part 1 begins anew.
    package var isOrdered: Bool
    /// Where the body stands in the decoder's scratch: for `Decoder.body(of:in:)`.
    let body: Range<Int>
    let plane: UInt8

    /// Bytes of the body in this frame.
    package var count: Int { body.count }
}

extension Machine {
    /// Number of the plane that holds a body put together from its parts.
    static let wholePlane: UInt8 = 255

    /// a: slot of the body's bytes; b: slots of the part's number, of the count of parts, and of the
    /// `width` fields of the key. imm: salt. Both numbers 0: the frame stands alone.
    func part<S: FrameSink>(_ op: Op, _ sink: inout S) throws(Rejection) {
        let part = slots.value(op.b)
        let parts = slots.value(op.b &+ 1)
        guard whole == nil, part != 0 || parts != 0 else { return }
        guard part >= 1, part <= parts, parts <= 65_535 else { throw .malformed }
        var hash = DuplicateHash(seed: work.seed, salt: UInt64(bitPattern: op.imm))
        for i in 0..<UInt16(op.width) {
            let slot = slots[op.b &+ 2 &+ i]
            if slot.kind == .bytes {
                hash.mix(cursor(ofPlane: slot.plane), Int(slot.start)..<Int(slot.end))
            } else {
                hash.mix(UInt64(bitPattern: slot.value))
            }
        }
        let body = slots[op.a]
        let start = body.kind == .bytes ? Int(body.start) : 0
        let end = body.kind == .bytes ? Int(body.end) : 0
        sink.part(
            FramePart(
                key: hash.value, part: Int(part), parts: Int(parts),
                isOrdered: op.flags.contains(.ordered),
                body: start..<max(start, end), plane: body.plane))
    }

    /// A region as any other, unless a body was put together: then that is the region.
    mutating func enterWhole(_ op: Op, _ program: Program) throws(Rejection) {
        guard let body = whole else { return try enterRegion(op, program) }
        let count = try wanted(op)
        _ = try place(op, count)
        try push(after: position)
        cursor = body
        plane = Machine.wholePlane
        position = 0
        start = 0
        limit = body.count
        overrun = .badLength
    }
}

extension Decoder {
    /// The bytes of a part's body. Only for the frame that this decoder decoded last, which is given
    /// again, in its envelope if it was decoded so. Allocates.
    package func body(
        of part: FramePart, in frame: Span<UInt8>, isEnvelope: Bool = false
    ) -> [UInt8] {
        Cursor.over(frame) { bytes in
            var cursor = bytes
            if isEnvelope {
                guard let envelope = Envelope(bytes) else { return [] }
                cursor = bytes.part(envelope.payload)
            }
            let machine = self.machine(cursor, direction: .up, isExact: true)
            return machine.cursor(ofPlane: part.plane).bytes(part.body)
        }
    }

    /// Decodes the body `whole`, put together from all its parts in their order, under the header of
    /// `frame`, which is its first part. Like `decode(_:direction:into:)` otherwise, or like
    /// `decode(envelope:direction:into:)`.
    package func decode(
        _ frame: Span<UInt8>, whole: Span<UInt8>, direction: Direction, isEnvelope: Bool = false,
        into result: inout DecodedFrame
    ) throws(Rejection) {
        result.removeAll()
        work.begin()
        work.slots.clear(format.program.slotCount)
        guard frame.count > 0 else { throw .empty }
        try Cursor.over(frame) { (bytes) throws(Rejection) in
            try Cursor.over(whole) { (body) throws(Rejection) in
                guard isEnvelope else { return try run(bytes, body, direction, &result) }
                guard let parts = Envelope(bytes) else { throw .malformed }
                work.load(bytes, parts, isLocal: format.identityIsLocal)
                try run(bytes.part(parts.payload), body, direction, &result)
                try finish(bytes, parts, &result)
            }
        }
    }

    private func run(
        _ frame: Cursor, _ whole: Cursor, _ direction: Direction, _ result: inout DecodedFrame
    ) throws(Rejection) {
        var machine = self.machine(frame, direction: direction, isExact: true)
        machine.whole = whole
        try machine.enter(format.program.frames[0], format.program, from: 0, &result)
        _ = try machine.run(format.program, .hot, entry: 0, into: &result)
        if work.isDoubtful { result.markBadChecksum() }
    }
}
