// The layers of wireless M-Bus above the link (EN 13757-3, -7; OMS volume 2): authentication, transport
// header, deciphering, and what the application holds. Runs in the codec's plane (WirelessMBus.swift).
//
//   CI 90   AFLL, FCL 2, then as FCL's bits say: MCL, KI 2, MCR 4, MAC 2…16, ML 2
//   CI 72   id 4, maker 2, version, medium, then as 7A
//   CI 7A   access, status, configuration 2 (mode in bits 8-12, blocks in 4-7), mode 7 one byte more
//   CI 78   nothing
//   CI 79   WirelessMBus+Compact.swift

import Model

extension Machine {
    mutating func application<S: FrameSink>(
        _ telegram: inout Telegram, isNested: Bool, _ sink: inout S
    ) throws(Rejection) {
        number("ci", position, 1, &sink)
        let ci = try take()
        switch ci {
        case 0x90 where !isNested: try authentication(&telegram, &sink)
        case 0x72:
            let meter = MBusAddress(header: try take(8))
            telegram.meter = meter
            if S.explains {
                sink.openObject("meter", at: meter.id, machine: self)
                meter.explain(self, &sink)
                sink.close()
            }
            try transport(&telegram, &sink)
        case 0x7A: try transport(&telegram, &sink)
        case 0x78: try mbusRecords(telegram.place, &sink)
        case 0x79: try compact(telegram.place, &sink)
        default:
            if S.explains {
                sink.leaf("data", position..<limit, .bytes(cursor.bytes(position..<limit)), self)
            }
            position = limit
        }
    }

    // MARK: Authentication and fragmentation layer

    private mutating func authentication<S: FrameSink>(
        _ telegram: inout Telegram, _ sink: inout S
    ) throws(Rejection) {
        if S.explains {
            sink.leaf("data", position..<limit, .bytes(cursor.bytes(position..<limit)), self)
        }
        let count = Int(try take())
        let end = position &+ count
        guard end <= limit else { throw .truncated }
        let bits = cursor.little(try take(2), width: 2) ?? 0
        if bits >> 13 & 1 == 1 { telegram.controlAt = try take(1) }
        if bits >> 9 & 1 == 1 { _ = try take(2) }
        if bits >> 11 & 1 == 1 { telegram.counterAt = try take(4) }
        if bits >> 10 & 1 == 1 {
            let kind = telegram.controlAt < 0 ? 0 : cursor.byte(telegram.controlAt) ?? 0
            telegram.macCount = Machine.macCount(kind & 15)
            telegram.macAt = try take(telegram.macCount)
        }
        if bits >> 12 & 1 == 1 { telegram.lengthAt = try take(2) }
        guard position <= end else { throw .badLength }
        position = end
        // Parts of a longer message, or nothing behind: kept as they are.
        guard bits >> 14 & 1 == 0, position < limit else {
            position = limit
            return
        }
        if S.explains { sink.openObject("application", at: position, machine: self) }
        try application(&telegram, isNested: true, &sink)
        if S.explains { sink.close() }
    }

    /// Bytes of the check value by authentication type: 3 to 8 are AES-CMAC-128 cut to 2, 4, 8, 12, 16
    /// bytes and GMAC of 12.
    private static func macCount(_ kind: UInt8) -> Int {
        switch kind {
        case 3: 2
        case 4: 4
        case 5: 8
        case 6: 12
        case 7: 16
        case 8: 12
        default: 0
        }
    }

    // MARK: Transport layer

    private mutating func transport<S: FrameSink>(
        _ telegram: inout Telegram, _ sink: inout S
    ) throws(Rejection) {
        let header = position &- 1 &- (telegram.meter.id > 10 ? 8 : 0)
        let access = try take(4)
        number("access", access, 1, &sink)
        number("status", access &+ 1, 1, &sink)
        number("config", access &+ 2, 2, &sink)
        let config = cursor.little(access &+ 2, width: 2) ?? 0
        let status = UInt64(cursor.byte(access &+ 1) ?? 0)
        let mode = config >> 8 & 31
        // One byte more that says how the key is derived.
        if mode == 7 { _ = try take(1) }
        let isMissing = try decipher(telegram, mode, config, access, header, &sink)
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        sink.reading(
            output: telegram.place.output,
            discriminator: UInt64(MBusKind.meterStatus.rawValue), value: .code(status),
            quality: [], at: nil)
        if isMissing { return }
        try mbusRecords(telegram.place, &sink)
    }

    /// Deciphers the blocks that the configuration counts. True when the key is missing.
    private mutating func decipher<S: FrameSink>(
        _ telegram: Telegram, _ mode: UInt64, _ config: UInt64, _ access: Int, _ header: Int,
        _ sink: inout S
    ) throws(Rejection) -> Bool {
        let blocks = min(Int(config >> 4 & 15), (limit &- position) / 16)
        // Mode 5 may count no block at all: then nothing is enciphered.
        if mode == 0 || (mode == 5 && config >> 4 & 15 == 0) { return false }
        let isPlain = cursor.byte(position) == 0x2F && cursor.byte(position &+ 1) == 0x2F
        if isPlain || (blocks == 0 && position == limit) {
            if S.explains {
                sink.leaf("encryption", position..<position, .text("removed"), self)
            }
            return false
        }
        if S.explains {
            let name = mode == 5 ? "aes-cbc-iv" : mode == 7 ? "aes-cbc-no-iv" : "mode-\(mode)"
            sink.leaf("encryption", position..<position, .text(name), self)
        }
        guard let key = work.keys.key(telegram.meter.key(cursor)),
            mode == 5 || (mode == 7 && telegram.counterAt >= 0), blocks > 0
        else {
            seal(position, &sink)
            return true
        }
        var before = Block128()
        var aes = AES128(key: key)
        if mode == 5 {
            before = initialisation(telegram.meter, access)
        } else {
            try authenticate(aes, telegram, header)
            aes = AES128(key: derive(aes, 0, telegram))
        }
        let scratch = work.planes[Int(telegram.place.plane)]
        for b in 0..<blocks {
            let at = position &+ 16 &* b
            var cipher = Block128()
            for i in 0..<16 { cipher[i] = cursor.byte(at &+ i) ?? 0 }
            let plain = aes.plain(cipher, after: before)
            for i in 0..<16 { scratch.set(plain[i], at: at &+ i) }
            before = cipher
        }
        guard cursor.byte(position) == 0x2F, cursor.byte(position &+ 1) == 0x2F else {
            throw .badDecryption
        }
        return false
    }

    /// Mode 5: maker, number, version, medium, eight times the access number.
    private func initialisation(_ meter: MBusAddress, _ access: Int) -> Block128 {
        var block = Block128()
        for i in 0..<2 { block[i] = cursor.byte(meter.manufacturer &+ i) ?? 0 }
        for i in 0..<4 { block[2 &+ i] = cursor.byte(meter.id &+ i) ?? 0 }
        block[6] = cursor.byte(meter.version) ?? 0
        block[7] = cursor.byte(meter.medium) ?? 0
        for i in 8..<16 { block[i] = cursor.byte(access) ?? 0 }
        return block
    }

    // MARK: Mode 7

    /// The key for enciphering (0) or authenticating (1) what the meter sends: the CMAC of that number,
    /// the message counter, the meter's number and seven times 07.
    private func derive(_ aes: AES128, _ purpose: UInt8, _ telegram: Telegram) -> Block128 {
        var text = Block128()
        text[0] = purpose
        for i in 0..<4 {
            text[1 &+ i] = cursor.byte(telegram.counterAt &+ i) ?? 0
            text[5 &+ i] = cursor.byte(telegram.meter.id &+ i) ?? 0
        }
        for i in 9..<16 { text[i] = 7 }
        return aes.cmac(16) { text[$0] }
    }

    /// The check value covers control byte, counter, length if there, and everything from the transport
    /// layer's CI on.
    private func authenticate(
        _ aes: AES128, _ telegram: Telegram, _ header: Int
    ) throws(Rejection) {
        guard telegram.macAt >= 0, telegram.controlAt >= 0, telegram.macCount > 0,
            (cursor.byte(telegram.controlAt) ?? 0) & 15 < 8
        else { return }
        let mac = AES128(key: derive(aes, 1, telegram))
        let lengthCount = telegram.lengthAt >= 0 ? 2 : 0
        let bytes = cursor
        let found = mac.cmac(5 &+ lengthCount &+ limit &- header) { i in
            let at =
                switch i {
                case 0: telegram.controlAt
                case 1..<5: telegram.counterAt &+ i &- 1
                case _ where i < 5 &+ lengthCount: telegram.lengthAt &+ i &- 5
                default: header &+ i &- 5 &- lengthCount
                }
            return bytes.byte(at) ?? 0
        }
        for i in 0..<telegram.macCount where cursor.byte(telegram.macAt &+ i) != found[i] {
            throw .badDecryption
        }
    }
}
