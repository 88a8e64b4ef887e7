// Lanes and pace of the forwarder under virtual time: who may go, how many, and when.

import Model
import Testing
import Uplink

private func batch(
    _ sequence: UInt64, _ priority: Priority, bytes: Int = 1000, isBacklog: Bool = false
) -> OutgoingBatch {
    OutgoingBatch(
        sequence: sequence, priority: priority, readings: 1,
        bytes: [UInt8](repeating: 1, count: bytes), isBacklog: isBacklog)
}

/// A forwarder with lanes of batches that never run dry; everything that it sends is accepted at once,
/// or after `delay`.
private struct Road {
    var forwarder: Forwarder
    var now = Instant(nanoseconds: 1_000_000_000)
    var wall: Int64 = 0
    var waiting: [Priority: Int] = [:]
    var sent: [(at: Int64, lane: Priority, bytes: Int)] = []
    var size = 1000
    private var sequence: UInt64 = 0
    private var unanswered: [UInt64] = []
    private var reader = FrameReader(side: .store)
    private var lanes: [UInt64: Priority] = [:]

    init(_ pace: PaceSettings) {
        var settings = ForwarderSettings(
            gateway: "g", incarnation: Incarnation(high: 1, low: 2), software: "test")
        settings.pace = pace
        forwarder = Forwarder(settings: settings, seed: 1)
        step(.start)
        step(.connected)
        step(
            .received(
                UplinkFrame.welcome(
                    Welcome(
                        storeTime: Timestamp(milliseconds: 5), credit: 8,
                        largestBatch: 1 << 20, knownDevice: 0, knownStream: 0,
                        committed: CommittedSet(through: 0, runs: []))
                ).encoded()))
    }

    mutating func step(_ event: Forwarder.Event) {
        var events = [event]
        while !events.isEmpty {
            forwarder.wall = Timestamp(
                milliseconds: wall + Int64(now.nanoseconds / 1_000_000))
            var effects: [Forwarder.Effect] = []
            forwarder.step(events.removeFirst(), now: now, into: &effects)
            for effect in effects {
                switch effect {
                case .needEntries: events.append(.entries([]))
                case .lease(_, let room, _): events.append(.leased(lend(room)))
                case .send(let bytes): events += answers(to: bytes)
                default: break
                }
            }
        }
    }

    private mutating func lend(_ room: LeaseRoom) -> [OutgoingBatch] {
        var lent: [OutgoingBatch] = []
        for (lane, most) in [
            (Priority.alarm, room.all), (.live, room.ordinary), (.backlog, room.backlog),
        ] {
            let taken = lane == .backlog ? lent.count { $0.lane == .live } : 0
            let left = min(most, room.all - lent.count, room.ordinary - taken)
            let count = lane == .alarm ? min(most, room.all) : left
            for _ in 0..<max(0, min(count, waiting[lane, default: 0])) {
                waiting[lane, default: 0] -= 1
                sequence += 1
                lanes[sequence] = lane
                lent.append(
                    batch(
                        sequence, lane == .backlog ? .live : lane, bytes: size,
                        isBacklog: lane == .backlog))
            }
        }
        return lent
    }

    private mutating func answers(to bytes: [UInt8]) -> [Forwarder.Event] {
        reader.append(bytes)
        var done: [UInt64] = []
        while let frame = try? reader.next() {
            switch frame {
            case .batch(let batch):
                sent.append(
                    (
                        Int64(now.nanoseconds / 1_000_000), lanes[batch.sequence] ?? .live,
                        batch.bytes.count
                    ))
                done.append(batch.sequence)
            default: break
            }
        }
        let entries = done.map { Acknowledgement.Entry(sequence: $0, reason: .stored) }
        return entries.isEmpty
            ? [] : [.received(FrameEncoding.acknowledgement(entries, credit: 8))]
    }

    mutating func offer(_ lane: Priority, _ count: Int) {
        waiting[lane, default: 0] += count
        step(.batchesAvailable)
    }

    /// Lets time pass, stepping at each deadline.
    mutating func pass(milliseconds: Int64) {
        let end = now.adding(milliseconds: milliseconds)
        while let due = forwarder.deadline, due <= end {
            now = max(now, due)
            step(.timer)
            // The store is alive.
            let pong = UplinkFrame.pong(token: 1, storeTime: Timestamp(milliseconds: 0), credit: 8)
            step(.received(pong.encoded()))
        }
        now = end
    }

    func bytes(_ lane: Priority, upTo milliseconds: Int64 = .max) -> Int {
        sent.reduce(0) { $0 + ($1.lane == lane && $1.at <= milliseconds ? $1.bytes : 0) }
    }
}

@Suite("Lanes and pace of the uplink")
struct LaneTests {
    @Test("the backlog takes at most half of the window, and one place stays free for alarms")
    func rooms() throws {
        var script = Script(inFlight: 8)
        script.step(.start)
        script.step(.connected)
        _ = script.welcome(credit: 8)
        #expect(
            script.step(.entries([])) == [
                .lease(
                    excluding: [], room: LeaseRoom(all: 8, ordinary: 7, backlog: 4),
                    maximumBytes: 1 << 20)
            ])
        script.step(
            .leased(
                [batch(1, .live, isBacklog: true), batch(2, .backlog, isBacklog: true)]
                    + (3...6).map { batch($0, .live) }))
        #expect(
            script.step(.entries([])).contains(
                .lease(
                    excluding: [1, 2, 3, 4, 5, 6], room: LeaseRoom(all: 2, ordinary: 1, backlog: 1),
                    maximumBytes: 1 << 20)))
        script.step(.leased([batch(7, .live)]))
        #expect(
            script.step(.entries([])).contains(
                .lease(
                    excluding: [1, 2, 3, 4, 5, 6, 7],
                    room: LeaseRoom(all: 1, ordinary: 0, backlog: 0), maximumBytes: 1 << 20)))
        script.step(.leased([]))
        #expect(script.forwarder.status.backlogInFlight == 2)
        // What was held back for want of room is asked for again as soon as there is some.
        #expect(
            script.acknowledge([1]) == [
                .acknowledged([1]),
                .lease(
                    excluding: [2, 3, 4, 5, 6, 7], room: LeaseRoom(all: 2, ordinary: 1, backlog: 1),
                    maximumBytes: 1 << 20),
            ])
    }

    @Test("an uplink of so many bytes a second is kept to on average; alarms do not wait")
    func rate() {
        var pace = PaceSettings()
        pace.bytesPerSecond = 2000
        var road = Road(pace)
        road.offer(.live, 1000)
        road.pass(milliseconds: 60_000)
        let live = road.bytes(.live)
        #expect((118_000...122_000).contains(live), "\(live) bytes in a minute")
        let before = road.sent.count
        road.offer(.alarm, 5)
        #expect(road.sent[before...].filter { $0.lane == .alarm }.count == 5)
        // They count: live waits for what they cost.
        road.pass(milliseconds: 2000)
        #expect(road.bytes(.live) - live <= 1000)
    }

    @Test("the backlog is drained at its own rate while fresh batches go at once")
    func backlogRate() {
        var pace = PaceSettings()
        pace.backlogBytesPerSecond = 500
        var road = Road(pace)
        road.offer(.backlog, 1000)
        for _ in 0..<30 {
            road.pass(milliseconds: 1000)
            let before = road.bytes(.live)
            road.offer(.live, 3)
            #expect(road.bytes(.live) - before == 3000)
        }
        #expect((14_000...17_000).contains(road.bytes(.backlog)), "\(road.bytes(.backlog))")
        let status = road.forwarder.status(at: road.now)
        #expect((400...650).contains(status.backlogBytesPerSecond))
        #expect(status.backlogPacedUntil != nil && status.pacedUntil == nil)
    }

    @Test("after so many bytes of a day only alarms go, until the oldest hour is a day away")
    func day() {
        var pace = PaceSettings()
        pace.bytesPerDay = 10_000
        var road = Road(pace)
        road.offer(.live, 100)
        // What is leased together may go over by what was in flight.
        let first = road.bytes(.live)
        #expect((10_000...17_000).contains(first), "\(first)")
        road.pass(milliseconds: 20 * 3_600_000)
        #expect(road.bytes(.live) == first)
        road.offer(.alarm, 1)
        #expect(road.bytes(.alarm) == 1000)
        road.pass(milliseconds: 6 * 3_600_000)
        #expect(road.bytes(.live) > first)
    }

    @Test(
        "the backlog goes in its windows only, also over midnight, whatever jumps the clock makes")
    func windows() throws {
        var pace = PaceSettings()
        pace.backlogWindows = [try #require(DayWindow("22:00-06:00"))]
        pace.backlogBytesPerSecond = 100
        var road = Road(pace)
        road.wall = 12 * 3_600_000
        road.offer(.backlog, 10_000)
        road.pass(milliseconds: 9 * 3_600_000)
        #expect(road.bytes(.backlog) == 0, "noon to nine")
        road.pass(milliseconds: 2 * 3_600_000)
        let night = road.bytes(.backlog)
        #expect(night > 0, "eleven at night")
        // The clock is set to noon, 400 days on.
        road.wall += 400 * 86_400_000 + 13 * 3_600_000
        road.pass(milliseconds: 60_000)
        let noon = road.bytes(.backlog)
        road.pass(milliseconds: 3_600_000)
        #expect(road.bytes(.backlog) == noon)
    }

    @Test(
        "times of the day that are none are refused",
        arguments: [
            "", "1:00-02:00", "25:00-26:00", "22:00", "22:60-23:00", "06:00-06:00", "24:01-01:00",
        ])
    func windowTexts(text: String) { #expect(DayWindow(text) == nil) }
}
