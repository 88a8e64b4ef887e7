// What the simulation and the tests of the pipeline share: virtual time, seeded choices, frames of the
// reference sensor, the formats of this repository.

package import Formats
package import Model
import Synchronization

extension SplitMix64 {
    package mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
    package mutating func within(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + below(range.count)
    }
    package mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}

/// A clock that stands still until somebody advances it; the wall can be stepped beside it.
package final class VirtualTime: Sendable {
    /// 2026-11-21T10:00:00Z.
    package static let start: Int64 = 1_795_255_200_000
    // Relaxed throughout: one thread at a time reads and writes, nothing is ordered by it.
    private let elapsed = Atomic<UInt64>(0)
    private let wallStep = Atomic<Int64>(0)

    package init() {}

    package var nanoseconds: UInt64 {
        get { elapsed.load(ordering: .relaxed) }
        set { elapsed.store(newValue, ordering: .relaxed) }
    }

    package var milliseconds: Int64 { Int64(nanoseconds / 1_000_000) }
    package var now: Instant { Instant(nanoseconds: nanoseconds) }
    /// What a clock that nobody steps would say.
    package var trueWall: Timestamp { Timestamp(milliseconds: VirtualTime.start + milliseconds) }
    package var wall: Timestamp {
        Timestamp(milliseconds: trueWall.milliseconds + wallStep.load(ordering: .relaxed))
    }

    package func advance(milliseconds: Int64) {
        elapsed.add(UInt64(milliseconds) * 1_000_000, ordering: .relaxed)
    }

    package func stepWall(to milliseconds: Int64) {
        wallStep.store(milliseconds, ordering: .relaxed)
    }

    package var clock: Clock { Clock(now: { self.now }, wall: { self.wall }) }
}

/// Collects what a `@Sendable` closure is told.
package final class Collected<T: Sendable>: Sendable {
    private let items = Mutex<[T]>([])

    package init() {}

    package var all: [T] { items.withLock { $0 } }
    package func append(_ item: T) { items.withLock { $0.append(item) } }
}

package func crc16Modbus(_ bytes: some Sequence<UInt8>) -> UInt16 {
    var crc: UInt16 = 0xFFFF
    for byte in bytes {
        crc ^= UInt16(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xA001 : crc >> 1 }
    }
    return crc
}

/// A frame of protocols/reference-sensor.json5. Its five readings tell its sequence: the pressure is
/// 30000 + sequence.
package struct ReferenceFrame: Hashable {
    package static let streams = ["temperature", "humidity", "pressure", "co2", "battery"]

    package var device: UInt64
    package var sequence: UInt32
    package var time: Int64 = VirtualTime.start
    package var wantsAnswer = true

    package init(
        device: UInt64, sequence: UInt32, time: Int64 = VirtualTime.start, wantsAnswer: Bool = true
    ) {
        self.device = device
        self.sequence = sequence
        self.time = time
        self.wantsAnswer = wantsAnswer
    }

    package var identity: String {
        let digits = String(device, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    package var bytes: [UInt8] {
        var out: [UInt8] = [0x53, 0x4C, 1, wantsAnswer ? 1 : 0]
        func append(_ value: UInt64, _ count: Int) {
            for shift in (0..<count).reversed() {
                out.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * shift)))
            }
        }
        append(device, 8)
        append(UInt64(sequence), 4)
        append(UInt64(time), 6)
        append(2154, 2)
        append(4567, 2)
        append(30_000 + UInt64(sequence), 4)
        append(612, 2)
        append(3604, 2)
        out += [UInt8](repeating: 0, count: 28)
        let crc = crc16Modbus(out)
        return out + [UInt8(truncatingIfNeeded: crc), UInt8(crc >> 8)]
    }

    package var answer: [UInt8] {
        var out: [UInt8] = [0x53, 0x4C, 0x81, 0]
        for shift in [24, 16, 8, 0] {
            out.append(UInt8(truncatingIfNeeded: sequence >> UInt32(shift)))
        }
        out += [0, 0]
        let crc = crc16Modbus(out)
        return out + [UInt8(truncatingIfNeeded: crc), UInt8(crc >> 8)]
    }
}

package func copied(_ bytes: Span<UInt8>) -> [UInt8] {
    var all: [UInt8] = []
    all.reserveCapacity(bytes.count)
    for i in bytes.indices { all.append(bytes[i]) }
    return all
}

package func bytes(hex: String) -> [UInt8] {
    let digits = hex.utf8.compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
    return stride(from: 0, to: digits.count - 1, by: 2).map {
        UInt8(digits[$0] * 16 + digits[$0 + 1])
    }
}

package enum Formats {
    package static let root: String = {
        let parts = #filePath.split(separator: "/").dropLast(3)
        return "/" + parts.joined(separator: "/")
    }()

    /// Every format of this repository.
    package static let library: FormatLibrary = {
        do throws(Complaints) {
            return try FormatLibrary(directory: root + "/protocols")
        } catch {
            preconditionFailure(error.all.map(\.description).joined(separator: "\n"))
        }
    }()

    package static func named(_ name: String) -> Format {
        guard let format = library.format(named: name) else { preconditionFailure(name) }
        return format
    }
}
