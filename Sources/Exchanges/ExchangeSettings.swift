// What an exchange is told at start: which conversation it leads, which formats take what it
// carries, and its bounds. Made by Host from the source's configuration; plain values.

import Model

/// The word after `exchange:` of a source.
package enum ExchangeKind: String, CaseIterable, Sendable {
    case coap
    case lwm2m
    case mqttSN = "mqtt-sn"
    case semtech

    /// Longest datagram that a device of the kind sends, in bytes: what links carry unfragmented, or
    /// the packet forwarder's transmit buffer.
    package var maximumDatagram: Int {
        switch self {
        case .coap, .lwm2m, .mqttSN: 1500
        case .semtech: 8192
        }
    }
}

package struct ExchangeSettings: Sendable {
    /// A path or topic and the place of its format.
    package struct Route: Hashable, Sendable {
        package var name: [UInt8]
        package var format: Int

        package init(name: [UInt8], format: Int) {
            self.name = name
            self.format = format
        }
    }

    package var kind: ExchangeKind
    /// Names of the source's formats by place: first those that the operator listed, then those that
    /// the conversation itself may need.
    package var formats: [String] = []
    /// How many of them the operator listed.
    package var listed = 0
    /// CoAP: the resources that take frames; empty: any path, formats by Content-Format.
    package var paths: [Route] = []
    /// MQTT-SN: topic filters (`+`, `#`), first that fits; none fits: the listed formats.
    package var topics: [Route] = []
    /// LwM2M: paths to observe of every client that has them, `/3303/0/5700`.
    package var observe: [[UInt8]] = []

    /// Messages remembered for retransmissions.
    package var rememberedMessages = 8192
    /// Block-wise uploads at the same time, bytes of one and of all.
    package var uploads = 64
    package var uploadBytes = 65_536
    package var uploadBytesInAll = 1 << 20
    /// LwM2M registrations, MQTT-SN sessions.
    package var clients = 65_536
    /// First retransmission of what the server sends confirmably (RFC 7252 section 4.8).
    package var acknowledgeMilliseconds: Int64 = 2000
    /// How long a client in queue mode listens after its last datagram (MAX_TRANSMIT_WAIT).
    package var awakeMilliseconds: Int64 = 93_000

    package init(kind: ExchangeKind) { self.kind = kind }

    /// The formats that conversations of this kind need besides the operator's, by name.
    package static func implied(_ kind: ExchangeKind) -> [String] {
        switch kind {
        case .coap: ContentFormats.formats
        case .lwm2m: ContentFormats.formats + [ContentFormats.resourceText]
        case .mqttSN: []
        case .semtech: ["semtech-udp"]
        }
    }

    /// Place of the format of that name; nil when the source has none.
    func place(of name: String) -> Int? { formats.firstIndex(of: name) }
}

/// CoAP Content-Formats (IANA, RFC 7252 section 12.3) that name their format.
enum ContentFormats {
    static let text: UInt32 = 0
    static let linkFormat: UInt32 = 40
    static let octets: UInt32 = 42
    static let tlv: UInt32 = 11_542

    /// Plain text of one LwM2M resource.
    static let resourceText = "lwm2m-text"

    /// The drafts' numbers 1542 and 1543 are still announced by clients.
    static let names: [(number: UInt32, format: String)] = [
        (112, "senml-cbor"), (110, "senml-json"), (60, "cbor"), (11_542, "lwm2m-tlv"),
        (1542, "lwm2m-tlv"), (11_543, "lwm2m-json"), (1543, "lwm2m-json"),
    ]

    /// Their formats, each once.
    static let formats = ["senml-cbor", "senml-json", "cbor", "lwm2m-tlv", "lwm2m-json"]
}
