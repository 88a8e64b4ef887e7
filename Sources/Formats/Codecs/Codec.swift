// Built-in decodings that a description cannot state: record chains, self-describing trees, session
// protocols' messages. A layout calls one by `{ codec: "word" }` over the rest of its region; what it
// yields (readings, identity, tree) is the same as that of described fields. Each codec has its own file
// in this folder: an extension of `Machine`, generic over the sink, allocating nothing for the hot one.

import Model

enum Codec: UInt8, CaseIterable, Sendable {
    case mbusRecords, wmbus, cbor, senmlCBOR, senmlJSON, lwm2mTLV, lwm2mJSON, lwm2mText, coap
    case lwm2mRegister, mqttSN, semtech, hj212, mbusMeter, mbusFixed

    /// What `codec:` says.
    var word: String {
        switch self {
        case .mbusRecords: "mbus-records"
        case .wmbus: "wmbus"
        case .cbor: "cbor"
        case .senmlCBOR: "senml-cbor"
        case .senmlJSON: "senml-json"
        case .lwm2mTLV: "lwm2m-tlv"
        case .lwm2mJSON: "lwm2m-json"
        case .lwm2mText: "lwm2m-text"
        case .coap: "coap"
        case .lwm2mRegister: "lwm2m-register"
        case .mqttSN: "mqtt-sn"
        case .semtech: "semtech-udp"
        case .hj212: "hj212"
        case .mbusMeter: "mbus-meter"
        case .mbusFixed: "mbus-fixed"
        }
    }

    /// Integers that items after the codec may use by these names.
    var fields: [String] {
        switch self {
        case .mbusRecords, .wmbus, .cbor, .senmlCBOR, .senmlJSON, .lwm2mTLV, .lwm2mJSON, .lwm2mText,
            .coap, .lwm2mRegister, .mqttSN, .semtech:
            []
        case .hj212: ["reading_count"]
        case .mbusMeter, .mbusFixed: []
        }
    }

    /// Whether it yields readings and so has an output.
    var yieldsReadings: Bool {
        switch self {
        case .mbusRecords, .wmbus, .senmlCBOR, .senmlJSON, .lwm2mTLV, .lwm2mJSON, .lwm2mText,
            .hj212, .coap, .semtech, .cbor:
            true
        case .mbusFixed: true
        case .lwm2mRegister, .mqttSN, .mbusMeter: false
        }
    }

    /// Whether the frame may name its device itself; a frame that does not is its source's.
    var identifiesItself: Bool {
        switch self {
        case .senmlCBOR, .senmlJSON, .lwm2mTLV, .lwm2mJSON, .lwm2mText, .coap, .cbor: true
        case .mbusRecords, .wmbus, .lwm2mRegister, .mqttSN, .semtech, .hj212, .mbusMeter,
            .mbusFixed:
            false
        }
    }

    /// The words of a stream, made on its first appearance. `name` and `unit`: what the codec gave to
    /// `NameArena.end`, empty when its discriminator says all.
    func describe(_ discriminator: UInt64, name: String, unit: String) -> StreamDescription {
        if let words = sensorWords(discriminator, name: name, unit: unit) { return words }
        switch self {
        case .mbusRecords, .wmbus, .mbusFixed:
            return MBusKind.describe(discriminator, name: name, unit: unit)
        default: break
        }
        return StreamDescription(name: name, quantity: name, unit: unit, priority: .live)
    }
}

/// What a codec instruction was compiled with.
struct CodecPlace {
    /// Output of its readings.
    var output: UInt16
    /// Slot of the first of `Codec.fields`.
    var fields: UInt16
    /// Number of a scratch plane for decoded bytes (`Workspace.planes`).
    var plane: UInt8
    /// Minutes east of UTC that the device's clock runs at.
    var zoneMinutes = 0
}

extension Machine {
    /// x: codec; a: first slot of its fields; width: plane; imm: output.
    mutating func runCodec<S: FrameSink>(_ op: Op, _ sink: inout S) throws(Rejection) {
        let place = CodecPlace(
            output: UInt16(truncatingIfNeeded: op.imm), fields: op.a, plane: op.width,
            zoneMinutes: Int(op.meta))
        switch Codec(rawValue: op.x) ?? .cbor {
        case .mbusRecords: try mbusRecords(place, &sink)
        case .wmbus: try wirelessMBus(place, &sink)
        case .mbusMeter: try mbusMeter(&sink)
        case .mbusFixed: try mbusFixed(place, &sink)
        case .cbor: try cbor(place, &sink)
        case .senmlCBOR: try senMLCBOR(place, &sink)
        case .senmlJSON: try senMLJSON(place, &sink)
        case .lwm2mTLV: try lwM2MTLV(place, &sink)
        case .lwm2mJSON: try lwM2MJSON(place, &sink)
        case .lwm2mText: try lwM2MText(place, &sink)
        case .coap: try coap(place, &sink)
        case .lwm2mRegister: try lwM2MRegister(place, &sink)
        case .mqttSN: try mqttSN(place, &sink)
        case .semtech: try semtech(place, &sink)
        case .hj212: try hj212(place, &sink)
        }
    }
}

extension FormatCompiler {
    /// `{ codec: "mbus-records", range?, outOfRange?, dropMissing?, priority? }`
    mutating func codecItem(_ node: JSONNode) {
        guard let word = string(node, "codec"), let value = node["codec"] else { return }
        guard let codec = Codec.allCases.first(where: { $0.word == word }) else {
            complain(
                value, "unknown codec \"\(word)\"",
                Suggestion.text(word, among: Codec.allCases.map(\.word)))
            return
        }
        var op = Op(code: .codec, x: codec.rawValue)
        if !codec.fields.isEmpty {
            op.a = builder.slot(UInt16(codec.fields.count))
            for (i, name) in codec.fields.enumerated() {
                builder.bind(name, Binding(slot: op.a + UInt16(i), bits: 32))
            }
        }
        op.width = UInt8(truncatingIfNeeded: builder.plane())
        if codec.identifiesItself { identityIsLocal = true }
        if codec == .semtech { answers = true }
        op.meta = Int32(zoneMinutes)
        if codec.yieldsReadings { op.imm = Int64(output(codec, node)) }
        builder.add(op)
    }

    private mutating func output(_ codec: Codec, _ node: JSONNode) -> Int {
        let row = builder.output(
            OutputRule(
                name: Template(codec.word), quantity: Template(), unit: Template(),
                priorityCode: priority(node), codec: codec, words: nameTables(node)))
        outputs.append(
            Output(
                range: range(node),
                dropsOutOfRange: self.word(node, "outOfRange", ["flag", "drop"]) == "drop",
                dropsMissing: flag(node, "dropMissing")))
        return row
    }
}

/// Names that stand as text in a frame, kept until the frame is done, so that a stream's first
/// appearance can be called by name. One a decoder.
///
/// Entries one behind the other: hash 8 LE, count of name, count of unit, name, unit.
struct NameArena {
    private static let capacity = 16_384
    private let plane = BytePlane(capacity: NameArena.capacity)
    let memory = SenMLMemory()

    func clear() { plane.clear() }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        plane.deallocate()
        memory.deallocate()
    }

    /// Whether a name and a unit of so many bytes can be kept.
    @inline(__always)
    func hasRoom(_ prefix: Int, _ nameCount: Int, _ unitCount: Int) -> Bool {
        prefix &+ nameCount <= 255
            && plane.count &+ 10 &+ prefix &+ nameCount &+ unitCount < NameArena.capacity
    }

    /// Keeps a place for the words of a stream whose bytes `memory` has; there must be room.
    @inline(__always)
    func put(_ discriminator: UInt64, nameCount: Int, unitCount: Int) {
        let entry = plane.count
        plane.extend(10 &+ nameCount &+ unitCount)
        plane.setWord(discriminator, at: entry)
        plane.set(UInt8(truncatingIfNeeded: nameCount), at: entry &+ 8)
        plane.set(UInt8(truncatingIfNeeded: unitCount), at: entry &+ 9)
    }

    /// Begins a name; then `append` its bytes, perhaps `beginUnit` and the unit's, then `end`.
    func begin() -> Int {
        let entry = plane.count
        plane.extend(10)
        return entry
    }

    @inline(__always)
    func append(_ byte: UInt8) { plane.append(byte) }

    @inline(__always)
    func append(_ bytes: Cursor, _ range: Range<Int>) { plane.append(bytes, range) }

    /// Ends the entry that begins at `entry`, whose last `unitCount` bytes are the unit. The
    /// discriminator of the stream; nil when name or unit has more than 255 bytes or the arena is full.
    func end(_ entry: Int, unitCount: Int = 0) -> UInt64? {
        let total = plane.count &- entry &- 10
        let nameCount = total &- unitCount
        guard plane.count < NameArena.capacity, nameCount >= 0, nameCount <= 255, unitCount <= 255
        else { return nil }
        let value = hash(entry, unitCount)
        plane.setWord(value, at: entry)
        plane.set(UInt8(nameCount), at: entry &+ 8)
        plane.set(UInt8(unitCount), at: entry &+ 9)
        return value
    }

    private func hash(_ entry: Int, _ unitCount: Int) -> UInt64 {
        var hash = DuplicateHash(seed: 0x534C_5549_4345, salt: UInt64(unitCount))
        hash.mix(plane.cursor(count: plane.count), entry &+ 10..<plane.count)
        return hash.value
    }

    /// Takes an entry back that was begun last.
    func drop(_ entry: Int) { plane.cut(to: entry) }

    /// Name and unit of a discriminator of this frame; empty when there is none. Slow path.
    func words(_ discriminator: UInt64) -> (name: String, unit: String) {
        if let known = memory.words(discriminator) { return known }
        let bytes = plane.cursor(count: plane.count)
        var at = 0
        while at &+ 10 <= bytes.count {
            let name = at &+ 10..<at &+ 10 &+ Int(bytes.byte(at &+ 8) ?? 0)
            let unit = name.upperBound..<name.upperBound &+ Int(bytes.byte(at &+ 9) ?? 0)
            if bytes.little(at, width: 8) == discriminator {
                return (
                    String(decoding: bytes.bytes(name), as: UTF8.self),
                    String(decoding: bytes.bytes(unit), as: UTF8.self)
                )
            }
            at = unit.upperBound
        }
        return ("", "")
    }
}
