// A store in the process of the test, over real sockets: the real sessions behind a door that may lose,
// change or invent what they answer. Owned by one test; its queue owns everything inside.

import Dispatch
import Host
import Model
import Store
import Synchronization
import Testing
import Uplink

/// What a door does with one answer of the real session.
enum Answering {
    case honest([UInt8])
    /// The bytes, then the connection closes.
    case closing([UInt8])
}

final class FaultyStore: @unchecked Sendable {
    /// Bytes of the gateway, and the real session's answer to them; on the store's queue. Counts the
    /// connection from 1.
    typealias Rule = (_ connection: Int, _ received: [UInt8], _ session: StoreSession) -> Answering

    private let queue = DispatchQueue(label: "faulty store")
    private let store: Store
    private var server: StoreServer?
    private var connections = 0

    init(port: UInt16, folder: String, rule: @escaping Rule) throws {
        store = try Store(directory: folder, settings: StoreSettings())
        let server = try StoreServer(listen: .ipv4(0x7F00_0001, port: port), queue: queue) {
            [unowned self] _ in
            connections += 1
            return Door(store.openSession(), connection: connections, rule: rule)
        }
        self.server = server
        try queue.sync { try server.start() }
    }

    func stop() {
        queue.sync {
            server?.stop()
            server = nil
        }
    }

    private final class Door: StoreSessionDoor {
        private let session: StoreSession
        private let connection: Int
        private let rule: Rule

        init(_ session: StoreSession, connection: Int, rule: @escaping Rule) {
            self.session = session
            self.connection = connection
            self.rule = rule
        }

        func receive(_ bytes: [UInt8]) -> (reply: [UInt8], close: Bool) {
            switch rule(connection, bytes, session) {
            case .honest(let reply): (reply, false)
            case .closing(let reply): (reply, true)
            }
        }

        func ended() { session.ended() }
    }
}

/// What a rule on the store's queue and the test's thread both look at.
final class Shared<Value: Sendable>: Sendable {
    private let state: Mutex<Value>

    init(_ value: Value) { state = Mutex(value) }

    var value: Value { state.withLock { $0 } }

    @discardableResult
    func change<Answer>(_ body: (inout sending Value) -> sending Answer) -> sending Answer {
        state.withLock(body)
    }
}

extension [UInt8] {
    /// Frames of a store in these bytes, whole ones only.
    var storeFrames: [UplinkFrame] {
        var reader = FrameReader(side: .peer)
        reader.append(self)
        var all: [UplinkFrame] = []
        while let frame = try? reader.next() { all.append(frame) }
        return all
    }

    /// Answers after the welcome, which a reader of a whole connection would want first.
    var acknowledged: [Acknowledgement.Entry] {
        let welcome = UplinkFrame.welcome(
            Welcome(
                storeTime: Timestamp(milliseconds: 0), credit: 0, largestBatch: 0, knownDevice: 0,
                knownStream: 0, committed: CommittedSet(through: 0, runs: []))
        ).encoded()
        return (welcome + self).storeFrames.flatMap { frame -> [Acknowledgement.Entry] in
            if case .acknowledgement(let answer) = frame { answer.entries } else { [] }
        }
    }
}
