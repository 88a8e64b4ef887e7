// The codec `semtech-udp`: one datagram of a LoRa gateway's packet forwarder. The gateway's own
// statistics are readings; received packets are shown with the clear header of LoRaWAN. Pushes
// without packets and pulls are answered here; a push that carries packets is answered by the
// exchange `semtech`, which hands them on: nothing is acknowledged that nobody keeps.

import Model

extension Machine {
    mutating func semtech<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        let message = try SemtechMessage(cursor, position..<limit)
        if S.explains { showHead(message, &sink) }
        if let gateway = message.gateway, !work.isIdentified {
            work.identity.clear()
            for i in 0..<16 {
                let digit = UInt8(truncatingIfNeeded: gateway >> UInt64(60 &- 4 &* i)) & 15
                work.identity.append(digit < 10 ? 0x30 &+ digit : 0x57 &+ digit)
            }
            try endIdentity(&sink)
        }
        var packets = 0
        if !message.body.isEmpty {
            packets = try checkPackets(message.body)
            try statistics(message.body, at, &sink)
            if S.explains { showBody(message, &sink) }
        }
        if direction == .up, packets == 0, let kind = message.answerKind {
            sink.answer(message.version)
            sink.answer(UInt8(truncatingIfNeeded: message.token >> 8))
            sink.answer(UInt8(truncatingIfNeeded: message.token))
            sink.answer(kind.rawValue)
        }
        if sink.readingCount == 0 { sink.control() }
        position = limit
    }

    /// Walks all packets; their count. The whole body is known to be JSON then.
    private func checkPackets(_ body: Range<Int>) throws(Rejection) -> Int {
        do throws(Rejection) {
            var walker = RxpkWalker(cursor, body)
            var count = 0
            while let packet = try walker.next() {
                count &+= 1
                var base64 = Base64(cursor, packet.data)
                let bytes = base64.count
                while base64.next() != nil {}
                guard base64.isGood else { throw .malformed }
                if let size = packet.size, size != bytes { throw .badLength }
            }
            return count
        } catch {
            // The datagram is whole: JSON that ends early is broken, not cut.
            throw error == .truncated ? .malformed : error
        }
    }

    // MARK: Readings

    private mutating func statistics<S: FrameSink>(
        _ body: Range<Int>, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        var pull = JSONPull(cursor, body)
        let first = sink.readingCount
        guard case .beginObject = try pull.next() else { throw .malformed }
        while case .key(let key) = try pull.next() {
            let value = try pull.next()
            guard case .beginObject = value, cursor.holds("stat", key) else {
                try pull.skip(value)
                continue
            }
            while case .key(let name) = try pull.next() {
                let value = try pull.next()
                switch value {
                case .number(let number):
                    guard let statistic = GatewayStatistic(name, cursor),
                        sink.readingCount < Machine.maximumReadings
                    else { continue }
                    sink.reading(
                        output: at.output, discriminator: statistic.rawValue, value: number,
                        quality: [], at: nil)
                case .string(let text):
                    if cursor.holds("time", name), let time = GatewayStatistic.time(text, cursor) {
                        sink.stamp(from: first, milliseconds: time)
                        self.time = time
                    }
                default: try pull.skip(value)
                }
            }
        }
        if let time { sink.stamp(from: first, milliseconds: time) }
    }
}

/// What a gateway counts about itself (`stat`).
enum GatewayStatistic: UInt64, CaseIterable {
    case rxnb, rxok, rxfw, ackr, dwnb, txnb, temp, lati, long, alti

    var word: StaticString {
        switch self {
        case .rxnb: "rxnb"
        case .rxok: "rxok"
        case .rxfw: "rxfw"
        case .ackr: "ackr"
        case .dwnb: "dwnb"
        case .txnb: "txnb"
        case .temp: "temp"
        case .lati: "lati"
        case .long: "long"
        case .alti: "alti"
        }
    }

    init?(_ key: JSONString, _ cursor: Cursor) {
        var raw: UInt64 = 0
        while let statistic = GatewayStatistic(rawValue: raw) {
            if cursor.holds(statistic.word, key) {
                self = statistic
                return
            }
            raw &+= 1
        }
        return nil
    }

    var description: StreamDescription {
        let words: (name: String, quantity: String, unit: String) =
            switch self {
            case .rxnb: ("packets_received", "count", "")
            case .rxok: ("packets_received_ok", "count", "")
            case .rxfw: ("packets_forwarded", "count", "")
            case .ackr: ("acknowledged", "ratio", "%")
            case .dwnb: ("downlinks_received", "count", "")
            case .txnb: ("packets_sent", "count", "")
            case .temp: ("temperature", "temperature", "°C")
            case .lati: ("latitude", "latitude", "°")
            case .long: ("longitude", "longitude", "°")
            case .alti: ("altitude", "altitude", "m")
            }
        return StreamDescription(
            name: words.name, quantity: words.quantity, unit: words.unit, priority: .live)
    }

    /// `2014-01-12 08:59:28 GMT` as UTC milliseconds; nil for anything else.
    static func time(_ text: JSONString, _ cursor: Cursor) -> Int64? {
        let at = text.range.lowerBound
        guard text.range.count == 23, text.isPlain,
            cursor.holds(" GMT", at &+ 19..<at &+ 23), cursor.byte(at &+ 4) == 0x2D,
            cursor.byte(at &+ 7) == 0x2D, cursor.byte(at &+ 10) == 0x20,
            let year = cursor.decimal(at..<at &+ 4), let month = cursor.decimal(at &+ 5..<at &+ 7),
            let day = cursor.decimal(at &+ 8..<at &+ 10),
            let hour = cursor.decimal(at &+ 11..<at &+ 13),
            let minute = cursor.decimal(at &+ 14..<at &+ 16),
            let second = cursor.decimal(at &+ 17..<at &+ 19)
        else { return nil }
        return Timestamp(
            year: Int(year), month: Int(month), day: Int(day), hour: Int(hour), minute: Int(minute),
            second: Int(second))?.milliseconds
    }
}

extension SemtechMessage.Kind {
    /// `push-data`
    var text: String {
        switch self {
        case .pushData: "push-data"
        case .pushAck: "push-ack"
        case .pullData: "pull-data"
        case .pullResponse: "pull-resp"
        case .pullAck: "pull-ack"
        case .txAck: "tx-ack"
        }
    }
}
