// Frames that are parts of one body: what the format says of a part, and reading a body that was put
// together from its parts. Keeping the parts until all are there is the pipeline's.

package import Model

/// One of several frames that together make one body.
package struct FramePart: Hashable, Sendable {
    /// Hash of what the parts of one body have in common; keyed as duplicate keys are.
    package var key: UInt64
    /// From 1 to `parts`.
    package var part: Int
    /// At least 2, at most 65,535.
    package var parts: Int
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
    /// `width` fields of the key. imm: salt.
    func part<S: FrameSink>(_ op: Op, _ sink: inout S) {
        let part = slots.value(op.b)
        let parts = slots.value(op.b &+ 1)
        guard whole == nil, parts > 1, parts <= 65_535, part >= 1, part <= parts else { return }
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
        sink.part(
            FramePart(
                key: hash.value, part: Int(part), parts: Int(parts),
                body: Int(body.start)..<max(Int(body.start), Int(body.end)), plane: body.plane))
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
    /// again. Allocates.
    package func body(of part: FramePart, in frame: Span<UInt8>) -> [UInt8] {
        Cursor.over(frame) { cursor in
            let machine = Machine(cursor, work: work, direction: .up, isExact: true)
            return machine.cursor(ofPlane: part.plane).bytes(part.body)
        }
    }

    /// Decodes the body `whole`, put together from all its parts in their order, under the header of
    /// `frame`, which is its first part. Like `decode(_:direction:into:)` otherwise.
    package func decode(
        _ frame: Span<UInt8>, whole: Span<UInt8>, direction: Direction,
        into result: inout DecodedFrame
    ) throws(Rejection) {
        result.removeAll()
        work.reset(slots: format.program.slotCount)
        guard frame.count > 0 else { throw .empty }
        try Cursor.over(frame) { (cursor) throws(Rejection) in
            try Cursor.over(whole) { (body) throws(Rejection) in
                var machine = Machine(cursor, work: work, direction: direction, isExact: true)
                machine.whole = body
                try machine.enter(format.program.frames[0], format.program, from: 0, &result)
                _ = try machine.run(format.program, .hot, entry: 0, into: &result)
            }
        }
    }
}
