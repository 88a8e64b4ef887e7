// What decoding yields: for the hot path fixed-width readings in reused storage, for people a tree of
// fields with byte ranges. Both come from the same compiled program.

import CPrefetch
package import Model

/// Which way a frame travels. A few layouts (Modbus) can only be told apart by it.
package enum Direction: UInt8, Sendable, BitwiseCopyable {
    /// Device to server.
    case up = 0
    /// Server to device.
    case down = 1
}

/// One value as the decoder found it. `(output, discriminator)` names the stream within the device
/// without a string: `output` is the index in `Format.outputs`, `discriminator` packs what varies in
/// its name (a channel, a tariff, a settlement number).
package struct DecodedReading: Sendable {
    // In this order they take 40 bytes.
    package var discriminator: UInt64
    package var value: Value
    /// The device's own time, nil when the frame carries none for this value.
    package var observedAt: Timestamp?
    /// `observedAt` is a distance to the frame's arrival, mostly negative, not a point in time.
    package var isTimeRelative = false
    package var output: UInt16
    package var quality: Quality

    package init(
        output: UInt16, discriminator: UInt64, value: Value, quality: Quality,
        observedAt: Timestamp?
    ) {
        self.output = output
        self.discriminator = discriminator
        self.value = value
        self.quality = quality
        self.observedAt = observedAt
    }

    /// The device's own time of a frame that arrived at `receivedAt`.
    package func observed(_ receivedAt: Timestamp) -> Timestamp? {
        guard isTimeRelative, let distance = observedAt else { return observedAt }
        return Timestamp(milliseconds: receivedAt.milliseconds &+ distance.milliseconds)
    }
}

/// Result of decoding one frame, reused from frame to frame so that nothing is allocated once the
/// arrays have grown to their limits.
package struct DecodedFrame {
    /// What an intake asks of each frame; read in one, so that the frame itself is not copied.
    package struct Head {
        /// Identity of the device; `.empty` when the format identifies by source and connection only.
        package var device = DeviceKey.empty
        /// Hash of what makes this frame the same as an earlier one (retransmission); nil when the
        /// format declares no duplicate key.
        package var duplicateKey: UInt64?
        /// The key is that of the message around the frame, not one that the format declares.
        package var isKeyOfMessage = false
        /// The identity counts everywhere, also when that of the format is local to its source.
        package var isIdentityGlobal = false
        /// A frame that carries no readings by nature: heartbeat, acknowledgement, request.
        package var isControl = false
    }

    package var head = Head()
    /// The payload is enciphered and there is no key for it here: accepted, but not read.
    package var isSealed = false
    package var readings = DecodedReadings(capacity: 64)
    /// A request that an answer can be paired with, and what it asks.
    package var isRequest = false
    package var asked: [4 of Int64] = [-1, -1, -1, -1]
    package var pairing = Pairing.unknown
    /// Bytes to answer after the commit that holds the frame; empty when the format answers nothing.
    package var answer: [UInt8] = []
    /// The frame is one of several that make one body; nil when it stands alone.
    package var part: FramePart?
    /// Where its key will be looked up.
    package var keysAhead = KeysAhead()
    /// Where its device will be looked up, if its format's identities count everywhere.
    package var devicesAhead = DevicesAhead()

    package init() {
        answer.reserveCapacity(64)
    }

    package mutating func removeAll() {
        head = Head()
        isSealed = false
        isRequest = false
        asked = [-1, -1, -1, -1]
        pairing = .unknown
        readings.removeAll()
        if !answer.isEmpty { answer.removeAll(keepingCapacity: true) }
        part = nil
    }
}

extension DecodedFrame {
    @inline(__always)
    package var device: DeviceKey {
        get { head.device }
        set { head.device = newValue }
    }

    @inline(__always)
    package var duplicateKey: UInt64? {
        get { head.duplicateKey }
        set { head.duplicateKey = newValue }
    }

    @inline(__always)
    package var isKeyOfMessage: Bool {
        get { head.isKeyOfMessage }
        set { head.isKeyOfMessage = newValue }
    }

    @inline(__always)
    package var isIdentityGlobal: Bool {
        get { head.isIdentityGlobal }
        set { head.isIdentityGlobal = newValue }
    }

    @inline(__always)
    package var isControl: Bool {
        get { head.isControl }
        set { head.isControl = newValue }
    }
}

/// Asks for the memory in which a duplicate key will be looked up, as soon as the key is known: what does
/// not lie in a core's own cache takes as long to come as the rest of a frame takes to be read. A key's
/// cache line is the upper bits of its product with `factor`.
package struct KeysAhead {
    /// Number of the address of line 0.
    private let base: UInt
    private let factor: UInt64
    private let shift: UInt64

    /// Asks for nothing of use.
    init() { self.init(base: 0, factor: 0, lines: 1) }

    /// `lines`: of 64 bytes each, a power of two.
    package init(base: UInt, factor: UInt64, lines: Int) {
        self.base = base
        self.factor = factor
        shift = UInt64(64 - lines.trailingZeroBitCount)
    }

    @inline(__always)
    func ask(for key: UInt64) {
        // A shift by 64, of one line only, leaves nothing.
        sluice_prefetch(base &+ UInt((key &* factor) >> shift) &<< 6)
    }
}

/// The same for the device, which is looked up by its key's hash in two tables of as many places.
package struct DevicesAhead {
    private let rows: UInt
    private let notes: UInt
    private let mask: UInt64
    private let seed: UInt64
    /// Off where the key is not what the device is looked up by.
    package var isOn = false

    /// Asks for nothing of use.
    init() { self.init(rows: 0, notes: 0, mask: 0, seed: 0) }

    /// `rows`, of 32 bytes, and `notes`, of 4: numbers of their tables' addresses.
    package init(rows: UInt, notes: UInt, mask: UInt64, seed: UInt64) {
        self.rows = rows
        self.notes = notes
        self.mask = mask
        self.seed = seed
    }

    @inline(__always)
    func ask(for key: DeviceKey) {
        guard isOn else { return }
        let place = UInt(foldedHash(key.high, key.low, seed: seed) & mask)
        // A row may lie in two cache lines.
        sluice_prefetch(rows &+ place &<< 5)
        sluice_prefetch(rows &+ place &<< 5 &+ 31)
        sluice_prefetch(notes &+ place &<< 2)
    }
}

/// What a stream is called: made once, when its first reading appears.
package struct StreamDescription: Hashable, Sendable {
    /// Unique within the device: `voltage_a`.
    package var name: String
    /// Word of the vocabulary in `protocols/README.md`: `voltage`.
    package var quantity: String
    /// UTF-8 unit symbol: `V`; empty when it has none.
    package var unit: String
    package var priority: Priority

    package init(name: String, quantity: String, unit: String, priority: Priority) {
        self.name = name
        self.quantity = quantity
        self.unit = unit
        self.priority = priority
    }
}

/// Result of looking for one frame at the start of stream bytes.
package enum FrameSearch: Hashable, Sendable {
    /// The frame is `skip..<skip + count`; `skip` bytes before it belong to no frame.
    case frame(skip: Int, count: Int)
    /// Drop `skip` bytes and come again when more have arrived.
    case needsMore(skip: Int)
    /// A frame was recognised at `skip` and refused; go on searching after `skip + advance`
    /// (one byte further, so that a good frame inside is still found).
    case rejected(skip: Int, advance: Int, Rejection)
}

/// A value in the field tree, in the shape that `sluice decode --json` prints.
package enum FieldValue: Hashable, Sendable {
    case null
    case number(Value)
    /// An integer beyond Int64.
    case unsigned(UInt64)
    case boolean(Bool)
    case text(String)
    /// Wire bytes, printed as lower-case hex.
    case bytes([UInt8])
    /// ISO 8601, local time of the device, or UTC with `Z`.
    case time(String)
    case object
    case list
}

/// One field of an explained frame: which bytes, what they mean. Children of an `object` are its
/// members; children of a `list` its elements, whose names are not printed.
package struct FieldNode: Hashable, Sendable {
    package var name: String
    /// Offsets from the first byte given to `explain`, before any transform.
    package var bytes: Range<Int>
    package var value: FieldValue
    package var unit: String
    /// For people: `checksum over 0..<12`, `year 2026`, the enumeration's word.
    package var note: String
    /// False for fields that explain structure (preamble, anchors, checksum) and are no content.
    package var isContent: Bool
    package var children: [FieldNode]

    package init(
        name: String, bytes: Range<Int>, value: FieldValue, unit: String = "", note: String = "",
        isContent: Bool = true, children: [FieldNode] = []
    ) {
        self.name = name
        self.bytes = bytes
        self.value = value
        self.unit = unit
        self.note = note
        self.isContent = isContent
        self.children = children
    }
}

/// An explained frame: the tree as far as decoding came, and why it stopped.
package struct Explanation: Sendable {
    package var root: FieldNode
    package var rejection: Rejection?
    /// Where decoding stopped when `rejection` is set.
    package var rejectedAt: Int?
    /// What the rejection means for this frame, for people.
    package var reason: String

    package init(root: FieldNode, rejection: Rejection?, rejectedAt: Int?, reason: String) {
        self.root = root
        self.rejection = rejection
        self.rejectedAt = rejectedAt
        self.reason = reason
    }
}
