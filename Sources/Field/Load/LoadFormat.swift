// Frames of real devices' formats for `sluice load --format`: made byte by byte after the protocols, not
// with the daemon's code, so that a run through it proves something. All follows from a frame's number.

import Formats
import Model

package enum LoadFormat: String, CaseIterable, Sendable {
    case reference = "sluice-reference"
    case dragino = "dragino-s31-nb"
    case dlt645, cjt188
    case modbus = "modbus-example-energy-meter"
    case hj212
    /// SenML over CoAP, which the gateway answers as a CoAP server.
    case senml = "coap"

    /// By its own name or the family's.
    package static func named(_ name: String) -> LoadFormat? {
        switch name {
        case "vendor": .dragino
        case "modbus": .modbus
        case "senml", "coap+senml", "senml-json": .senml
        default: LoadFormat(rawValue: name)
        }
    }

    /// Formats that the gateway's source lists.
    var sourceFormats: [String] { self == .senml ? ["senml-json"] : [rawValue] }

    var exchange: String? { self == .senml ? "coap" : nil }

    /// The format that reads what a frame carries.
    var contentFormat: String { self == .senml ? "senml-json" : rawValue }

    /// Names of a message's streams begin with its resource.
    var streamPrefix: String { self == .senml ? "t/" : "" }

    /// Where a message's content begins: behind head, token, two options and the mark of the payload.
    var contentOffset: Int { self == .senml ? 13 : 0 }

    /// A frame that comes twice is known again.
    var knowsDuplicates: Bool {
        switch self {
        case .reference, .dragino, .hj212, .senml: true
        case .dlt645, .cjt188, .modbus: false
        }
    }

    var canAnswer: Bool { self == .reference || self == .senml }
    var isDatagramOnly: Bool { self == .dragino || self == .senml }

    /// The finest time in a frame, ms.
    var granularity: Int64 { self == .reference ? 1 : 1000 }

    /// Identities that the protocol has.
    var maximumDevices: Int { self == .modbus ? 247 : 1_000_000 }

    /// The bytes of frame `index`. `socketShare`: how many devices share a socket.
    package func frame(
        _ index: Int, asks: Bool, of population: Population, socketShare: Int = 1
    ) -> [UInt8] {
        let maker = FrameMaker(index: index, population: population)
        switch self {
        case .reference:
            var frame = [UInt8](repeating: 0, count: ReferenceFrame.size)
            ReferenceFrame.write(into: &frame, index: index, asks: asks, of: population)
            return frame
        case .dragino: return maker.dragino()
        case .dlt645: return maker.dlt645()
        case .cjt188: return maker.cjt188()
        case .modbus: return maker.modbus()
        case .hj212: return maker.hj212()
        case .senml: return maker.coap(asks: asks, share: socketShare)
        }
    }

    /// The sequence that an answer is for; nil when the bytes are no answer.
    func answered(by bytes: [UInt8], count: Int) -> UInt32? {
        guard self == .senml else { return ReferenceFrame.answered(by: bytes, count: count) }
        // An acknowledgement with code 2.04 and the token that we chose (RFC 7252 section 3).
        guard count >= 8, bytes.count >= 8, bytes[0] == 0x64, bytes[1] == 0x44 else { return nil }
        return bytes[4..<8].reduce(0) { $0 << 8 | UInt32($1) }
    }
}

/// One frame of one device.
private struct FrameMaker {
    let index: Int
    let population: Population
    let device: Int
    let round: Int
    private let values: [5 of Int64]

    init(index: Int, population: Population) {
        self.index = index
        self.population = population
        (device, round) = population.traffic.place(index)
        values = population.values(index)
    }

    private var seconds: Int64 { population.observedAt(index) / 1000 }

    private func big(_ value: Int64, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> Int64(8 * (width - 1 - $0))) }
    }

    /// Two decimal digits a byte, the last first.
    private func littleBCD(_ value: Int, _ width: Int) -> [UInt8] {
        var rest = value
        return (0..<width).map { _ in
            defer { rest /= 100 }
            return UInt8(rest % 10 + (rest / 10 % 10) * 16)
        }
    }

    /// Digits of a number, as many as asked for.
    private func digits(_ value: Int, _ count: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, count - text.count)) + text.suffix(count)
    }

    private func sum(_ bytes: [UInt8]) -> UInt8 { bytes.reduce(0, &+) }

    /// f + IMEI, f + IMSI, version, battery, signal, mode, probe, interrupt, flags, ADC, record, time.
    func dragino() -> [UInt8] {
        let imei = "f86" + digits(device, 13)
        let who = Hex.bytes(imei + "f46001" + digits(device, 10)) ?? []
        return who + big(366, 2) + big(values[4], 2) + [23, 3] + big(0x7FFF, 2) + [0, 0, 0]
            + big(0, 2) + big(values[0] / 10, 2) + big(values[1] / 10, 2) + big(seconds, 4)
    }

    /// An answer to "read positive active energy": the register tells each frame of a meter apart.
    func dlt645() -> [UInt8] {
        let data = [0x00, 0x00, 0x01, 0x00] + littleBCD(round + 1, 4)
        let head = [0x68] + littleBCD(device + 1, 6) + [0x68, 0x91, UInt8(data.count)]
        let bytes = head + data.map { $0 &+ 0x33 }
        return bytes + [sum(bytes), 0x16]
    }

    /// An answer to 901F of a cold water meter: volume, at the month's end, local time, state.
    func cjt188() -> [UInt8] {
        let now = Timestamp(milliseconds: (seconds + 8 * 3600) * 1000).iso8601
        let clock = now.filter(\.isNumber).prefix(14)
        let parts = (0..<7).map { i -> UInt8 in
            let from = clock.index(clock.startIndex, offsetBy: 2 * i)
            return UInt8(clock[from..<clock.index(from, offsetBy: 2)], radix: 16) ?? 0
        }
        let data =
            [0x90, 0x1F, 0x00] + littleBCD(round + 1, 4) + [0x2C] + littleBCD(0, 4) + [0x2C]
            + parts.reversed() + [0, 0]
        let bytes =
            [0x68, 0x10] + littleBCD(device + 1, 7) + [0x81, UInt8(data.count)] + data
        return bytes + [sum(bytes), 0x16]
    }

    /// An answer of 30 registers (protocols/modbus-example-energy-meter.json5).
    func modbus() -> [UInt8] {
        var registers = [UInt8](repeating: 0, count: 60)
        func put(_ value: Int64, _ width: Int, at register: Int) {
            for (i, byte) in big(value, width).enumerated() { registers[register * 2 + i] = byte }
        }
        for phase in 0..<3 {
            put(2300 + Int64(phase), 2, at: phase)
            put(values[3], 4, at: 3 + 2 * phase)
        }
        put(985, 2, at: 17)
        put(5001, 2, at: 18)
        put(Int64(round + 1), 4, at: 20)
        put(Int64(index + 1), 8, at: 26)
        let bytes = [UInt8(device % 247 + 1), 3, 60] + registers
        let crc = ReferenceFrame.crc16(bytes, bytes.count)
        return bytes + [UInt8(crc & 255), UInt8(crc >> 8)]
    }

    /// Data of an air station (CN 2011), local time, no answer wanted.
    func hj212() -> [UInt8] {
        let local = Timestamp(milliseconds: (seconds + 8 * 3600) * 1000).iso8601
        let time = String(local.filter(\.isNumber).prefix(14))
        let temperature = "\(values[0] / 100).\(digits(Int(values[0] % 100), 2))"
        let segment =
            "QN=\(time)\(digits(index, 3));ST=22;CN=2011;PW=123456;MN=\(digits(device, 24));Flag=4;"
            + "CP=&&DataTime=\(time);a01001-Rtd=\(temperature),a01001-Flag=N;"
            + "a01002-Rtd=\(values[1] / 100),a01002-Flag=N&&"
        var crc: UInt16 = 0xFFFF
        // HJ 212-2017 annex A: the byte meets the register's high half, shifted down.
        for byte in segment.utf8 {
            crc = crc >> 8 ^ UInt16(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xA001 : crc >> 1 }
        }
        let hex = digits16(crc)
        return Array("##\(digits(segment.utf8.count, 4))\(segment)\(hex)\r\n".utf8)
    }

    private func digits16(_ value: UInt16) -> String {
        let text = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: 4 - text.count) + text
    }

    /// POST /t with a SenML pack (RFC 7252, 8428); confirmable when it asks. The message ID counts what
    /// the devices of one socket send.
    func coap(asks: Bool, share: Int) -> [UInt8] {
        let text =
            #"[{"bn":"urn:dev:mac:\#(digits(device, 16)):","bt":\#(seconds),"n":"temp","u":"Cel","v":"#
            + "\(values[0] / 10)e-1},"
            + #"{"n":"rh","u":"%RH","v":\#(values[1] / 100)}]"#
        let id = UInt16(truncatingIfNeeded: round * share + device % max(1, share))
        let token = big(Int64(population.sequence(index)), 4)
        // Uri-Path (11) "t", Content-Format (12) 110, the payload's mark.
        return [asks ? 0x44 : 0x54, 0x02] + big(Int64(id), 2) + token
            + [0xB1, 0x74, 0x11, 110, 0xFF] + Array(text.utf8)
    }
}
