// The forwarder step by step, against a script: the store's side is played by hand under virtual
// time.

import Model
import Testing
import Uplink

/// A forwarder, its virtual clock and what came out of it.
struct Script {
    var forwarder: Forwarder
    var now = Instant(nanoseconds: 1_000_000_000)
    var effects: [Forwarder.Effect] = []
    var reader = FrameReader(side: .store)

    init(seed: UInt64 = 1, inFlight: Int = 4) {
        var settings = ForwarderSettings(
            gateway: "gw-1", incarnation: Incarnation(high: 1, low: 2), software: "test")
        settings.inFlight = inFlight
        forwarder = Forwarder(settings: settings, seed: seed)
    }

    /// Effects of one event, sends left out.
    @discardableResult
    mutating func step(_ event: Forwarder.Event) -> [Forwarder.Effect] {
        var new: [Forwarder.Effect] = []
        forwarder.step(event, now: now, into: &new)
        effects += new
        return new
    }

    mutating func wait(milliseconds: Int64) { now = now.adding(milliseconds: milliseconds) }

    /// Advances to the deadline and steps with `timer`.
    mutating func timer() throws -> [Forwarder.Effect] {
        let deadline = try #require(forwarder.deadline)
        now = max(now, deadline)
        return step(.timer)
    }

    /// Frames sent since the last call on this connection.
    mutating func sent() throws -> [UplinkFrame] {
        var all: [UplinkFrame] = []
        for case .send(let bytes) in effects { reader.append(bytes) }
        effects = []
        while let frame = try reader.next() { all.append(frame) }
        return all
    }

    mutating func welcome(
        credit: UInt16 = 8, device: UInt32 = 0, stream: UInt32 = 0,
        committed: CommittedSet = CommittedSet(through: 0, runs: []),
        largestBatch: UInt32 = 1 << 20
    ) -> [Forwarder.Effect] {
        step(
            .received(
                UplinkFrame.welcome(
                    Welcome(
                        storeTime: Timestamp(milliseconds: 5), credit: credit,
                        largestBatch: largestBatch, knownDevice: device, knownStream: stream,
                        committed: committed)
                ).encoded()))
    }

    mutating func acknowledge(
        _ sequences: [UInt64], _ reason: VerdictReason = .stored, credit: UInt16 = 8
    ) -> [Forwarder.Effect] {
        step(
            .received(
                FrameEncoding.acknowledgement(
                    sequences.map {
                        Acknowledgement.Entry(sequence: $0, reason: reason, detail: "d")
                    }, credit: credit)))
    }

    /// Connected, welcomed, definitions done, the first lease asked for.
    mutating func open(credit: UInt16 = 8) throws {
        step(.start)
        step(.connected)
        _ = welcome(credit: credit)
        step(.entries([]))
        _ = try sent()
    }
}

func batch(_ sequence: UInt64, _ count: Int = 10) -> OutgoingBatch {
    OutgoingBatch(
        sequence: sequence, priority: .live, readings: 3,
        bytes: [UInt8](repeating: UInt8(truncatingIfNeeded: sequence), count: count))
}

func sequences(_ frames: [UplinkFrame]) -> [UInt64] {
    frames.compactMap { if case .batch(let batch) = $0 { batch.sequence } else { nil } }
}

@Suite("Forwarder")
struct ForwarderTests {
    @Test("says hello, learns what is known, defines, leases, sends, acknowledges")
    func mainPath() throws {
        var script = Script()
        #expect(script.step(.start) == [.state(.connecting), .connect])
        script.step(.connected)
        guard case .hello(let hello) = try script.sent().first else {
            Issue.record("no hello")
            return
        }
        #expect(hello.name == "gw-1" && hello.role == .gateway)
        #expect(
            script.welcome()
                == [.state(.streaming), .needEntries(afterDevice: 0, afterStream: 0)])
        let device = Device(
            id: DeviceID(1), identity: "m", format: "f", firstSeenAt: Timestamp(milliseconds: 0))
        script.step(.entries([.device(device)]))
        #expect(try script.sent() == [.entries([.device(device)])])
        #expect(
            script.step(.entries([]))
                == [
                    .lease(
                        excluding: [], room: LeaseRoom(all: 4, ordinary: 3, backlog: 2),
                        maximumBytes: 1 << 20)
                ])
        #expect(
            script.step(.leased([batch(5), batch(2)]))
                == [.needEntries(afterDevice: 1, afterStream: 0)])
        #expect(sequences(try script.sent()) == [], "not before its definitions")
        #expect(
            script.step(.entries([])).contains(
                .lease(
                    excluding: [5, 2], room: LeaseRoom(all: 2, ordinary: 1, backlog: 1),
                    maximumBytes: 1 << 20)))
        #expect(sequences(try script.sent()) == [5, 2])
        script.step(.leased([]))
        #expect(script.acknowledge([2]) == [.acknowledged([2])])
        #expect(script.acknowledge([2]) == [], "an answer is believed once")
        #expect(script.acknowledge([99]) == [], "a batch that was never sent is not believed")
        #expect(script.acknowledge([5], .duplicate) == [.acknowledged([5])])
        let status = script.forwarder.status
        #expect(status.batchesAcknowledged == 2 && status.readingsAcknowledged == 6)
        #expect(status.state == .streaming && status.inFlight == 0 && status.credit == 8)
    }

    @Test(
        "takes what arrived before the connection broke as acknowledged, and leases the rest again")
    func lostAcknowledgement() throws {
        var script = Script()
        try script.open()
        script.step(.leased([batch(1), batch(2), batch(7)]))
        script.step(.entries([]))
        #expect(sequences(try script.sent()) == [1, 2, 7])
        script.step(.disconnected("reset"))
        #expect(script.forwarder.status.state == .waiting)
        #expect(try script.timer().contains(.connect))
        script.step(.connected)
        let effects = script.welcome(committed: CommittedSet(through: 1, runs: [7...7]))
        #expect(effects.first == .acknowledged([1, 7]))
        // The lease of the old connection may hold what has just been acknowledged.
        #expect(
            script.step(.leased([batch(1), batch(2)])) == [
                .needEntries(afterDevice: 0, afterStream: 0)
            ])
        script.step(.entries([]))
        script.step(.leased([batch(2)]))
        script.step(.entries([]))
        script.reader = FrameReader(side: .store)
        #expect(sequences(try script.sent()) == [2])
    }

    @Test("keeps to the credit, also when it falls between lease and sending, and to none at 0")
    func credit() throws {
        var script = Script(inFlight: 8)
        try script.open(credit: 3)
        script.step(.leased([batch(1), batch(2), batch(3), batch(4)]))
        script.step(.entries([]))
        #expect(sequences(try script.sent()) == [1, 2, 3])
        #expect(
            script.acknowledge([1], credit: 3) == [
                .acknowledged([1]),
                .lease(
                    excluding: [2, 3], room: LeaseRoom(1), maximumBytes: 1 << 20),
            ])
        script.step(.leased([batch(4)]))
        _ = script.acknowledge([], credit: 0)
        _ = script.acknowledge([2], credit: 1)
        script.step(.entries([]))
        #expect(sequences(try script.sent()) == [], "3 is in flight and the credit is 1")
        #expect(script.acknowledge([3], credit: 0) == [.acknowledged([3])])
        let pong = UplinkFrame.pong(token: 1, storeTime: Timestamp(milliseconds: 0), credit: 2)
        #expect(
            script.step(.received(pong.encoded()))
                == [
                    .lease(
                        excluding: [], room: LeaseRoom(all: 2, ordinary: 2, backlog: 1),
                        maximumBytes: 1 << 20)
                ])
    }

    @Test("waits after retry and sends again; the batch keeps its place meanwhile")
    func retry() throws {
        var script = Script(inFlight: 2)
        try script.open()
        script.step(.leased([batch(1), batch(2)]))
        script.step(.entries([]))
        _ = try script.sent()
        #expect(script.acknowledge([1, 2], .storageFull) == [])
        #expect(script.forwarder.status.delayed == 2)
        #expect(script.step(.batchesAvailable) == [], "a full store is not sent the whole spool")
        let before = script.now
        let effects = try script.timer()
        #expect(script.now.milliseconds(since: before) >= 100)
        guard case .lease(let excluded, LeaseRoom(1), _) = effects.last else {
            Issue.record("no lease: \(effects)")
            return
        }
        #expect(excluded.count == 1)
    }

    @Test("passes on a rejection with its reason, and rejects by itself what is too large to send")
    func rejection() throws {
        var script = Script()
        try script.open()
        script.step(.leased([batch(1)]))
        script.step(.entries([]))
        #expect(
            script.acknowledge([1], .unreadable).contains(
                .rejected(sequence: 1, reason: "unreadable: d", isDivisible: true)))
        var small = Script()
        small.step(.start)
        small.step(.connected)
        _ = small.welcome(largestBatch: 100)
        small.step(.entries([]))
        let effects = small.step(.leased([batch(3, 101)]))
        #expect(
            effects.first
                == .rejected(
                    sequence: 3, reason: "too-large: 101 bytes, the store takes 100",
                    isDivisible: true))
        #expect(effects.count == 2, "and leases on")
    }

    @Test("pings after 10 s of silence, gives up after 30 s, comes back after its backoff")
    func halfOpen() throws {
        var script = Script()
        try script.open()
        script.step(.leased([]))
        let start = script.now
        _ = try script.timer()
        #expect(script.now.milliseconds(since: start) == 10_000)
        guard case .ping = try script.sent().first else {
            Issue.record("no ping")
            return
        }
        let effects = try script.timer()
        #expect(script.now.milliseconds(since: start) == 30_000)
        #expect(effects == [.close, .state(.waiting)])
        _ = try script.timer()
        #expect(script.now.milliseconds(since: start) <= 31_000)
        #expect(script.forwarder.status.state == .connecting)
        // A connect that never ends is given up too.
        #expect(try script.timer() == [.close, .state(.waiting)])
    }

    @Test(
        "gives up a batch without answer after 30 s, then has more patience and sends one at a time"
    )
    func acknowledgementTimeout() throws {
        var script = Script()
        try script.open()
        script.step(.leased([batch(1), batch(2)]))
        script.step(.entries([]))
        script.step(.leased([]))
        let start = script.now
        // Pongs come, the answer does not.
        while script.now.milliseconds(since: start) < 30_000 {
            _ = try script.timer()
            let pong = UplinkFrame.pong(token: 1, storeTime: Timestamp(milliseconds: 0), credit: 8)
            script.step(.received(pong.encoded()))
        }
        #expect(script.now.milliseconds(since: start) == 30_000)
        #expect(script.forwarder.status.lastError == "a batch got no answer in time")
        _ = try script.timer()
        script.step(.connected)
        _ = script.welcome()
        let effects = script.step(.entries([]))
        #expect(effects == [.lease(excluding: [], room: LeaseRoom(1), maximumBytes: 1 << 20)])
        script.step(.leased([batch(1)]))
        script.step(.entries([]))
        let second = script.now
        while script.forwarder.status.state == .streaming { _ = try script.timer() }
        #expect(script.now.milliseconds(since: second) == 60_000)
    }

    @Test("a connection that moves, however slowly, is not given up")
    func progress() throws {
        var script = Script()
        try script.open()
        script.step(.leased([batch(1)]))
        script.step(.entries([]))
        script.step(.leased([]))
        for _ in 0..<7 {
            script.wait(milliseconds: 25_000)
            script.step(.progressed)
            script.step(.timer)
            #expect(script.forwarder.status.state == .streaming)
        }
        // Yet not for ever.
        while script.now.nanoseconds < 300_000_000_000, script.forwarder.status.state == .streaming
        {
            script.wait(milliseconds: 25_000)
            script.step(.progressed)
            script.step(.timer)
        }
        #expect(script.forwarder.status.state == .waiting)
    }

    @Test(
        "backs off with full jitter up to 60 s and starts anew after an answer", arguments: 0..<20)
    func backoff(seed: Int) throws {
        var script = Script(seed: UInt64(seed))
        script.step(.start)
        var longest: Int64 = 0
        for attempt in 0..<12 {
            script.step(.connectFailed("refused"))
            let deadline = try #require(script.forwarder.deadline)
            let wait = deadline.milliseconds(since: script.now)
            let most = min(60_000, 1000 << Int64(attempt))
            #expect(wait >= 100 && wait <= most, "seed \(seed)")
            longest = max(longest, wait)
            _ = try script.timer()
        }
        #expect(longest > 1000, "seed \(seed)")
        script.step(.connected)
        _ = script.welcome()
        #expect(script.forwarder.status.failuresInARow == 12)
        _ = script.acknowledge([])
        #expect(script.forwarder.status.failuresInARow == 0)
    }

    @Test("refuses to go on with a catalog that lacks what the store knows")
    func catalogLost() throws {
        var script = Script()
        script.step(.start)
        script.step(.connected)
        #expect(
            script.welcome(device: 9, stream: 40).contains(
                .needEntries(afterDevice: 8, afterStream: 39)))
        #expect(script.step(.entries([])) == [.close, .state(.waiting)])
        #expect(script.forwarder.status.lastError?.contains("incarnation") == true)
    }

    @Test("ends the connection at bytes that are no frames and keeps its batches")
    func garbage() throws {
        var script = Script()
        try script.open()
        script.step(.leased([batch(1)]))
        script.step(.entries([]))
        let effects = script.step(.received([7, 7, 7]))
        #expect(effects.suffix(2) == [.close, .state(.waiting)])
        #expect(!effects.contains { if case .acknowledged = $0 { true } else { false } })
        #expect(script.step(.received([1])) == [], "bytes of a dead connection mean nothing")
    }

    @Test("says goodbye when stopped, sleeps without a deadline, and starts again")
    func stop() throws {
        var script = Script()
        #expect(script.forwarder.deadline == nil)
        try script.open()
        let effects = script.step(.stop)
        #expect(effects.suffix(2) == [.close, .state(.stopped)])
        guard case .goodbye(let goodbye) = try script.sent().last else {
            Issue.record("no goodbye")
            return
        }
        #expect(goodbye.code == .closing)
        #expect(script.forwarder.deadline == nil)
        #expect(script.step(.leased([batch(1)])) == [])
        #expect(script.step(.start) == [.state(.connecting), .connect])
    }
}
