// The district store as a process: one queue owns the database, its sessions and the sockets. Readings
// are settled (moved to where queries find them fast) when no gateway has spoken for a moment, a bounded
// number at a time, so that a batch never waits long.

import Dispatch
import Glibc
package import Model
import Store

package final class StoreProcess {
    package let endpoint: Endpoint
    package let httpEndpoint: Endpoint?

    let queue = DispatchQueue(label: "sluice.store")
    private let lock: FileLock
    private let store: Store
    private let server: StoreServer
    private let admin: AdminServer?
    private let settling: Settling

    package init(_ configuration: StoreConfiguration, clock: Clock = .real) throws(StartError) {
        do throws(HostError) {
            try makeDirectory(configuration.data)
            lock = try FileLock(path: configuration.data + "/lock")
        } catch {
            throw StartError(error.description)
        }
        do throws(StoreError) {
            store = try Store(directory: configuration.data, settings: StoreSettings())
        } catch {
            throw StartError("store \(configuration.data): \(error.description)")
        }
        let (store, settling) = (store, Settling(store: store, queue: queue, clock: clock))
        self.settling = settling
        var limits = StoreServer.Limits()
        limits.gateways = configuration.gateways
        do throws(HostError) {
            server = try StoreServer(
                listen: configuration.listen, queue: queue, limits: limits, clock: clock
            ) { _ in Session(store.openSession(), settling: settling, clock: clock) }
            let hasAdmin = !configuration.admin.socket.isEmpty || configuration.admin.http != nil
            admin =
                hasAdmin
                ? try AdminServer(
                    socket: configuration.admin.socket, http: configuration.admin.http,
                    queue: queue, clock: clock) : nil
        } catch {
            throw StartError(error.description)
        }
        endpoint = server.endpoint
        httpEndpoint = admin?.httpEndpoint
        admin?.route("/health") { _, reply in reply(.json("{\"isHealthy\":true}\n")) }
    }

    package func start() throws(StartError) {
        do throws(HostError) {
            try on(queue) { () throws(HostError) in
                try server.start()
                // What an earlier run left unsettled.
                settling.postpone()
                try admin?.start()
            }
        } catch {
            throw StartError(error.description)
        }
    }

    package func stop() {
        queue.sync {
            server.stop()
            admin?.stop()
            settling.stop()
        }
    }

    /// Carries a connection's bytes to its session.
    private final class Session: StoreSessionDoor {
        private let session: StoreSession
        private let settling: Settling
        private let clock: Clock

        init(_ session: StoreSession, settling: Settling, clock: Clock) {
            self.session = session
            self.settling = settling
            self.clock = clock
        }

        func receive(_ bytes: [UInt8]) -> (reply: [UInt8], close: Bool) {
            defer { settling.postpone() }
            return session.receive(bytes, now: clock.wall())
        }

        func ended() { session.ended() }
    }

    /// Settles readings while nobody speaks. On the store's queue.
    private final class Settling {
        private static let quietMilliseconds: Int64 = 300
        /// Where gateways never fall silent together, settling comes in between at least this often.
        private static let longestMilliseconds: Int64 = 5000
        private let store: Store
        private let clock: Clock
        private let queue: DispatchQueue
        private var quietSince: Instant
        private var settledAt: Instant
        /// Nil once stopped.
        private lazy var timer: StageTimer? = StageTimer(queue: queue) { [unowned self] in settle()
        }

        init(store: Store, queue: DispatchQueue, clock: Clock) {
            self.store = store
            self.queue = queue
            self.clock = clock
            quietSince = clock.now()
            settledAt = quietSince
        }

        func postpone() {
            quietSince = clock.now()
            timer?.wake(at: quietSince.adding(milliseconds: Settling.quietMilliseconds))
        }

        /// The last word: a timer that fires later would find nobody, and the database may be closed
        /// by then. On the queue, so that no handler is under way.
        func stop() { timer = nil }

        private func settle() {
            let quiet = quietSince.adding(milliseconds: Settling.quietMilliseconds)
            let due = min(quiet, settledAt.adding(milliseconds: Settling.longestMilliseconds))
            guard clock.now() >= due else {
                timer?.wake(at: due)
                return
            }
            settledAt = clock.now()
            do throws(StoreError) {
                if try store.settle() { timer?.wake(at: clock.now()) }
            } catch {
                Log.warning("store: settling readings: \(error.description): trying again later")
            }
        }
    }
}

/// Makes `path` with mode 0700 when it is missing; its parent must exist.
package func makeDirectory(_ path: String) throws(HostError) {
    // Safety: Swift lends a NUL-terminated copy of `path`.
    if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
        throw HostError("make directory \(path)", result: -errno)
    }
}

/// Runs `body` on `queue` and waits, with its typed error.
func on<T, E: Error>(_ queue: DispatchQueue, _ body: () throws(E) -> T) throws(E) -> T {
    var result: Result<T, E>?
    queue.sync {
        do throws(E) { result = .success(try body()) } catch { result = .failure(error) }
    }
    guard let result else { preconditionFailure("sync returns after its body") }
    return try result.get()
}
