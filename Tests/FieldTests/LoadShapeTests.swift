// How the made-up devices of a load run report, and the frames they send: arithmetic that must be the same
// both ways, frames that the daemon's own decoder reads as the values they were made of.

import Formats
import Model
import Testing

@testable import Field

@Suite("Load shapes") struct LoadShapeTests {
    private static let start: Int64 = 1_795_255_200_000

    private static func population(
        _ shape: LoadShape, devices: Int = 50, frames: Int = 5000, granularity: Int64 = 1
    ) -> Population {
        Population(
            devices: devices, startMilliseconds: start, rate: 1000, seed: 3, shape: shape,
            frames: frames, granularity: granularity)
    }

    @Test(
        "a frame's device and round name the frame, in every shape", arguments: LoadShape.allCases)
    func bijection(shape: LoadShape) {
        for devices in [3, 7, 50, 1000] {
            let traffic = Traffic(shape, devices: devices, frames: 5000)
            var seen: Set<[Int]> = []
            for index in 0..<5000 {
                let (device, round) = traffic.place(index)
                #expect((0..<devices).contains(device) && round >= 0)
                #expect(traffic.index(device: device, round: round) == index)
                seen.insert([device, round])
            }
            #expect(seen.count == 5000)
        }
    }

    @Test(
        "each frame of a device has its own time, found again, never in the future, never too old",
        arguments: LoadShape.allCases, [1, 1000] as [Int64])
    func times(shape: LoadShape, granularity: Int64) {
        for frames in [5000, 200_000] {
            let p = Self.population(shape, frames: frames, granularity: granularity)
            for index in stride(from: 0, to: frames, by: frames / 1000) {
                let time = p.observedAt(index)
                #expect(time % granularity == 0)
                #expect(p.index(device: p.device(index), observedAt: time) == index)
                guard shape != .steady || granularity > 1 else { continue }
                #expect(time <= Self.start)
                #expect(time > Self.start - 29 * 86_400_000, "\(shape) \(frames) \(index)")
                #expect(p.index(device: p.device(index), observedAt: time + 1) == nil)
            }
        }
    }

    @Test("frames are due in their order, and as many in the end as at an even rate")
    func due() {
        for shape in LoadShape.allCases {
            let traffic = Traffic(shape, devices: 30, frames: 4800)
            let due = (0..<4800).map { traffic.due($0) }
            #expect(zip(due, due.dropFirst()).allSatisfy { $0 <= $1 }, "\(shape)")
            #expect(zip(due, 0...).allSatisfy { abs($0 - Double($1)) <= 60 }, "\(shape)")
            let most = Dictionary(grouping: due, by: \.self).values.map(\.count).max()
            // In mixed traffic the next sensor is due with the burst.
            let wanted = [LoadShape.steady: 1, .minute: 1, .mixed: 25][shape] ?? 24
            #expect(most == wanted, "\(shape)")
        }
    }

    @Test("a meter wakes and sends a day's hourly values at once")
    func daily() {
        let p = Self.population(.daily)
        for wake in 0..<20 {
            let frames = (wake * 24..<wake * 24 + 24)
            #expect(Set(frames.map { p.device($0) }).count == 1)
            let times = frames.map { p.observedAt($0) }
            #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == 3_600_000 })
        }
    }

    @Test("values follow the day, and stay in what the sensors measure")
    func values() {
        let p = Self.population(.minute, devices: 2, frames: 4000)
        for index in 0..<4000 {
            let v = p.values(index)
            #expect((900...2900).contains(v[0]) && (3000...9000).contains(v[1]), "\(index)")
            #expect((99_000...103_000).contains(v[2]) && v[4] > 3000, "\(index)")
            if index >= 2 {
                // Two readings a minute apart differ little.
                #expect(abs(v[0] - p.values(index - 2)[0]) < 40, "\(index)")
            }
        }
    }

    @Test("the daemon's decoder reads what the frames were made of", arguments: LoadFormat.allCases)
    func frames(format: LoadFormat) throws {
        let library = try FormatLibrary(directory: "protocols")
        let decoder = Decoder(try #require(library.format(named: format.contentFormat)))
        let p = Self.population(.daily, granularity: format.granularity)
        var identities: Set<String> = []
        var frames: Set<[UInt8]> = []
        for index in stride(from: 0, to: 4800, by: 7) {
            var bytes = format.frame(index, asks: true, of: p, socketShare: 5)
            frames.insert(bytes)
            if format == .senml { #expect(bytes[format.contentOffset - 1] == 0xFF) }
            bytes = Array(bytes.dropFirst(format.contentOffset))
            var frame = DecodedFrame()
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            identities.insert(decoder.identityText())
            var found: [String: Double] = [:]
            for reading in frame.readings {
                found[decoder.describe(reading).name] = reading.value.asDouble
                let time = reading.isTimeRelative ? nil : reading.observedAt?.milliseconds
                #expect(time == nil || time == p.observedAt(index), "\(format) \(index)")
            }
            let (v, round) = (p.values(index), Double(p.traffic.place(index).round + 1))
            let wanted: [String: Double] =
                switch format {
                case .reference: ["temperature": Double(v[0]) / 100]
                case .dragino: ["temperature": Double(v[0] / 10) / 10]
                case .dlt645: ["positive_active_energy_total": round / 100]
                case .cjt188: ["volume_total": round / 100]
                case .modbus: ["positive_active_energy_total": round / 100, "frequency": 50.01]
                case .hj212: ["a01001_rtd": Double(v[0]) / 100]
                case .senml: ["temp": Double(v[0] / 10) / 10]
                }
            for (name, value) in wanted {
                #expect(abs((found[name] ?? .nan) - value) < 1e-9, "\(format) \(name): \(found)")
            }
        }
        #expect(identities.count == 50 && !identities.contains(""))
        #expect(frames.count == 4800 / 7 + 1, "no two frames are alike")
    }

    @Test("a format's limits are said before anything is sent")
    func refusals() {
        for words in [
            ["--format", "modbus", "--devices", "300"], ["--format", "dlt645", "--answers", "1"],
            ["--format", "cjt188", "--duplicate", "0.1"], ["--shape", "mixed", "--devices", "2"],
            ["--format", "coap", "--frames", "200000"], ["--format", "senmll"],
            ["--shape", "wave"], ["--rate", "max", "--shape", "daily"],
        ] {
            let console = Console.captured()
            let status = Programs.sluice().run(
                ["sluice", "load", "--local"] + words, console: console)
            #expect(status == .wrongUsage, "\(words): \(console.complaints)")
        }
    }
}
