// The usual SenML record: its base name names a device, its own name follows, nothing is escaped or
// summed. Resolved without putting the name together, from what the decoder remembers of names
// (SenMLMemory.swift) where it does. Everything else, and all that people see, goes the long way in
// SenML.swift; both come to the same.

import Model

extension Machine {
    /// Yields a usual record; false, and nothing done, for another one.
    @inline(__always)
    func usual<S: FrameSink>(
        _ record: SenMLRecord, _ state: inout SenMLState, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) -> Bool {
        guard let name = record.text(.name), name.isPlain, !name.range.isEmpty,
            !record.has(.sum), state.baseSum == nil
        else { return false }
        if state.base.kind == .unknown { lookAtBase(&state, at) }
        guard state.base.kind == .device,
            state.baseName.range.count &+ name.range.count <= 255,
            Machine.isName(cursor, name.range)
        else { return false }
        var value = record.number(.value)
        if let base = state.baseValue, record.valueCount == 0 || value != nil {
            value = base.plus(value ?? .decimal(0))
        }
        guard record.valueCount == 1 || value != nil else { throw .badRecord }
        if state.base.isOwn == nil { identifyBase(&state, &sink) }
        guard state.base.isOwn == true else { return false }
        guard let value = value ?? record.number(.boolean) else { return true }
        let moment: SenMLMoment
        if let time = record.number(.time) {
            moment = SenMLMoment(state.baseTime.plus(time))
        } else if let known = state.moment {
            moment = known
        } else {
            moment = state.settle()
        }
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        let unit = record.text(.unit) ?? state.baseUnit
        guard unit?.isPlain ?? true else { return false }
        let discriminator = try stream(record, name.range, unit?.range, state)
        yield(value, discriminator, moment, at, &sink)
        return true
    }

    /// The conversation's path before a name.
    private func prefix(_ names: NameArena) {
        let path = work.path.cursor(count: work.path.count)
        names.append(path, 0..<path.count)
        if path.byte(path.count &- 1) != 0x2F { names.append(0x2F) }
    }

    /// Puts name and unit down for the stream's first appearance.
    @inline(__always)
    private func stream(
        _ record: SenMLRecord, _ name: Range<Int>, _ unit: Range<Int>?, _ state: SenMLState
    ) throws(Rejection) -> UInt64 {
        let names = work.names
        let entry = names.begin()
        if work.path.count > 0 { prefix(names) }
        names.append(cursor, name)
        if let unit { names.append(cursor, unit) }
        // A unit of the pack is not in the record's head.
        let isWhole = record.has(.unit) || unit == nil
        guard
            let discriminator = names.end(
                entry, unitCount: unit?.count ?? 0)
        else { throw .oversized }
        if isWhole, !record.head.isEmpty {
            work.names.memory.keep(
                cursor, record.head, name: name, unit: unit, discriminator: discriminator,
                path: state.path)
        }
        return discriminator
    }

    /// Characters that names may have behind their first one (RFC 8428 section 4.5.1, and `/`).
    private static func isName(_ bytes: Cursor, _ range: Range<Int>) -> Bool {
        for i in range {
            guard let byte = bytes.byte(i), DeviceKey.isAllowed(byte) || byte == 0x2F else {
                return false
            }
        }
        return true
    }

    /// Whether the base name alone names the device, and ends there.
    private func lookAtBase(_ state: inout SenMLState, _ at: CodecPlace) {
        state.base.kind = .other
        let range = state.baseName.range
        guard state.baseName.isPlain, range.count >= 8, range.count <= 255 else { return }
        if work.names.memory.isOn, let known = work.names.memory.base(cursor, range) {
            state.base = SenMLBase(known, count: range.count)
            return
        }
        // Eight bytes and more tell what a longer name would be: a URN or not.
        let bytes = cursor.part(range)
        guard let name = SenMLName(bytes, baseCount: range.count), name.device > 0,
            name.device &+ 1 == range.count, name.stream == range.count,
            let key = deviceKey(bytes, 0..<name.device, at)
        else { return }
        state.base.kind = .device
        state.base.device = name.device
        state.base.hash = Machine.hash(bytes, 0..<name.device)
        state.base.key = key
        state.base.hasSlash = false
        for i in 0..<name.device where bytes.byte(i) == 0x2F { state.base.hasSlash = true }
        work.names.memory.keep(cursor, range, state.base)
    }

    /// Nil for names that no identity can have; the long way refuses them.
    private func deviceKey(_ bytes: Cursor, _ range: Range<Int>, _ at: CodecPlace) -> DeviceKey? {
        let scratch = work.planes[Int(at.plane)]
        scratch.clear()
        scratch.appendIdentity(bytes, range)
        return scratch.deviceKey
    }

    func identifyBase<S: FrameSink>(_ state: inout SenMLState, _ sink: inout S) {
        let hash = state.base.hash
        state.base.isOwn = state.device ?? hash == hash
        if state.device != nil { return }
        state.device = hash
        if work.isIdentified { return }
        let start = state.baseName.range.lowerBound
        work.identity.clear()
        let device = start..<start &+ state.base.device
        if state.base.hasSlash {
            work.identity.appendIdentity(cursor, device)
        } else {
            work.identity.append(cursor, device)
        }
        sink.device(state.base.key)
        sink.identityIsGlobal()
    }
}
