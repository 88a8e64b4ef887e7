// The frame of protocols/reference-sensor.json5, made for sending: the only frame of the project whose
// devices exist in this harness only.

enum ReferenceFrame {
    static let size = 64

    /// Device number and sequence in one word.
    static func name(device: Int, sequence: UInt32) -> UInt64 {
        UInt64(device) << 32 | UInt64(sequence)
    }

    static func write(
        into frame: inout [UInt8], device: Int, sequence: UInt32, seconds: UInt32, asks: Bool,
        noise: UInt64
    ) {
        for i in frame.indices { frame[i] = 0 }
    }

    static func answered(by bytes: [UInt8], count: Int) -> UInt64? { nil }
}
