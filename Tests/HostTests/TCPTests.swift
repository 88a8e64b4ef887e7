// TCP sources: frames in any cut, limits with a counted reason each, answers, suspension.

import Dispatch
import Host
import Model
import Pipeline
import Testing

@Suite(.timeLimit(.minutes(1)))
struct TCPTests {
    @Test("finds frames in any cut of the stream")
    func cuts() async throws {
        let rig = try Rig([tcpSource()])
        let client = Client(tcp: rig.port)
        let frames: [[UInt8]] = (1...40).map { [UInt8](repeating: UInt8($0), count: $0) }
        let bytes = frames.flatMap { [UInt8($0.count)] + $0 }
        var state: UInt64 = 42
        var at = 0
        while at < bytes.count {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let count = min(bytes.count - at, 1 + Int(state >> 59))
            client.send(Array(bytes[at..<at + count]))
            at += count
        }
        let seen = await rig.door.state.wait { $0.frames.count == 40 }
        #expect(seen.frames == frames)
        #expect(Set(seen.connections).count == 1)
        #expect(seen.turns > 0)
    }

    @Test("takes several frames in one read and tells what an ended connection left over")
    func severalAndRest() async throws {
        let rig = try Rig([tcpSource()])
        let client = Client(tcp: rig.port)
        client.send([1, 10, 2, 20, 21, 0, 0, 1, 30, 5, 1, 2])
        client.shutDownSending()
        let state = await rig.door.state.wait { $0.ended.count == 1 }
        #expect(state.frames == [[10], [20, 21], [30]])
        #expect(state.ended[0].unconsumed == 3)
    }

    @Test("a megabyte in one go arrives frame by frame")
    func bulk() async throws {
        let rig = try Rig([tcpSource()])
        let client = Client(tcp: rig.port)
        let frame: [UInt8] = [255] + [UInt8](repeating: 7, count: 255)
        let bytes = (0..<4096).flatMap { _ in frame }
        var sent = 0
        while sent < bytes.count {
            let count = client.send(Array(bytes[sent...]))
            guard count > 0 else { break }
            sent += count
        }
        let state = await rig.door.state.wait { $0.frames.count == 4096 }
        #expect(state.frames.allSatisfy { $0.count == 255 })
        #expect(rig.statistics.bytesReceived == UInt64(bytes.count))
    }

    @Test(
        "closes a connection that brings bytes but no frame in time, keeps one that brings frames")
    func firstFrame() async throws {
        var source = tcpSource()
        source.firstFrameTimeout = 200
        let rig = try Rig([source])
        let good = Client(tcp: rig.port)
        good.send([1, 1])
        let slow = Client(tcp: rig.port)
        slow.send([200])
        // One byte at a time, as long as it is taken.
        let sender = DispatchQueue(label: "test.slow")
        let fd = slow.fd
        let timer = DispatchSource.makeTimerSource(queue: sender)
        timer.schedule(deadline: .now(), repeating: .milliseconds(50))
        timer.setEventHandler { sendByte(to: fd) }
        timer.activate()
        #expect(slow.awaitClose())
        sender.sync { timer.cancel() }
        #expect(rig.statistics[.noFirstFrame] == 1)
        #expect(rig.statistics.connections == 1)
        good.send([1, 2])
        await rig.door.state.wait { $0.frames.count == 2 }
        let ended = rig.door.state.now.ended
        #expect(ended.count == 1 && ended[0].unconsumed >= 1)
    }

    @Test("closes a connection that stays silent after its frames")
    func idle() async throws {
        var source = tcpSource()
        source.idleTimeout = 150
        let rig = try Rig([source])
        let client = Client(tcp: rig.port)
        client.send([1, 1])
        #expect(client.awaitClose())
        #expect(rig.statistics[.idle] == 1)
        #expect(rig.statistics[.noFirstFrame] == 0)
    }

    @Test("refuses connections beyond the limits, in all and for one address, and counts why")
    func limits() async throws {
        var source = tcpSource()
        source.connections = 3
        source.connectionsPerAddress = 3
        let rig = try Rig([source])
        var kept = (0..<3).map { _ in Client(tcp: rig.port) }
        for client in kept { client.send([1, 1]) }
        await rig.door.state.wait { $0.frames.count == 3 }
        #expect(Client(tcp: rig.port).awaitClose())
        #expect(rig.statistics[.tooManyConnections] == 1)
        #expect(rig.statistics.connections == 3)
        // A place that becomes free can be taken again.
        kept.removeLast()
        await rig.door.state.wait { $0.ended.count == 1 }

        var narrow = tcpSource()
        narrow.connectionsPerAddress = 1
        let second = try Rig([narrow])
        let first = Client(tcp: second.port)
        first.send([1, 1])
        await second.door.state.wait { $0.frames.count == 1 }
        #expect(Client(tcp: second.port).awaitClose())
        #expect(second.statistics[.tooManyFromAddress] == 1)
    }

    @Test("stops reading while there is no room and loses nothing")
    func suspension() async throws {
        let rig = try Rig([tcpSource()])
        rig.door.state.update { $0.roomForFrames = 2 }
        let clients = (0..<3).map { _ in Client(tcp: rig.port) }
        for (i, client) in clients.enumerated() {
            client.send([1, UInt8(10 + i), 1, UInt8(20 + i), 1, UInt8(30 + i)])
        }
        await rig.door.state.wait { $0.roomForFrames == 0 }
        #expect(rig.queue.sync { rig.sockets.isWithoutRoom })
        #expect(rig.door.state.now.frames.count == 2)
        rig.giveRoom()
        let state = await rig.door.state.wait { $0.frames.count == 9 }
        for i in 0..<3 {
            let mine = state.frames.flatMap { $0 }.filter { Int($0) % 10 == i }
            #expect(mine == [UInt8(10 + i), UInt8(20 + i), UInt8(30 + i)])
        }
    }

    @Test("time without room is not held against a device")
    func suspendedTime() async throws {
        var source = tcpSource()
        source.firstFrameTimeout = 120
        let rig = try Rig([source])
        rig.door.state.update { $0.hasRoom = false }
        let client = Client(tcp: rig.port)
        client.send([1, 1])
        try await Task.sleep(for: .milliseconds(400))
        #expect(rig.statistics[.noFirstFrame] == 0)
        rig.giveRoom()
        let state = await rig.door.state.wait { $0.frames.count == 1 }
        #expect(state.ended.isEmpty)
    }

    @Test("closes a stream in whose bytes no frame can be")
    func noFrame() async throws {
        let rig = try Rig([tcpSource()], door: FakeDoor(longestFrame: 100))
        let client = Client(tcp: rig.port)
        // Announces 255 bytes where the longest frame has 100.
        client.send([255] + [UInt8](repeating: 1, count: 150))
        #expect(client.awaitClose())
        #expect(rig.statistics[.noFrameFound] == 1)
        #expect(rig.door.state.now.ended.first?.unconsumed == 151)
    }

    @Test("answers a device, also when it has already closed its side")
    func answers() async throws {
        let rig = try Rig([tcpSource(), tcpSource("other")])
        let client = Client(tcp: rig.port)
        let other = Client(tcp: rig.sockets.endpoints[1].port)
        client.send([1, 1])
        client.shutDownSending()
        other.send([1, 2])
        let state = await rig.door.state.wait { $0.frames.count == 2 && $0.ended.count == 1 }
        rig.queue.sync {
            for (frame, connection) in zip(state.frames, state.connections) {
                let answer: [UInt8] = [0xA0] + frame
                rig.sockets.answers.answer(answer.span, to: .connection(connection))
            }
            let unknown: [UInt8] = [1]
            rig.sockets.answers.answer(unknown.span, to: .connection(ConnectionID(99 << 10)))
            rig.sockets.answers.flush()
        }
        #expect(client.receive() == [0xA0, 1])
        #expect(other.receive() == [0xA0, 2])
        #expect(rig.queue.sync { rig.sockets.answers.lost } == 1)
    }

    @Test("closes a device that never reads its answers")
    func answersNotRead() async throws {
        let rig = try Rig([tcpSource()])
        let client = Client(tcp: rig.port)
        client.send([1, 1])
        let state = await rig.door.state.wait { $0.frames.count == 1 }
        let answer = [UInt8](repeating: 3, count: 1400)
        rig.queue.sync {
            for _ in 0..<20_000 {
                rig.sockets.answers.answer(answer.span, to: .connection(state.connections[0]))
                rig.sockets.answers.flush()
            }
        }
        await rig.door.state.wait { $0.ended.count == 1 }
        #expect(rig.statistics[.answersNotRead] == 1)
        #expect(rig.statistics.connections == 0)
    }

    @Test("holds hundreds of idle connections and still serves the one that speaks")
    func manyIdle() async throws {
        let rig = try Rig([tcpSource()])
        let idle = (0..<400).map { _ in Client(tcp: rig.port) }
        let before = rig.queue.sync { rig.sockets.loopCounts.visits }
        let active = Client(tcp: rig.port)
        active.send([1, 1])
        await rig.door.state.wait { $0.frames.count == 1 }
        #expect(rig.statistics.connections == idle.count + 1)
        #expect(rig.queue.sync { rig.sockets.loopCounts.visits } - before < 50)
    }
}

private func sendByte(to fd: Int32) { Client.sendByte(to: fd) }
