// What people see of a Semtech datagram: units in the names, packets as bytes, LoRaWAN's clear
// header. Slow path: it allocates as it likes. The JSON was checked before.

import Model

extension Machine {
    func showHead<S: FrameSink>(_ message: SemtechMessage, _ sink: inout S) {
        let start = position
        sink.leaf("type", start &+ 3..<start &+ 4, .text(message.kind.text), self)
        sink.leaf(
            "version", start..<start &+ 1, .number(.decimal(Int64(message.version))), self)
        let token = start &+ 1..<start &+ 3
        sink.leaf("token", token, .bytes(cursor.bytes(token)), self)
        if message.gateway != nil {
            let gateway = start &+ 4..<start &+ 12
            sink.leaf("gateway", gateway, .bytes(cursor.bytes(gateway)), self)
        }
        var reply: [UInt8] = []
        let isAnswered = message.writeAnswer(to: &reply)
        sink.leaf("reply", start..<start &+ 4, isAnswered ? .bytes(reply) : .null, self)
    }

    func showBody<S: FrameSink>(_ message: SemtechMessage, _ sink: inout S) {
        var pull = JSONPull(cursor, message.body)
        guard case .beginObject? = try? pull.next() else { return }
        while case .key(let key)? = try? pull.next() {
            guard let value = try? pull.next() else { return }
            if case .beginArray = value, cursor.holds("rxpk", key) {
                sink.openList("rxpk", at: key.range.lowerBound, machine: self)
                while case .beginObject? = try? pull.next() { showPacket("", &pull, &sink) }
                sink.close()
            } else if case .beginObject = value, cursor.holds("txpk", key) {
                showPacket("txpk", &pull, &sink)
            } else if case .beginObject = value, cursor.holds("stat", key) {
                showObject("stat", &pull, &sink)
            } else if case .beginObject = value, cursor.holds("txpk_ack", key) {
                while case .key(let name)? = try? pull.next() {
                    guard let value = try? pull.next() else { return }
                    if case .string(let text) = value, cursor.holds("error", name) {
                        sink.leaf("tx_error", text.range, .text(words(text)), self)
                    } else {
                        try? pull.skip(value)
                    }
                }
            } else {
                try? pull.skip(value)
            }
        }
    }

    private func words(_ text: JSONString) -> String {
        var bytes: [UInt8] = []
        var source = JSONText.Bytes(cursor, text)
        while let byte = source.next() { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func field(_ token: JSONPull.Token) -> FieldValue? {
        switch token {
        case .number(let number): .number(number)
        case .string(let text): .text(words(text))
        case .boolean(let boolean): .boolean(boolean)
        case .null: .null
        case .beginObject, .endObject, .beginArray, .endArray, .key, .end: nil
        }
    }

    /// The simple members of an object whose `{` was taken.
    private func showObject<S: FrameSink>(
        _ name: String, _ pull: inout JSONPull, _ sink: inout S
    ) {
        sink.openObject(name, at: pull.position, machine: self)
        while case .key(let key)? = try? pull.next() {
            guard let token = try? pull.next() else { break }
            let range = key.range.lowerBound..<pull.position
            if let value = field(token) {
                sink.leaf(words(key), range, value, self)
            } else {
                try? pull.skip(token)
            }
        }
        sink.close()
    }

    private func showPacket<S: FrameSink>(
        _ name: String, _ pull: inout JSONPull, _ sink: inout S
    ) {
        sink.openObject(name, at: pull.position, machine: self)
        var crc = SemtechPacket.CRC.none
        var data: (bytes: [UInt8], range: Range<Int>)?
        while case .key(let key)? = try? pull.next() {
            guard let token = try? pull.next() else { break }
            let range = key.range.lowerBound..<pull.position
            let word = words(key)
            switch (word, token) {
            case ("data", .string(let text)):
                var bytes: [UInt8] = []
                var source = Base64(cursor, text.range)
                while let byte = source.next() { bytes.append(byte) }
                data = (bytes, range)
                sink.leaf("data", range, .bytes(bytes), self)
            case ("freq", .number(let number)) where number.kind == .decimal:
                let hertz = number.plus(.decimal(0))
                let exponent = Int8(clamping: Int(hertz.exponent) + 6)
                let value = Value.decimal(hertz.mantissa, exponent: exponent)
                sink.leaf("freq_hz", range, .number(value), self)
            case ("stat", .number(let number)):
                crc = SemtechPacket.CRC(rawValue: Int8(clamping: number.mantissa)) ?? .none
                let text = crc == .ok ? "ok" : crc == .bad ? "bad" : "none"
                sink.leaf("crc", range, .text(text), self)
            default:
                if let value = field(token) {
                    sink.leaf(Machine.packetWords[word] ?? word, range, value, self)
                } else {
                    try? pull.skip(token)
                }
            }
        }
        // Bytes whose check failed are no header.
        if crc == .ok, let data {
            Cursor.over(data.bytes.span) { bytes in
                guard let header = LoRaWANHeader(bytes, 0..<bytes.count) else { return }
                showHeader(header, bytes, data.range, &sink)
            }
        }
        sink.close()
    }

    private static let packetWords = [
        "modu": "modulation", "datr": "datarate", "rssi": "rssi_dbm", "lsnr": "snr_db",
        "powe": "power_dbm",
    ]

    private func showHeader<S: FrameSink>(
        _ header: LoRaWANHeader, _ bytes: Cursor, _ range: Range<Int>, _ sink: inout S
    ) {
        func hex(_ number: UInt64, _ digits: Int) -> FieldValue {
            let text = String(number, radix: 16)
            return .text(String(repeating: "0", count: max(0, digits - text.count)) + text)
        }
        func part(_ name: String, _ part: Range<Int>) {
            if part.isEmpty { return }
            sink.leaf(name, range, .bytes(bytes.bytes(part)), self)
        }
        sink.openObject("lorawan", at: range.lowerBound, machine: self)
        sink.leaf("mtype", range, .text(header.kind.text), self)
        if header.kind == .joinRequest {
            sink.leaf("join_eui", range, hex(header.joinEUI, 16), self)
            sink.leaf("dev_eui", range, hex(header.device, 16), self)
            sink.leaf("dev_nonce", range, .number(.decimal(Int64(header.devNonce))), self)
        } else {
            sink.leaf("dev_addr", range, hex(header.device, 8), self)
            sink.leaf("adr", range, .boolean(header.isADR), self)
            sink.leaf("ack", range, .boolean(header.isAck), self)
            sink.leaf("fcnt", range, .number(.decimal(Int64(header.frameCount))), self)
            part("fopts", header.options)
            if let port = header.port {
                sink.leaf("fport", range, .number(.decimal(Int64(port))), self)
            }
            part("frm_payload", header.payload)
        }
        part("mic", header.mic)
        sink.close()
    }
}

extension LoRaWANHeader.Kind {
    /// `confirmed-up`
    var text: String {
        switch self {
        case .joinRequest: "join-request"
        case .joinAccept: "join-accept"
        case .unconfirmedUp: "unconfirmed-up"
        case .unconfirmedDown: "unconfirmed-down"
        case .confirmedUp: "confirmed-up"
        case .confirmedDown: "confirmed-down"
        case .rejoinRequest: "rejoin-request"
        case .proprietary: "proprietary"
        }
    }
}
