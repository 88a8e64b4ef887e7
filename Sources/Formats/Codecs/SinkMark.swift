// What a sink had before a codec ran, so that a payload that turns out to be none yields nothing without
// being read twice.

import Model

struct SinkMark {
    var readings = 0
    var device = DeviceKey.empty
    var isIdentityGlobal = false
    var isControl = false
    var isSealed = false
}

extension FrameSink {
    static var forgets: Bool { false }
    mutating func mark() -> SinkMark { SinkMark() }
    mutating func forget(since mark: SinkMark) {}
}

extension DecodedFrame {
    static var forgets: Bool { true }

    @inline(__always)
    mutating func mark() -> SinkMark {
        SinkMark(
            readings: readings.count, device: device, isIdentityGlobal: isIdentityGlobal,
            isControl: isControl, isSealed: isSealed)
    }

    mutating func forget(since mark: SinkMark) {
        readings.cut(to: mark.readings)
        device = mark.device
        isIdentityGlobal = mark.isIdentityGlobal
        isControl = mark.isControl
        isSealed = mark.isSealed
    }
}
