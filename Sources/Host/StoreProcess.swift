// The district store as a process: one queue owns the database, its sessions and the sockets. Readings
// are settled (moved to where queries find them fast) when no gateway has spoken for a moment, a bounded
// number at a time, so that a batch never waits long.

import Dispatch
import Formats
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
            var settings = StoreSettings()
            settings.rules = configuration.readings
            settings.now = clock.now
            store = try Store(directory: configuration.data, settings: settings)
            store.noteFree(bytes: freeBytes(in: configuration.data))
        } catch {
            throw StartError("store \(configuration.data): \(error.description)")
        }
        let settling = Settling(
            store: store, queue: queue, clock: clock, directory: configuration.data,
            retention: configuration.retention)
        let store = store
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
        // Admin shares the store's queue.
        let server = server
        admin?.route("/health") { _, reply in reply(StoreReport.health(store.status)) }
        admin?.route("/status") { _, reply in
            reply(StoreReport.status(store.status, server.statistics))
        }
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

        var heldBytes: Int { session.heldBytes }
    }

    /// Settles readings while nobody speaks. On the store's queue.
    private final class Settling {
        private static let quietMilliseconds: Int64 = 300
        /// Where gateways never fall silent together, settling comes in between at least this often.
        private static let longestMilliseconds: Int64 = 5000
        private let store: Store
        private let clock: Clock
        private let queue: DispatchQueue
        private let directory: String
        private let retention: Int64?
        private var quietSince: Instant
        private var settledAt: Instant
        private var prunedAt: Instant?
        /// Pruning begins anew so long after it found nothing more.
        private static let pruneMilliseconds: Int64 = 600_000
        private static let freeMilliseconds: Int64 = 5000
        /// Nil once stopped.
        private lazy var timer: StageTimer? = StageTimer(queue: queue) { [unowned self] in settle()
        }

        init(
            store: Store, queue: DispatchQueue, clock: Clock, directory: String, retention: Int64?
        ) {
            self.directory = directory
            self.retention = retention
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
            // While gateways speak this comes every five seconds at least; while none does, the next wake
            // looks whether the disk has room again.
            store.noteFree(bytes: freeBytes(in: directory))
            var next = clock.now().adding(milliseconds: Settling.freeMilliseconds)
            do throws(StoreError) {
                let isMore = try store.settle()
                if try isMore ? true : prune() { next = clock.now() }
            } catch {
                Log.warning("store: settling readings: \(error.description): trying again later")
            }
            timer?.wake(at: next)
        }

        private func prune() throws(StoreError) -> Bool {
            guard let retention else { return false }
            let now = clock.now()
            if let prunedAt, now.milliseconds(since: prunedAt) < Settling.pruneMilliseconds {
                return false
            }
            let cutoff = Timestamp(milliseconds: clock.wall().milliseconds - retention)
            if try store.prune(before: cutoff) { return true }
            prunedAt = now
            return false
        }
    }
}

/// Free bytes for this user where `path` lies; nil when the system does not say.
func freeBytes(in path: String) -> Int? {
    var info = statvfs()
    // Safety: `info` outlives the call, which fills it; Swift lends a NUL-terminated copy of `path`.
    guard unsafe statvfs(path, &info) == 0 else { return nil }
    let (bytes, overflow) = Int(clamping: info.f_bavail)
        .multipliedReportingOverflow(by: Int(clamping: info.f_frsize))
    return overflow ? nil : bytes
}

/// Health and status of a store, for its admin endpoint.
enum StoreReport {
    static func reasons(_ status: StoreStatus) -> [String] {
        var reasons: [String] = []
        if let failure = status.failure { reasons.append("store: \(failure)") }
        if status.credit == 0 { reasons.append("store: too little disk is left: free some") }
        return reasons
    }

    static func health(_ status: StoreStatus) -> AdminResponse {
        let reasons = reasons(status)
        let body = JSON.object([
            ("isHealthy", .boolean(reasons.isEmpty)),
            ("reasons", .array(reasons.map { .string($0) })),
        ])
        return .json(body.text() + "\n", status: reasons.isEmpty ? 200 : 503)
    }

    static func status(
        _ status: StoreStatus, _ server: StoreServer.Statistics
    ) -> AdminResponse {
        let reasons = reasons(status)
        return .json(
            JSON.object([
                ("isHealthy", .boolean(reasons.isEmpty)),
                ("reasons", .array(reasons.map { .string($0) })),
                ("gateways", .integer(Int64(status.gateways))),
                ("connections", .integer(Int64(server.connections))),
                ("connectionsAccepted", .unsigned(server.accepted)),
                ("connectionsRefused", .unsigned(server.refused)),
                ("connectionsSilenced", .unsigned(server.silenced)),
                ("bytesReceived", .unsigned(server.bytesReceived)),
                ("credit", .integer(Int64(status.credit))),
                ("lastCommitMs", .integer(status.lastCommitMilliseconds)),
                ("freeBytes", status.freeBytes.map { .integer(Int64($0)) } ?? .null),
            ]).text(pretty: true) + "\n")
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
