// UDP sources: what arrives is handed over as it was, what is lost is counted, and the visits are
// few.

import Dispatch
import Glibc
import Host
import Model
import Pipeline
import Testing

@Suite(.timeLimit(.minutes(1)))
struct UDPTests {
    @Test("hands over every size of datagram as it was sent", arguments: [0, 1, 64, 1472, 65_507])
    func sizes(count: Int) async throws {
        let rig = try Rig([udpSource()], door: FakeDoor(longestFrame: 65_507))
        let client = Client(udp: rig.port)
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let before = Clock.real.wall()
        #expect(client.send(bytes) == count)
        let state = await rig.door.state.wait { $0.datagrams.count == 1 && $0.turns > 0 }
        #expect(state.datagrams[0].bytes == bytes)
        #expect(!state.datagrams[0].isTruncated)
        #expect(state.datagrams[0].from.isLoopback && state.datagrams[0].from.isIPv4)
        #expect(state.datagrams[0].receivedAt >= before)
        #expect(state.datagrams[0].receivedAt <= Clock.real.wall())
        #expect(rig.statistics.bytesReceived == UInt64(count))
    }

    @Test("marks a datagram that the kernel cut, and takes the next one whole")
    func truncated() async throws {
        let rig = try Rig([udpSource()])
        let client = Client(udp: rig.port)
        client.send([UInt8](repeating: 1, count: 2049))
        client.send([UInt8](repeating: 2, count: 2048))
        let state = await rig.door.state.wait { $0.datagrams.count == 2 }
        #expect(state.datagrams.map(\.isTruncated) == [true, false])
        #expect(state.datagrams.map(\.bytes.count) == [2048, 2048])
        #expect(rig.statistics.truncated == 1)
    }

    @Test("counts what the kernel dropped, also when no later datagram tells of it")
    func kernelDrops() async throws {
        var source = udpSource()
        source.receiveBuffer = 4096
        let rig = try Rig([source])
        rig.door.state.update { $0.hasRoom = false }
        let client = Client(udp: rig.port)
        for i in 0..<500 { client.send([UInt8](repeating: UInt8(i & 255), count: 100)) }
        #expect(rig.door.state.now.datagramCount == 0)
        rig.giveRoom()
        let state = await rig.door.state.wait {
            UInt64($0.datagramCount) + $0.kernelDrops >= 500
        }
        #expect(state.kernelDrops > 0)
        #expect(UInt64(state.datagramCount) + state.kernelDrops == 500)
        #expect(rig.statistics.kernelDrops == state.kernelDrops)
    }

    @Test("leaves datagrams in the socket while there is no room, loses none and keeps their order")
    func suspension() async throws {
        let rig = try Rig([udpSource()])
        rig.door.state.update { $0.hasRoom = false }
        let client = Client(udp: rig.port)
        for i in 0..<50 { client.send([UInt8(i)]) }
        #expect(rig.door.state.now.datagramCount == 0)
        rig.giveRoom()
        let state = await rig.door.state.wait { $0.datagramCount == 50 }
        #expect(state.datagrams.map(\.bytes) == (0..<50).map { [UInt8($0)] })
    }

    @Test("wakes at once when idle, again and again")
    func wakes() async throws {
        let rig = try Rig([udpSource()])
        let client = Client(udp: rig.port)
        for round in 1...20 {
            client.send([1])
            await rig.door.state.wait { $0.datagramCount == round }
        }
        #expect(rig.statistics.datagrams == 20)
    }

    @Test("visits far less often than datagrams come while traffic flows")
    func moderation() async throws {
        let rig = try Rig([udpSource()], door: FakeDoor(keepsBytes: false))
        let client = Client(udp: rig.port)
        let sent = 4000
        // Spread over at least 80 ms, so that one visit cannot have them all.
        let start = Clock.real.now()
        for i in 0..<sent {
            let due = start.nanoseconds + UInt64(i) * 20_000
            while Clock.real.now().nanoseconds < due {}
            client.send([UInt8](repeating: 0, count: 64))
        }
        let state = await rig.door.state.wait {
            UInt64($0.datagramCount) + $0.kernelDrops >= UInt64(sent)
        }
        #expect(UInt64(state.datagramCount) + state.kernelDrops == UInt64(sent))
        let statistics = rig.statistics
        #expect(statistics.visits > 1)
        #expect(statistics.visits * 5 < UInt64(sent), "\(statistics.visits) visits")
    }

    @Test("rests when nothing comes: no visit without a datagram")
    func rests() async throws {
        let rig = try Rig([udpSource()])
        let client = Client(udp: rig.port)
        client.send([1])
        await rig.door.state.wait { $0.datagramCount == 1 }
        // The queue is idle when two looks 10 visits' time apart see the same count.
        var counts = rig.queue.sync { rig.sockets.loopCounts }
        while true {
            try await Task.sleep(for: .milliseconds(30))
            let next = rig.queue.sync { rig.sockets.loopCounts }
            if next.visits == counts.visits { break }
            counts = next
        }
        #expect(counts.visits <= 16, "\(counts)")
        #expect(counts.wakes == 1)
    }

    @Test("sends answers in batches to those who asked, and counts what nobody takes")
    func answers() async throws {
        let rig = try Rig([udpSource()])
        let clients = (0..<100).map { _ in Client(udp: rig.port) }
        for (i, client) in clients.enumerated() { client.send([UInt8(i)]) }
        let state = await rig.door.state.wait { $0.datagrams.count == 100 }
        rig.queue.sync {
            for datagram in state.datagrams {
                let answer: [UInt8] = [0xA0] + datagram.bytes
                rig.sockets.answers.answer(
                    answer.span, to: .datagram(source: 0, to: datagram.from))
            }
            let tooLong = [UInt8](repeating: 0, count: AnswerSender.maximumAnswer + 1)
            rig.sockets.answers.answer(
                tooLong.span, to: .datagram(source: 0, to: state.datagrams[0].from))
            let nowhere: [UInt8] = [1]
            rig.sockets.answers.answer(
                nowhere.span, to: .datagram(source: 7, to: state.datagrams[0].from))
            rig.sockets.answers.flush()
        }
        for (i, client) in clients.enumerated() {
            #expect(client.receive() == [0xA0, UInt8(i)])
        }
        #expect(rig.queue.sync { rig.sockets.answers.lost } == 2)
    }

    @Test("an answer that cannot be sent does not hold up the one behind it")
    func unreachableAnswer() async throws {
        let rig = try Rig([udpSource()])
        let client = Client(udp: rig.port)
        client.send([1])
        let state = await rig.door.state.wait { $0.datagrams.count == 1 }
        rig.queue.sync {
            let answer: [UInt8] = [9]
            // Broadcast without SO_BROADCAST is refused with EACCES.
            rig.sockets.answers.answer(
                answer.span, to: .datagram(source: 0, to: .ipv4(0xFFFF_FFFF, port: 9)))
            rig.sockets.answers.answer(
                answer.span, to: .datagram(source: 0, to: state.datagrams[0].from))
            rig.sockets.answers.flush()
        }
        #expect(client.receive() == [9])
        #expect(rig.statistics.answersLost == 1)
    }

    @Test("a port that is taken is an error at start that says so")
    func portTaken() throws {
        let rig = try Rig([udpSource()])
        var second = udpSource("second")
        second.listen.endpoint.port = rig.port
        let queue = DispatchQueue(label: "test.second")
        let error = #expect(throws: HostError.self) {
            _ = try IntakeSockets(sources: [second], queue: queue)
        }
        #expect(error?.code == EADDRINUSE)
        #expect(error?.description.contains("source second: listen on udp://127.0.0.1:") == true)
        #expect(error?.advice.isEmpty == false)
    }

    @Test("an IPv6 source takes IPv4 too and answers both")
    func dualStack() async throws {
        var source = udpSource()
        source.listen.endpoint = Endpoint(high: 0, low: 0, port: 0)
        let rig = try Rig([source])
        let client = Client(udp: rig.port)
        client.send([5])
        let state = await rig.door.state.wait { $0.datagrams.count == 1 }
        #expect(state.datagrams[0].from.isIPv4)
        rig.queue.sync {
            let answer: [UInt8] = [6]
            rig.sockets.answers.answer(
                answer.span, to: .datagram(source: 0, to: state.datagrams[0].from))
            rig.sockets.answers.flush()
        }
        #expect(client.receive() == [6])
    }
}
