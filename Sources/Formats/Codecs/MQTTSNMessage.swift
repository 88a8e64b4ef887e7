// One MQTT-SN 1.2 message (OASIS text of 2013, section 5): parsed to numbers and ranges of the
// datagram it came in, nothing copied; and the answers of a gateway written to bytes that the
// caller reuses. Invariant: every range lies inside the bytes that were parsed.

package import Model

package struct MQTTSNMessage: Sendable {
    package enum Kind: UInt8, Sendable, CaseIterable {
        case advertise = 0x00
        case searchGateway = 0x01
        case gatewayInfo = 0x02
        case connect = 0x04
        case connectAck = 0x05
        case willTopicRequest = 0x06
        case willTopic = 0x07
        case willMessageRequest = 0x08
        case willMessage = 0x09
        case register = 0x0A
        case registerAck = 0x0B
        case publish = 0x0C
        case publishAck = 0x0D
        case publishComplete = 0x0E
        case publishReceived = 0x0F
        case publishRelease = 0x10
        case subscribe = 0x12
        case subscribeAck = 0x13
        case unsubscribe = 0x14
        case unsubscribeAck = 0x15
        case pingRequest = 0x16
        case pingResponse = 0x17
        case disconnect = 0x18
        case willTopicUpdate = 0x1A
        case willTopicResponse = 0x1B
        case willMessageUpdate = 0x1C
        case willMessageResponse = 0x1D
        case encapsulated = 0xFE
    }

    package enum TopicKind: UInt8, Sendable {
        case normal = 0
        case predefined = 1
        /// Two characters instead of a number.
        case short = 2
    }

    package enum ReturnCode: UInt8, Sendable {
        case accepted = 0
        case congestion = 1
        case invalidTopic = 2
        case notSupported = 3
    }

    package var kind = Kind.advertise
    /// Raw flags: DUP 80, QoS 60, retain 10, will 08, clean 04, topic kind 03.
    package var flags: UInt8 = 0
    package var topicKind = TopicKind.normal
    /// Topic number, or the two characters of a short topic.
    package var topic: UInt16 = 0
    package var messageID: UInt16 = 0
    package var returnCode: UInt8 = 0
    /// Seconds: keep-alive of `connect`, sleep of `disconnect`, interval of `advertise`. Nil: not sent.
    package var duration: UInt16?
    /// Gateway number of `advertise` and `gatewayInfo`; radius of `searchGateway` and `encapsulated`.
    package var octet: UInt8 = 0
    /// Client id, topic name or will topic, UTF-8; node id of `encapsulated`; gateway address.
    package var text = 0..<0
    /// Payload of `publish`, will message.
    package var data = 0..<0
    /// The message inside `encapsulated`.
    package var inner = 0..<0

    /// −1, 0, 1 or 2.
    package var qos: Int { flags >> 5 & 3 == 3 ? -1 : Int(flags >> 5 & 3) }
    package var isDuplicate: Bool { flags & 0x80 != 0 }
    package var isRetained: Bool { flags & 0x10 != 0 }
    package var hasWill: Bool { flags & 0x08 != 0 }
    package var isClean: Bool { flags & 0x04 != 0 }

    /// Parses one datagram. Throws `.truncated`, `.badLength` (bytes behind the message, or fewer than
    /// its type needs), `.unknownType`, `.badVersion` (protocol id), `.badType` (topic kind 3),
    /// `.tooDeep` (an encapsulated message inside another).
    package init(_ datagram: Span<UInt8>) throws(Rejection) {
        self = try Cursor.over(datagram) { (cursor) throws(Rejection) in
            try MQTTSNMessage(cursor, 0..<cursor.count)
        }
    }

    /// Parses the message inside this one.
    package func innerMessage(in datagram: Span<UInt8>) throws(Rejection) -> MQTTSNMessage {
        try Cursor.over(datagram) { (cursor) throws(Rejection) in
            try MQTTSNMessage(cursor, inner, isInner: true)
        }
    }
}

// MARK: Parsing

extension MQTTSNMessage {
    /// Parses the message that is exactly `range` of `cursor`.
    init(_ cursor: Cursor, _ range: Range<Int>, isInner: Bool = false) throws(Rejection) {
        var reader = FieldReader(cursor: cursor, position: range.lowerBound, end: range.upperBound)
        let first = try reader.u8(else: .truncated)
        var length = Int(first)
        if first == 1 { length = Int(try reader.u16(else: .truncated)) }
        let header = reader.position &- range.lowerBound
        guard length > header else { throw .badLength }
        guard length <= range.count else { throw .truncated }
        let end = range.lowerBound &+ length
        guard let kind = Kind(rawValue: try reader.u8(else: .truncated)) else { throw .unknownType }
        self.kind = kind
        if kind == .encapsulated {
            guard !isInner else { throw .tooDeep }
            reader.end = end
            octet = try reader.u8(else: .badLength) & 3
            text = reader.rest()
            inner = end..<range.upperBound
            _ = try MQTTSNMessage(cursor, inner, isInner: true)
            return
        }
        guard length == range.count else { throw .badLength }
        reader.end = end
        try read(&reader)
        guard reader.position == reader.end else { throw .badLength }
    }

    private mutating func read(_ reader: inout FieldReader) throws(Rejection) {
        switch kind {
        case .advertise:
            octet = try reader.u8(else: .badLength)
            duration = try reader.u16(else: .badLength)
        case .searchGateway: octet = try reader.u8(else: .badLength)
        case .gatewayInfo:
            octet = try reader.u8(else: .badLength)
            text = reader.rest()
        case .connect:
            flags = try reader.u8(else: .badLength)
            guard try reader.u8(else: .badLength) == 1 else { throw .badVersion }
            duration = try reader.u16(else: .badLength)
            text = reader.rest()
        case .connectAck, .willTopicResponse, .willMessageResponse:
            returnCode = try reader.u8(else: .badLength)
        case .willTopicRequest, .willMessageRequest, .pingResponse: break
        case .willTopic, .willTopicUpdate:
            // Without flags and topic: the client has no will any more.
            if reader.left > 0 { flags = try reader.u8(else: .badLength) }
            text = reader.rest()
        case .willMessage, .willMessageUpdate: data = reader.rest()
        case .register:
            topic = try reader.u16(else: .badLength)
            messageID = try reader.u16(else: .badLength)
            text = reader.rest()
        case .registerAck, .publishAck:
            topic = try reader.u16(else: .badLength)
            messageID = try reader.u16(else: .badLength)
            returnCode = try reader.u8(else: .badLength)
        case .publish:
            flags = try reader.u8(else: .badLength)
            topic = try reader.u16(else: .badLength)
            messageID = try reader.u16(else: .badLength)
            try takeTopicKind()
            data = reader.rest()
        case .publishComplete, .publishReceived, .publishRelease, .unsubscribeAck:
            messageID = try reader.u16(else: .badLength)
        case .subscribe, .unsubscribe:
            flags = try reader.u8(else: .badLength)
            messageID = try reader.u16(else: .badLength)
            try takeTopicKind()
            if topicKind == .normal {
                text = reader.rest()
                guard !text.isEmpty else { throw .badLength }
            } else {
                topic = try reader.u16(else: .badLength)
            }
        case .subscribeAck:
            flags = try reader.u8(else: .badLength)
            topic = try reader.u16(else: .badLength)
            messageID = try reader.u16(else: .badLength)
            returnCode = try reader.u8(else: .badLength)
        case .pingRequest: text = reader.rest()
        case .disconnect: if reader.left > 0 { duration = try reader.u16(else: .badLength) }
        case .encapsulated: break
        }
    }

    private mutating func takeTopicKind() throws(Rejection) {
        guard let kind = TopicKind(rawValue: flags & 3) else { throw .badType }
        topicKind = kind
    }
}

/// Reads fields one after the other; the error tells what running out of bytes means.
struct FieldReader {
    let cursor: Cursor
    var position: Int
    var end: Int

    var left: Int { end &- position }

    mutating func u8(else error: Rejection) throws(Rejection) -> UInt8 {
        guard position < end, let byte = cursor.byte(position) else { throw error }
        position &+= 1
        return byte
    }

    mutating func u16(else error: Rejection) throws(Rejection) -> UInt16 {
        guard position <= end &- 2, let word = cursor.big(position, width: 2) else { throw error }
        position &+= 2
        return UInt16(truncatingIfNeeded: word)
    }

    mutating func rest() -> Range<Int> {
        let range = position..<end
        position = end
        return range
    }
}

// MARK: Answers of a gateway

extension MQTTSNMessage {
    package static func writeConnectAck(_ code: ReturnCode, to bytes: inout [UInt8]) {
        write(.connectAck, code.rawValue, to: &bytes)
    }

    package static func writeWillTopicRequest(to bytes: inout [UInt8]) {
        bytes.append(2)
        bytes.append(Kind.willTopicRequest.rawValue)
    }

    package static func writeWillMessageRequest(to bytes: inout [UInt8]) {
        bytes.append(2)
        bytes.append(Kind.willMessageRequest.rawValue)
    }

    /// `willTopicResponse` or `willMessageResponse`.
    package static func writeWillResponse(
        topic: Bool, _ code: ReturnCode, to bytes: inout [UInt8]
    ) {
        write(topic ? .willTopicResponse : .willMessageResponse, code.rawValue, to: &bytes)
    }

    package static func writeRegisterAck(
        topic: UInt16, messageID: UInt16, _ code: ReturnCode, to bytes: inout [UInt8]
    ) {
        bytes.append(7)
        bytes.append(Kind.registerAck.rawValue)
        append(topic, to: &bytes)
        append(messageID, to: &bytes)
        bytes.append(code.rawValue)
    }

    package static func writePublishAck(
        topic: UInt16, messageID: UInt16, _ code: ReturnCode, to bytes: inout [UInt8]
    ) {
        bytes.append(7)
        bytes.append(Kind.publishAck.rawValue)
        append(topic, to: &bytes)
        append(messageID, to: &bytes)
        bytes.append(code.rawValue)
    }

    /// `publishReceived`, `publishRelease`, `publishComplete` or `unsubscribeAck`.
    package static func write(_ kind: Kind, messageID: UInt16, to bytes: inout [UInt8]) {
        bytes.append(4)
        bytes.append(kind.rawValue)
        append(messageID, to: &bytes)
    }

    package static func writeSubscribeAck(
        qos: Int, topic: UInt16, messageID: UInt16, _ code: ReturnCode, to bytes: inout [UInt8]
    ) {
        bytes.append(8)
        bytes.append(Kind.subscribeAck.rawValue)
        bytes.append(UInt8(truncatingIfNeeded: max(0, min(2, qos))) << 5)
        append(topic, to: &bytes)
        append(messageID, to: &bytes)
        bytes.append(code.rawValue)
    }

    package static func writePingResponse(to bytes: inout [UInt8]) {
        bytes.append(2)
        bytes.append(Kind.pingResponse.rawValue)
    }

    package static func writeDisconnect(to bytes: inout [UInt8]) {
        bytes.append(2)
        bytes.append(Kind.disconnect.rawValue)
    }

    package static func writeGatewayInfo(gateway: UInt8, to bytes: inout [UInt8]) {
        write(.gatewayInfo, gateway, to: &bytes)
    }

    private static func write(_ kind: Kind, _ octet: UInt8, to bytes: inout [UInt8]) {
        bytes.append(3)
        bytes.append(kind.rawValue)
        bytes.append(octet)
    }

    private static func append(_ word: UInt16, to bytes: inout [UInt8]) {
        bytes.append(UInt8(truncatingIfNeeded: word >> 8))
        bytes.append(UInt8(truncatingIfNeeded: word))
    }
}
