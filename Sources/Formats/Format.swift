// The door of the formats: load files, ask for a decoder, decode.

package import Model

/// What is wrong in a format or configuration file, at its place.
package struct Complaint: Error, Hashable, Sendable {
    package var file: String
    package var line: Int
    package var column: Int
    package var what: String
    /// What to write instead; empty when there is nothing to suggest.
    package var suggestion: String

    package init(file: String, line: Int, column: Int, what: String, suggestion: String) {
        self.file = file
        self.line = line
        self.column = column
        self.what = what
        self.suggestion = suggestion
    }

    /// `protocols/dlt645.json5:12:5: unknown key "lenght": write "length"`
    package var description: String {
        "\(file):\(line):\(column): \(what)" + (suggestion.isEmpty ? "" : ": \(suggestion)")
    }
}

package struct Complaints: Error, Sendable {
    package var all: [Complaint]
    package init(all: [Complaint]) { self.all = all }
}

/// One output of a format: a quantity it can yield, with its validation rule.
package struct Output: Hashable, Sendable {
    /// Accepted range as doubles, nil when the format states none.
    package var range: ClosedRange<Double>?
    /// True: drop a reading outside the range; false: flag it.
    package var dropsOutOfRange: Bool
    /// True: a reading without a value is dropped instead of kept with its quality.
    package var dropsMissing: Bool

    package init(range: ClosedRange<Double>?, dropsOutOfRange: Bool, dropsMissing: Bool) {
        self.range = range
        self.dropsOutOfRange = dropsOutOfRange
        self.dropsMissing = dropsMissing
    }
}

/// A compiled format: immutable, shared by all threads.
package final class Format: Sendable {
    package let name: String
    package let title: String
    package let outputs: [Output]
    /// Longest frame in bytes, preamble included.
    package let maximumFrame: Int
    /// True when frames of this format are answered.
    package let answers: Bool
    /// True when the device has no globally unique identity, so that the catalog prefixes it with the
    /// source's name (a Modbus address).
    package let identityIsLocal: Bool
    /// For how long the same `DecodedFrame.duplicateKey` means a retransmission; 0 when the format
    /// declares no duplicate key.
    package let duplicateWindowMilliseconds: Int64

    /// What decoding one frame costs at most, in instructions of the engine, whatever its bytes.
    package var costBound: Int { program.costBound }
    /// It says which answer fits which request.
    package let pairs: Bool
    /// What a poller can send.
    package let requests: [FormatRequest]

    /// Some of its frames are parts of one body.
    package let hasParts: Bool
    /// A check value in its framing says that a frame is of this format; without one other formats may read
    /// the same bytes.
    package var isChecked: Bool {
        (0..<program.frames.count).contains { program.frames[$0].checksum >= 0 }
    }

    let program: Program
    let starts: FrameStarts

    init(name: String, title: String, compiled: CompiledFormat) {
        self.name = name
        self.title = title
        outputs = compiled.outputs
        maximumFrame = compiled.maximumFrame
        answers = compiled.answers
        identityIsLocal = compiled.identityIsLocal
        duplicateWindowMilliseconds = compiled.duplicateWindowMilliseconds
        pairs = compiled.pairs
        requests = compiled.requests
        program = compiled.program
        starts = FrameStarts(compiled.program)
        hasParts = (0..<program.hot.count).contains { compiled.program.hot[$0].code == .part }
    }

    /// The words for a stream of this format. Slow path: called once a stream. An output number that
    /// this format does not have gives empty words.
    package func describe(output: UInt16, discriminator: UInt64) -> StreamDescription {
        describe(output: output, discriminator: discriminator, names: nil)
    }

    func describe(
        output: UInt16, discriminator: UInt64, names: NameArena?
    ) -> StreamDescription {
        var description = written(output: output, discriminator: discriminator, names: names)
        description.unit = UnitSpelling.of(description.unit)
        return description
    }

    /// The words as format file, codec or frame have them.
    private func written(
        output: UInt16, discriminator: UInt64, names: NameArena?
    ) -> StreamDescription {
        guard Int(output) < program.outputs.count else {
            return StreamDescription(name: "", quantity: "", unit: "", priority: .live)
        }
        let rule = program.outputs[Int(output)]
        if let codec = rule.codec {
            let words = names?.words(discriminator) ?? (name: "", unit: "")
            if codec == .hj212 { return rule.factorWords(words.name) }
            var description = codec.describe(discriminator, name: words.name, unit: words.unit)
            description.priority = Priority(rawValue: rule.priorityCode) ?? .live
            return description
        }
        return StreamDescription(
            name: rule.name.text(discriminator, tables: program.tables),
            quantity: rule.quantity.text(discriminator, tables: program.tables),
            unit: rule.unit.text(discriminator, tables: program.tables),
            priority: Priority(rawValue: rule.priorityCode) ?? .live)
    }
}

/// Runs one format over frames. Not Sendable: owns scratch storage, one a thread.
package final class Decoder {
    package let format: Format
    private let keys: DeviceKeys
    /// That of `format`, held here so that a run borrows it without counting a reference.
    private let program: Program
    private let workspace: Cell<Workspace>
    @inline(__always)
    var work: Workspace { workspace.value }
    private let plans: PlanTable
    var planCount: Int { plans.count }

    /// Secret of this process: duplicate keys of equal frames are equal only within it.
    package static let processSeed = UInt64.random(in: 0...UInt64.max)

    /// `seed` keys the duplicate hash; decoders that compare keys must share it.
    /// `keys`: of devices whose payloads are enciphered.
    package init(
        _ format: Format, seed: UInt64 = Decoder.processSeed, keys: DeviceKeys = .none,
        remembersShapes: Bool = true
    ) {
        self.format = format
        self.keys = keys
        program = format.program
        plans = PlanTable()
        plans.isPossible = remembersShapes
        workspace = Cell(
            Workspace(
                planes: format.program.planeCount, capacity: max(64, format.maximumFrame),
                seed: seed, keys: keys.table))
        work.names.memory.isOn = remembersShapes
    }

    deinit {
        work.deallocate()
        workspace.deallocate()
    }

    func machine(_ frame: Cursor, direction: Direction, isExact: Bool) -> Machine {
        Machine(frame, work: workspace, direction: direction, isExact: isExact)
    }

    /// Decodes exactly one frame (preamble included) into `result`, which it empties first.
    /// Nothing is allocated once warm; nothing in `frame` can trap.
    package func decode(
        _ frame: Span<UInt8>, direction: Direction, into result: inout DecodedFrame
    ) throws(Rejection) {
        result.removeAll()
        work.begin()
        guard frame.count > 0 else { throw .empty }
        try Cursor.over(frame) { (cursor) throws(Rejection) in
            try run(cursor, direction: direction, into: &result)
        }
    }

    func run(
        _ frame: Cursor, direction: Direction, into result: inout DecodedFrame
    ) throws(Rejection) {
        if let plan = plans.match(frame, direction, work.slots) {
            var machine = self.machine(frame, direction: direction, isExact: true)
            if machine.follow(plan, plans, program, &result) { return }
            // What the envelope laid out stays.
            result.removeAll()
            work.beginAgain()
        }
        work.slots.clear(program.slotCount)
        var machine = self.machine(frame, direction: direction, isExact: true)
        if plans.wantsRecording(frame) {
            try record(frame, &machine, &result)
        } else {
            try machine.enter(program.frames[0], program, from: 0, &result)
            _ = try machine.run(program, .hot, entry: 0, into: &result)
        }
        if work.isDoubtful { result.markBadChecksum() }
    }

    private func record(
        _ frame: Cursor, _ machine: inout Machine, _ result: inout DecodedFrame
    ) throws(Rejection) {
        var recorder = PlanRecorder(result, program)
        defer { result = recorder.frame }
        try machine.enter(program.frames[0], program, from: 0, &recorder)
        _ = try machine.run(program, .hot, entry: 0, into: &recorder)
        if !recorder.isPossible { plans.isPossible = false }
        recorder.finish(frame, machine.direction, work.slots, into: plans)
    }

    /// The words for the stream of a reading of the frame decoded last. Slow path: once a stream.
    package func describe(_ reading: DecodedReading) -> StreamDescription {
        format.describe(
            output: reading.output, discriminator: reading.discriminator, names: work.names)
    }

    /// Looks for one frame at the start of `stream` (bytes of a TCP connection or a tty). Each result
    /// other than `.needsMore` takes at least one byte; `.needsMore` means that the bytes after `skip`
    /// may still become a frame of at most `maximumFrame` bytes.
    package func search(_ stream: Span<UInt8>, direction: Direction) -> FrameSearch {
        work.reset(slots: format.program.slotCount)
        return Cursor.over(stream) { cursor in
            var machine = self.machine(cursor, direction: direction, isExact: false)
            return machine.search(
                format.program.frames[0], format.program, format.starts)
        }
    }

    /// Identity text of the frame decoded last, empty when it has none. Slow path.
    package func identityText() -> String { work.identity.text }

    /// Explains one frame, as far as it can be decoded.
    package func explain(_ frame: [UInt8], direction: Direction) -> Explanation {
        explained(frame, direction: direction).explanation
    }

    /// The explanation and the readings that the hot path would have yielded.
    func explained(
        _ bytes: [UInt8], direction: Direction, asked: [Int64] = []
    ) -> (explanation: Explanation, frame: DecodedFrame) {
        work.reset(slots: format.program.slotCount)
        work.ask(asked)
        var tree = TreeBuilder(format.program, name: format.name, count: bytes.count)
        var rejection: Rejection?
        var at = 0
        if bytes.isEmpty {
            rejection = .empty
        } else {
            Cursor.over(bytes.span) { cursor in
                var machine = self.machine(cursor, direction: direction, isExact: true)
                do throws(Rejection) {
                    try machine.enter(format.program.frames[0], format.program, from: 0, &tree)
                    _ = try machine.run(
                        format.program, .tree, entry: 0, into: &tree)
                } catch {
                    rejection = error
                    let place = error == .truncated ? machine.limit : machine.position
                    at = TreeBuilder.origin(machine, machine.plane, place)
                }
            }
        }
        var reason = rejection?.reason ?? ""
        // What the layout makes of a frame that its framing refuses does not change the verdict.
        if let refusal = tree.refusal {
            rejection = refusal.rejection
            at = refusal.at
            reason = refusal.rejection.reason
            if !refusal.reason.isEmpty { reason += ": " + refusal.reason }
        }
        let explanation = Explanation(
            root: tree.finish(), rejection: rejection,
            rejectedAt: rejection == nil ? nil : min(at, bytes.count), reason: reason)
        if work.isDoubtful { tree.frame.markBadChecksum() }
        return (explanation, tree.frame)
    }
}

extension Rejection {
    /// What the rejection means, for people.
    package var reason: String {
        switch self {
        case .truncated: "the bytes end before the frame does"
        case .badChecksum: "the check value does not fit the bytes"
        case .badLength: "the length does not fit the bytes that are there"
        case .badHeader: "the start bytes are not those of this format"
        case .badEnd: "the end bytes are not those of this format"
        case .badEscape: "an escape byte is followed by nothing that can be escaped"
        case .badVersion: "a version that this format does not describe"
        case .badType: "a type that cannot stand here"
        case .unknownType: "a type that this format does not describe"
        case .badName: "a name with characters that names cannot have"
        case .badRecord: "a record inside the frame is broken"
        case .unknownRequiredField: "a field that must be understood is not known"
        case .malformed: "the bytes contradict the format"
        case .tooDeep: "nested too deep"
        case .badDecryption: "decrypting gave no valid text"
        case .empty: "no bytes"
        case .oversized: "longer than this format allows"
        case .noFormat: "no format accepts the frame"
        case .noIdentity: "the frame names no device, or in characters that identities cannot have"
        case .unknownDevice: "the device is not known and the source's policy is reject"
        case .quarantined: "the device is not known and the source's policy is quarantine"
        case .catalogFull: "the table of devices is full"
        case .formatGone: "the frame's format is no longer loaded"
        case .connectionEnded: "the connection ended before the frame did"
        case .journalDamaged: "the journal that held the frame was damaged"
        case .noRoom: "nothing could be taken in at that moment"
        case .unasked: "an answer to nothing that was asked"
        case .incomplete: "not all parts of the body came"
        }
    }
}
