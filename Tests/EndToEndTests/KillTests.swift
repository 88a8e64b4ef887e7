// Row 1 of the fault list (reliability.md section 3): gateways and stores that are killed at random moments
// under load, several districts side by side, driven by one thread. After each kill the ledger balances;
// after every fifth, and at the end, everything that was answered is in the store once. SLUICE_KILLS says
// how many (Tests/run: 500).

import Field
import Formats
import Glibc
import Host
import Model
import Store
import Testing

extension EndToEnd {
    @Suite("kills", .serialized)
    struct KillTests {
        private static let wanted: Int = {
            // Safety: getenv's text is copied at once; nothing here sets the environment.
            unsafe getenv("SLUICE_KILLS").flatMap { unsafe Int(String(cString: $0)) } ?? 20
        }()

        @Test("row 1: nothing answered is lost, nothing comes twice, the ledger balances")
        func kills() throws {
            let start = SendingClock.now
            let lanes = try (0..<4).map { try KillLane(seed: UInt64($0) + 1) }
            while lanes.reduce(0, { $0 + $1.kills }) < KillTests.wanted {
                for lane in lanes { try lane.turn() }
                SendingClock.sleep(milliseconds: 1)
            }
            for lane in lanes { try lane.finish() }
            let kills = lanes.reduce(0) { $0 + $1.kills }
            let stores = lanes.reduce(0) { $0 + $1.killsOfStore }
            let answered = lanes.reduce(0) { $0 + $1.framesAnswered }
            let seconds = (SendingClock.now - start) / 1_000_000_000
            print(
                "row 1: \(kills) kills, \(stores) of them of stores, in \(seconds) s,"
                    + " \(answered) frames answered, 0 lost, 0 twice")
            #expect(answered > kills * 5)
            #expect(stores > kills / 10)
        }
    }
}

/// One district after the other, each for some kills. What breaks a law is thrown.
private final class KillLane {
    private(set) var kills = 0
    private(set) var killsOfStore = 0
    private(set) var framesAnswered = 0

    private enum Victim { case gateway, store }
    private enum State {
        /// Until the next kill.
        case loading(until: Int64)
        /// `again`: when it is killed before it is ready, if it is.
        case starting(Victim, again: Int64?, since: Int64)
        case draining(since: Int64)
    }

    private var random: SplitMix64
    private var district: District
    private var device: Device
    private var population: Population
    private var state = State.loading(until: 0)
    private var startedAt: Int64 = 0
    private var killsHere = 0
    private var next = 0
    private var waiting: [UInt32: Int64] = [:]
    private var answered: [UInt32] = []
    private static let killsOfDistrict = 25
    private static let framesASecond: Int64 = 400

    init(seed: UInt64) throws {
        random = SplitMix64(seed: seed)
        (district, device, population) = try KillLane.make(seed)
        startedAt = SendingClock.now
    }

    private static func make(_ seed: UInt64) throws -> (District, Device, Population) {
        let name = "reference-sensor.json5"
        let format = String(
            decoding: try Files.read(Place.protocols + "/" + name, limit: 1 << 20), as: UTF8.self)
        let district = try District(
            [.reference], interval: "100ms", formats: [name: format])
        try district.startStore()
        try district.startGateway()
        let population = Population.now(devices: 20, seed: seed)
        return (district, try Device(to: district.targets[0]), population)
    }

    private func draw(_ range: ClosedRange<Int64>) -> Int64 {
        range.lowerBound + Int64(random.next() % UInt64(range.upperBound - range.lowerBound + 1))
    }

    /// Something to do at most; never waits long.
    func turn() throws {
        speak()
        let now = SendingClock.now
        switch state {
        case .loading(let until):
            if now >= until { try kill(random.chance(0.3) ? .store : .gateway) }
        case .starting(let victim, let again, let since):
            if let again, now >= again { return try kill(victim) }
            guard let program = victim == .gateway ? district.gateway : district.store else {
                return
            }
            if program.isReady { return try look() }
            guard program.isRunning, now - since < 30_000_000_000 else {
                throw DistrictError(
                    what: program.name, why: "is not ready again", remedy: program.errors)
            }
        case .draining(let since):
            let ledger = try district.ledger()
            if waiting.isEmpty, ledger.count("readingsHeld") == 0 { return try drained() }
            guard now - since < 60_000_000_000 else {
                throw DistrictError(
                    what: "a district", why: "does not drain, \(waiting.count) frames unanswered",
                    remedy: ledger.text)
            }
        }
    }

    /// The last kills are looked at too.
    func finish() throws {
        while case .starting = state { try pause() }
        state = .draining(since: SendingClock.now)
        while case .draining = state { try pause() }
        framesAnswered += answered.count
    }

    private func pause() throws {
        try turn()
        SendingClock.sleep(milliseconds: 1)
    }

    // MARK: Frames

    private func speak() {
        let now = SendingClock.now
        for bytes in device.answers() {
            guard let sequence = ReferenceFrames.answered(by: bytes),
                waiting.removeValue(forKey: sequence) != nil
            else { continue }
            answered.append(sequence)
        }
        for (sequence, at) in waiting where now - at > 300_000_000 { send(Int(sequence) - 1) }
        if case .draining = state { return }
        let due = (now - startedAt) * KillLane.framesASecond / 1_000_000_000
        var sent = 0
        while next < due, sent < 50, waiting.count < 1000 {
            send(next)
            next += 1
            sent += 1
        }
    }

    private func send(_ index: Int) {
        waiting[population.sequence(index)] = SendingClock.now
        // While the gateway is down the kernel says so.
        _ = device.send(population.frame(index))
    }

    // MARK: Kills

    private func kill(_ victim: Victim) throws {
        kills += 1
        killsHere += 1
        switch victim {
        case .gateway:
            district.gateway?.stop(SIGKILL)
            try district.launchGateway()
        case .store:
            killsOfStore += 1
            district.store?.stop(SIGKILL)
            try district.launchStore()
        }
        let now = SendingClock.now
        let again = random.chance(0.15) ? now + draw(0...60) * 1_000_000 : nil
        state = .starting(victim, again: again, since: now)
    }

    private func look() throws {
        let ledger = try district.ledger()
        guard ledger.count("unaccounted") == 0 else {
            throw DistrictError(
                what: "kill \(kills)", why: "the ledger does not balance", remedy: ledger.text)
        }
        let now = SendingClock.now
        state =
            killsHere % 5 == 0
            ? .draining(since: now) : .loading(until: now + draw(5...150) * 1_000_000)
    }

    private func drained() throws {
        let audit = try district.audit(population, frames: next)
        let missing = audit.missing(answered)
        guard missing == 0, audit.repeated == 0, audit.strange == 0 else {
            throw DistrictError(
                what: "after kill \(kills)",
                why: "\(missing) answered frames missing, \(audit.repeated) readings twice,"
                    + " \(audit.strange) strange",
                remedy: "see \(district.folder.path)")
        }
        if killsHere >= KillLane.killsOfDistrict {
            framesAnswered += answered.count
            (district, device, population) = try KillLane.make(random.next())
            (killsHere, next, waiting, answered) = (0, 0, [:], [])
        }
        // What was not sent meanwhile is not made up for.
        startedAt = SendingClock.now - Int64(next) * 1_000_000_000 / KillLane.framesASecond
        state = .loading(until: SendingClock.now + draw(5...150) * 1_000_000)
    }
}
