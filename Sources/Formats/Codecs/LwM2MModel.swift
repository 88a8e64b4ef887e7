// The object model of LwM2M as far as it measures (OMA registry: objects 3, 4, 6, 3300–3347 and the
// reusable resources 5500–6050): which type the bytes of a resource have, and its words. TLV and
// plain values do not say their type; a resource that is not here stays raw bytes and makes no
// reading.

import Model

/// `/3303/0/5700`, perhaps with a resource instance; parts that are missing are nil.
struct LwM2MPath: Hashable, Sendable {
    var object: UInt16
    var instance: UInt16?
    var item: UInt16?
    var element: UInt16?

    /// Nil when the text is no path of one to four numbers.
    init?(_ text: String) {
        guard text.hasPrefix("/") else { return nil }
        let parts = text.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 4, let first = parts.first.flatMap({ UInt16($0) }) else { return nil }
        object = first
        for (i, part) in parts.enumerated().dropFirst() {
            guard let number = UInt16(part) else { return nil }
            switch i {
            case 1: instance = number
            case 2: item = number
            default: element = number
            }
        }
    }

    /// The discriminator of a stream: 16 bits a part, all ones for one that is missing.
    var discriminator: UInt64 {
        UInt64(object) << 48 | UInt64(instance ?? .max) << 32 | UInt64(item ?? .max) << 16
            | UInt64(element ?? .max)
    }

    init(discriminator: UInt64) {
        func part(_ shift: UInt64) -> UInt16? {
            let part = UInt16(truncatingIfNeeded: discriminator >> shift)
            return part == .max ? nil : part
        }
        object = UInt16(truncatingIfNeeded: discriminator >> 48)
        instance = part(32)
        item = part(16)
        element = part(0)
    }

    /// `3303/0/5700`; the object is left out when it is not known (all ones).
    var name: String {
        let first = object == .max ? nil : object
        return [first, instance, item, element].compactMap { $0.map(String.init) }
            .joined(separator: "/")
    }

    /// The path that a conversation named (`/3303/0/5700`); nil when it named none. Hot path.
    init?(_ bytes: Cursor) {
        guard bytes.byte(0) == 0x2F else { return nil }
        var parts: [4 of UInt32] = [.max, .max, .max, .max]
        var count = 0
        var at = 1
        while at < bytes.count {
            guard count < 4 else { return nil }
            var number: UInt32 = 0
            let from = at
            while at < bytes.count, let byte = bytes.byte(at), byte != 0x2F {
                guard byte >= 0x30, byte <= 0x39, at &- from < 5 else { return nil }
                number = number &* 10 &+ UInt32(byte &- 0x30)
                at &+= 1
            }
            guard at > from, number < 0xFFFF else { return nil }
            parts[count] = number
            count &+= 1
            at &+= 1
        }
        guard count > 0 else { return nil }
        object = UInt16(truncatingIfNeeded: parts[0])
        instance = UInt16(exactly: parts[1])
        item = UInt16(exactly: parts[2])
        element = UInt16(exactly: parts[3])
    }

    init(object: UInt16, instance: UInt16?, item: UInt16?, element: UInt16?) {
        self.object = object
        self.instance = instance
        self.item = item
        self.element = element
    }

    /// The words of the resource; nil when the path names none or the model does not know it.
    var resource: LwM2MResource? {
        item.flatMap { LwM2MResource(object: object == .max ? nil : object, item: $0) }
    }
}

/// What the model says of one resource.
struct LwM2MResource: Sendable {
    enum Kind: UInt8, Sendable {
        case integer, float, boolean, time, text, opaque, link
    }

    var kind: Kind
    var quantity: String
    var unit: String

    init?(object: UInt16?, item: UInt16) {
        guard let kind = LwM2MResource.kind(object: object, item: item) else { return nil }
        self.kind = kind
        let words = LwM2MResource.words(object ?? .max, item)
        quantity = words.quantity
        unit = words.unit
    }

    /// Type of a resource's bytes; hot path. Nil when the model does not know it. An object that is not
    /// known (nil) is asked for the resources that mean the same in every object.
    static func kind(object: UInt16?, item: UInt16) -> Kind? {
        switch (object ?? 3300, item) {
        case (0, 10...12), (1, 0...3), (1, 5): .integer
        case (1, 6), (1, 8): .boolean
        case (3, 6...11), (3, 20), (3, 21): .integer
        case (3, 13): .time
        case (3, 0...3), (3, 14...19): .text
        case (4, 0...3), (4, 6), (4, 8...14): .integer
        case (4, 4), (4, 5), (4, 7): .text
        case (6, 0...3), (6, 6): .float
        case (6, 4): .opaque
        case (6, 5): .time
        case (7, 2...5): .integer
        case (19, 0): .opaque
        case (19, 1), (19, 2): .integer
        case (19, 3): .time
        case (3200...3499, _): reusable(item)
        default: nil
        }
    }

    /// Reusable resources (OMNA): the same meaning in every IPSO object.
    private static func reusable(_ item: UInt16) -> Kind? {
        switch item {
        case 5500, 5502, 5532, 5533, 5550, 5850: .boolean
        case 5501, 5503, 5504, 5526, 5534, 5536, 5537, 5547, 5851, 5852, 5854, 6042: .integer
        case 5518: .time
        case 5519...5521, 5524, 5525, 5531, 5538, 5544, 5548, 5601...5604, 5700, 5702...5705,
            5800...5821, 5900:
            .float
        case 5514...5517, 5527, 5701, 5706, 5750, 5751, 5853: .text
        case 5522: .opaque
        default: nil
        }
    }

    private static func words(
        _ object: UInt16, _ item: UInt16
    ) -> (quantity: String, unit: String) {
        switch (object, item) {
        case (3, 7): return ("voltage", "mV")
        case (3, 8): return ("current", "mA")
        case (3, 9): return ("battery_level", "%")
        case (3, 6), (3, 20): return ("state", "")
        case (3, 10), (3, 21): return ("information", "KiB")
        case (3, 11): return ("state", "")
        case (3, 13): return ("time", "s")
        case (4, 2): return ("signal_power", "dBm")
        case (4, 3): return ("signal_quality", "")
        case (6, 0): return ("latitude", "°")
        case (6, 1): return ("longitude", "°")
        case (6, 2): return ("altitude", "m")
        case (6, 3): return ("distance", "m")
        case (6, 6): return ("speed", "m/s")
        case (_, 5500): return ("state", "")
        case (_, 5501): return ("count", "")
        case (_, 5850): return ("state", "")
        case (_, 5851): return ("ratio", "%")
        case (_, 5852), (_, 5854), (_, 5538), (_, 5544): return ("duration", "s")
        case (_, 5518): return ("time", "s")
        case (_, 5800...5804): return ("active_power", "W")
        case (_, 5805): return ("active_energy", "Wh")
        case (_, 5810...5814): return ("reactive_power", "var")
        case (_, 5815): return ("reactive_energy", "varh")
        case (_, 5820): return ("power_factor", "")
        case (_, 5705): return ("direction", "°")
        case (_, 5601...5604), (_, 5700), (_, 5702...5704): return measured(object)
        default: return ("value", "")
        }
    }

    /// What the sensor value of an IPSO object is; its unit where the client does not send 5701.
    private static func measured(_ object: UInt16) -> (quantity: String, unit: String) {
        switch object {
        case 3301: ("illuminance", "lux")
        case 3303: ("temperature", "°C")
        case 3304: ("relative_humidity", "%")
        case 3305: ("active_power", "W")
        case 3313: ("acceleration", "m/s²")
        case 3314: ("flux_density", "µT")
        case 3315, 3323: ("pressure", "Pa")
        case 3316: ("voltage", "V")
        case 3317: ("current", "A")
        case 3318: ("frequency", "Hz")
        case 3319: ("level", "m")
        case 3320: ("ratio", "%")
        case 3321: ("altitude", "m")
        case 3322: ("mass", "kg")
        case 3324: ("sound_level", "dB")
        case 3325: ("concentration", "ppm")
        case 3326: ("ph", "")
        case 3327: ("conductivity", "S/m")
        case 3328: ("power", "W")
        case 3329: ("power_factor", "")
        case 3330: ("distance", "m")
        case 3331: ("energy", "Wh")
        case 3332: ("direction", "°")
        case 3346: ("rate", "1/s")
        case 3428: ("air_quality", "")
        default: ("value", "")
        }
    }
}
