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
        if text.count <= 15 {
            var high: UInt64 = 0
            var low: UInt64 = 0
            for i in 0..<text.count {
                let byte = UInt64(text[i]) &<< UInt64(truncatingIfNeeded: 56 &- 8 &* (i & 7))
                if i < 8 { high |= byte } else { low |= byte }
            }
            self.init(high, low, count: text.count)
            return
        }
        var hash = IdentityHash()
        var at = 0
        while at < text.count {
            let size = min(8, text.count &- at)
            var word: UInt64 = 0
            for i in at..<at &+ size {
                guard DeviceKey.isAllowed(text[i]) else { return nil }
                word = word << 8 | UInt64(text[i])
            }
            hash.mix(word &<< UInt64(truncatingIfNeeded: 64 &- 8 &* size))
            at &+= size
        }
        self = hash.key(count: text.count)
    }

    /// The key of the first `count` (1...16) bytes of two words, most significant first; nil when the
    /// count is another or a byte outside the alphabet.
    public init?(_ first: UInt64, _ second: UInt64, count: Int) {
        guard count > 0, count <= 16 else { return nil }
        // The bytes behind `count` may be any.
        let behind =
            count & 7 == 0 && count > 8
            ? 0 : UInt64.max &>> UInt64(truncatingIfNeeded: 8 &* (count & 7))
        let top: UInt64 = 0x8080_8080_8080_8080
        let marks = DeviceKey.allowed(first) | (count < 8 ? behind & top : 0)
        let more = count > 8 ? DeviceKey.allowed(second) | behind & top : top
        guard marks & more == top else { return nil }
        self.init(allowed: first, second, count: count)
    }

    /// The same for characters that are known to be of the alphabet.
    @inline(__always)
    public init(allowed first: UInt64, _ second: UInt64, count: Int) {
        precondition(count > 0 && count <= 16, "an identity of 1 to 16 characters")
        let size = UInt64(truncatingIfNeeded: count)
        guard count < 16 else {
            var hash = IdentityHash()
            hash.mix(first)
            hash.mix(second)
            self = hash.key(count: 16)
            return
        }
        guard count > 8 else {
            self.init(high: first &>> (64 &- 8 &* size), low: size)
            return
        }
        self.init(high: first, low: (second &>> (128 &- 8 &* size)) << 8 | size)
    }

    /// The top bit of each byte that is a character of the alphabet, eight at once.
    @inline(__always)
    private static func allowed(_ word: UInt64) -> UInt64 {
        /// Bytes below 0x80 of `x` that are in `low...high`: their top bits.
        @inline(__always)
        func marks(_ x: UInt64, _ low: UInt64, _ high: UInt64) -> UInt64 {
            let ones: UInt64 = 0x0101_0101_0101_0101
            return (x &+ ones &* (0x80 &- low)) & ~(x &+ ones &* (0x7F &- high))
        }
        let x = word & 0x7F7F_7F7F_7F7F_7F7F
        let found =
            marks(x, 0x2D, 0x2E) | marks(x, 0x30, 0x3A) | marks(x, 0x41, 0x5A)
            | marks(x, 0x5F, 0x5F) | marks(x, 0x61, 0x7A)
        return found & ~word & 0x8080_8080_8080_8080
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

/// 120 bits of an identity that is longer than a key: two lanes of multiply-and-fold, eight characters a
/// step, filled up with zeros (as wyhash by Wang Yi, public domain, with other constants).
private struct IdentityHash {
    private var one: UInt64 = 0xCBF2_9CE4_8422_2325
    private var two: UInt64 = 0x8EBC_6AF0_9C88_C6E3

    @inline(__always)
    mutating func mix(_ word: UInt64) {
        one = IdentityHash.fold(one ^ word, 0xA076_1D64_78BD_642F ^ two)
        two = IdentityHash.fold(two &+ word, 0xE703_7ED1_A0B4_28DB) &+ word
    }

    func key(count: Int) -> DeviceKey {
        let size = UInt64(truncatingIfNeeded: count)
        let high = IdentityHash.fold(one ^ size, 0x5899_65CC_7537_4CC3) &+ two
        // Length byte 0xFF marks a hash, so it never equals a short text.
        return DeviceKey(high: high, low: (two ^ one >> 7) << 8 | 0xFF)
    }

    @inline(__always)
    private static func fold(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
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
