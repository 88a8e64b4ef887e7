// Who sends and what is measured. The hot path knows devices by fixed-width keys; the words are for
// the catalog, the store and people.

/// A device's identity in 16 bytes, comparable without strings. Made by `DeviceKey.init(text:)` from
/// at most 64 characters `[A-Za-z0-9._:-]`: up to 15 bytes are kept as they are (length in the last
/// byte), longer ones as 120 bits of hash; equal texts give equal keys on every machine.
public struct DeviceKey: Hashable, Sendable {
    public var high: UInt64
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static let empty = DeviceKey(high: 0, low: 0)
    public static let maximumLength = 64

    /// The key of identity characters; nil when empty, longer than 64 or outside the alphabet.
    public init?(text: Span<UInt8>) {
        guard text.count > 0, text.count <= DeviceKey.maximumLength else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for i in 0..<min(15, text.count) {
            let byte = text[i]
            guard DeviceKey.isAllowed(byte) else { return nil }
            if i < 8 {
                high = high << 8 | UInt64(byte)
            } else {
                low = low << 8 | UInt64(byte)
            }
        }
        if text.count <= 15 {
            self.init(high: high, low: low << 8 | UInt64(text.count))
            return
        }
        var h1: UInt64 = 0xCBF2_9CE4_8422_2325
        var h2: UInt64 = 0x8422_2325_CBF2_9CE4
        for i in 0..<text.count {
            let byte = text[i]
            guard DeviceKey.isAllowed(byte) else { return nil }
            h1 = (h1 ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
            h2 = (h2 &+ UInt64(byte) &+ 1) &* 0x9E37_79B9_7F4A_7C15
            h2 ^= h2 >> 29
        }
        // Length byte 0xFF marks a hash, so it never equals a short text.
        self.init(high: h1 ^ (h2 >> 32), low: h2 << 8 | 0xFF)
    }

    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        self.init(text: bytes.span)
    }

    public static func isAllowed(_ byte: UInt8) -> Bool {
        // A bit for each allowed code: "-", ".", digits, ":", letters, "_".
        let map: UInt64 =
            byte < 64 ? 0x07FF_6000_0000_0000 : byte < 128 ? 0x07FF_FFFE_87FF_FFFE : 0
        return map >> UInt64(byte & 63) & 1 == 1
    }
}

/// A device as the catalog, the uplink and the store know it.
public struct Device: Hashable, Sendable {
    public var id: DeviceID
    /// Identity text as it is printed on the device's label: `[A-Za-z0-9._:-]{1,64}`.
    public var identity: String
    public var format: String
    public var firstSeenAt: Timestamp

    public init(id: DeviceID, identity: String, format: String, firstSeenAt: Timestamp) {
        self.id = id
        self.identity = identity
        self.format = format
        self.firstSeenAt = firstSeenAt
    }
}

/// One quantity of one device. `name` is unique within the device (`voltage_a`), `quantity` is the
/// vocabulary's word (`voltage`), `unit` its UTF-8 symbol (`V`), empty when it has none.
public struct Stream: Hashable, Sendable {
    public var id: StreamID
    public var device: DeviceID
    public var name: String
    public var quantity: String
    public var unit: String
    public var priority: Priority

    public init(
        id: StreamID, device: DeviceID, name: String, quantity: String, unit: String,
        priority: Priority
    ) {
        self.id = id
        self.device = device
        self.name = name
        self.quantity = quantity
        self.unit = unit
        self.priority = priority
    }
}

/// What the catalog learnt: entries in order of their numbers, for its file and for the store.
public enum CatalogEntry: Hashable, Sendable {
    case device(Device)
    case stream(Stream)
}
