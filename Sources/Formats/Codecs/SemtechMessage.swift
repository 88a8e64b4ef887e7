// One datagram of the Semtech UDP packet forwarder (Lora-net PROTOCOL.TXT): header, gateway and
// where its JSON stands; the packets inside are walked one by one without allocating. And the two
// answers of a server. Invariant: every range lies inside the bytes that were parsed.

package import Model

package struct SemtechMessage: Sendable {
    package enum Kind: UInt8, Sendable {
        case pushData = 0
        case pushAck = 1
        case pullData = 2
        case pullResponse = 3
        case pullAck = 4
        case txAck = 5
    }

    package var version: UInt8 = 2
    /// As on the wire, first byte in the high half.
    package var token: UInt16 = 0
    package var kind = Kind.pushData
    /// EUI of the gateway; nil where the type carries none.
    package var gateway: UInt64?
    /// The JSON object; empty when there is none.
    package var body = 0..<0

    /// Parses the header. Throws `.truncated`, `.badVersion`, `.unknownType`, or `.badLength` for bytes
    /// behind a type that carries none. The JSON is checked by `forEachPacket`, not here.
    package init(_ datagram: Span<UInt8>) throws(Rejection) {
        self = try Cursor.over(datagram) { (cursor) throws(Rejection) in
            try SemtechMessage(cursor, 0..<cursor.count)
        }
    }

    init(_ cursor: Cursor, _ range: Range<Int>) throws(Rejection) {
        var reader = FieldReader(cursor: cursor, position: range.lowerBound, end: range.upperBound)
        version = try reader.u8(else: .truncated)
        guard version == 1 || version == 2 else { throw .badVersion }
        token = try reader.u16(else: .truncated)
        guard let kind = Kind(rawValue: try reader.u8(else: .truncated)) else { throw .unknownType }
        self.kind = kind
        switch kind {
        case .pushData, .pullData, .txAck:
            guard reader.left >= 8, let eui = cursor.big(reader.position, width: 8) else {
                throw .truncated
            }
            gateway = eui
            reader.position &+= 8
        case .pushAck, .pullResponse, .pullAck: break
        }
        var end = reader.end
        // Some forwarders end with the zero of their text buffer.
        if end > reader.position, cursor.byte(end &- 1) == 0 { end &-= 1 }
        body = reader.position..<end
        switch kind {
        case .pushAck, .pullAck, .pullData: guard body.isEmpty else { throw .badLength }
        case .pushData, .pullResponse: guard !body.isEmpty else { throw .malformed }
        case .txAck: break
        }
    }

    /// The type of the answer; nil when the type is not answered.
    var answerKind: Kind? {
        switch kind {
        case .pushData: .pushAck
        case .pullData: .pullAck
        case .pushAck, .pullResponse, .pullAck, .txAck: nil
        }
    }

    /// PUSH_ACK for `pushData`, PULL_ACK for `pullData`; false when the type is not answered.
    @discardableResult
    package func writeAnswer(to bytes: inout [UInt8]) -> Bool {
        guard let answer = answerKind else { return false }
        bytes.append(version)
        bytes.append(UInt8(truncatingIfNeeded: token >> 8))
        bytes.append(UInt8(truncatingIfNeeded: token))
        bytes.append(answer.rawValue)
        return true
    }
}

/// One received LoRa packet as the gateway reports it (`rxpk`).
package struct SemtechPacket: Sendable {
    package enum CRC: Int8, Sendable {
        case bad = -1
        case none = 0
        case ok = 1
    }

    /// `stat`; `none` when it is not sent.
    package var crc = CRC.none
    /// Base64 text of the packet inside the datagram, with or without padding.
    package var data = 0..<0
    /// `size`, nil when it is not sent.
    package var size: Int?
    /// `rssi` in dBm, `lsnr` in dB, `freq` in MHz, as decimals; `.none` when not sent.
    package var rssi = Value.none
    package var snr = Value.none
    package var frequency = Value.none
}

/// The clear header of a LoRaWAN PHYPayload (LoRaWAN 1.0.4 section 4).
package struct LoRaWANHeader: Sendable {
    package enum Kind: UInt8, Sendable {
        case joinRequest = 0
        case joinAccept = 1
        case unconfirmedUp = 2
        case unconfirmedDown = 3
        case confirmedUp = 4
        case confirmedDown = 5
        case rejoinRequest = 6
        case proprietary = 7
    }

    package var kind = Kind.joinRequest
    /// DevAddr, or DevEUI of a join request.
    package var device: UInt64 = 0
    package var joinEUI: UInt64 = 0
    package var devNonce: UInt16 = 0
    package var control: UInt8 = 0
    package var frameCount: UInt16 = 0
    package var options = 0..<0
    package var port: UInt8?
    /// Encrypted payload.
    package var payload = 0..<0
    package var mic = 0..<0

    package var isADR: Bool { control & 0x80 != 0 }
    package var isAck: Bool { control & 0x20 != 0 }

    /// Nil when `range` of the bytes is no data frame or join request.
    package init?(_ bytes: Span<UInt8>) {
        guard let header = Cursor.over(bytes, { LoRaWANHeader($0, 0..<$0.count) }) else {
            return nil
        }
        self = header
    }

    init?(_ cursor: Cursor, _ range: Range<Int>) {
        let start = range.lowerBound
        guard let head = cursor.byte(start), head & 3 == 0, let kind = Kind(rawValue: head >> 5)
        else { return nil }
        self.kind = kind
        switch kind {
        case .joinRequest:
            guard range.count == 23, let join = cursor.little(start &+ 1, width: 8),
                let device = cursor.little(start &+ 9, width: 8),
                let nonce = cursor.little(start &+ 17, width: 2)
            else { return nil }
            joinEUI = join
            self.device = device
            devNonce = UInt16(truncatingIfNeeded: nonce)
        case .unconfirmedUp, .confirmedUp, .unconfirmedDown, .confirmedDown:
            guard range.count >= 12, let address = cursor.little(start &+ 1, width: 4),
                let control = cursor.byte(start &+ 5),
                let count = cursor.little(start &+ 6, width: 2)
            else { return nil }
            device = address
            self.control = control
            frameCount = UInt16(truncatingIfNeeded: count)
            let optionsEnd = start &+ 8 &+ Int(control & 15)
            let end = range.upperBound &- 4
            guard optionsEnd <= end else { return nil }
            options = start &+ 8..<optionsEnd
            payload = end..<end
            if optionsEnd < end {
                port = cursor.byte(optionsEnd)
                payload = optionsEnd &+ 1..<end
            }
        case .joinAccept, .rejoinRequest, .proprietary: return nil
        }
        mic = range.upperBound &- 4..<range.upperBound
    }
}

extension SemtechMessage {
    /// Calls `body` for each `rxpk` in order until it returns false. Throws `.malformed` when the JSON is
    /// broken; packets before the fault have been seen then.
    package func forEachPacket(
        in datagram: Span<UInt8>, _ body: (SemtechPacket) -> Bool
    ) throws(Rejection) {
        try Cursor.over(datagram) { (cursor) throws(Rejection) in
            var walker = RxpkWalker(cursor, self.body)
            while let packet = try walker.next() {
                if !body(packet) { return }
            }
        }
    }

    /// Appends the bytes that base64 text stands for (either alphabet, padding optional). False when it
    /// is no base64; bytes before the fault have been appended then.
    package static func appendBase64(
        _ text: Range<Int>, of datagram: Span<UInt8>, to bytes: inout [UInt8]
    ) -> Bool {
        Cursor.over(datagram) { cursor in
            var decoder = Base64(cursor, text)
            while let byte = decoder.next() { bytes.append(byte) }
            return decoder.isGood
        }
    }
}
