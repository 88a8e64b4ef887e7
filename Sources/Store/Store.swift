// The district end's file and its writer. One per data directory, owned by one serial queue
// together with its sessions. Invariants: nothing is acknowledged before the transaction that
// holds it has returned; an incarnation's state in memory equals the tables, or is marked stale
// and loaded anew; row numbers only rise. Layout: StoreTables.swift. The directory must exist and
// belong to one store process (Host keeps the lock).

package import Batches
package import Model
package import SQLite
import Uplink

package enum StoreError: Error, Hashable, Sendable {
    case sqlite(SQLiteError)
    /// The file is another program's, or of another version.
    case otherVersion(String)

    package var description: String {
        switch self {
        case .sqlite(let error) where error.isDamaged:
            "\(error.description): put a copy of \(Store.fileName) back, or move it away to begin anew"
        case .sqlite(let error): "\(error.description): check the device and its mount options"
        case .otherVersion(let text): text
        }
    }
}

package struct StoreSettings: Sendable {
    /// Batches that a gateway may have in flight.
    package var credit: UInt16 {
        get { flow.most }
        set { flow.most = newValue }
    }
    package var flow = CreditSettings()
    package var rules = ReadingRules()
    /// The monotonic clock by which commits are timed; nil: they are not.
    package var now: (@Sendable () -> Instant)?
    /// Bytes of a batch, at most `UplinkProtocol.largestBatch`.
    package var largestBatch = UplinkProtocol.largestBatch
    package var batchLimits = BatchLimits()
    /// Devices and streams that one incarnation may define, each.
    package var definitions = 1_000_000
    package var cacheKilobytes = 16_384
    /// Pages (× 4096 bytes) beyond which batches get the verdict `retry`; nil: the disk is the
    /// limit.
    package var maximumPages: Int?

    package init() {}
}

/// What the store knows of one incarnation of one gateway; shared by its sessions.
final class IncarnationState {
    let gateway: String
    let incarnation: Incarnation
    /// Row numbers; nil until something was written.
    var gatewayID: Int64?
    var id: Int64?
    var committed = SequenceSet()
    /// Catalog numbers to row numbers.
    var devices: [UInt32: Int64] = [:]
    var streams: [UInt32: Int64] = [:]
    var knownDevice: UInt32 = 0
    var knownStream: UInt32 = 0
    /// True before loading and after a rollback.
    var isStale = true
    var sessions = 0
    /// The session that speaks for the gateway now: the newest.
    var owner: UInt64 = 0

    init(gateway: String, incarnation: Incarnation) {
        self.gateway = gateway
        self.incarnation = incarnation
    }
}

package final class Store {
    package static let fileName = "store.sqlite"

    package let settings: StoreSettings
    let database: Database
    let writer: StoreWriter
    private var states: [Key: IncarnationState] = [:]
    private var touched: [IncarnationState] = []
    private var sessionNumber: UInt64 = 0
    /// What the last commit said; a store that cannot write gives little credit.
    private var lastFailure: SQLiteError? {
        didSet { if lastFailure != nil { flow.failed() } }
    }
    private var flow: StoreCredit
    private var beganAt: Instant?
    /// Sessions of gateways that have said hello.
    private var gateways: Int { states.values.reduce(0) { $0 + $1.sessions } }
    /// The last stream that a pass of `prune` has looked at.
    var prunedThrough: Int64 = 0

    private struct Key: Hashable {
        var gateway: String
        var incarnation: Incarnation
    }

    package init(directory: String, settings: StoreSettings) throws(StoreError) {
        self.settings = settings
        flow = StoreCredit(settings.flow)
        do throws(SQLiteError) {
            database = try Database(path: directory + "/" + Store.fileName, mode: .readWriteCreate)
            database.setBusyTimeout(milliseconds: 1000)
            var durable = DurableSettings(locking: .normal)
            durable.walAutocheckpoint = 4000
            durable.maximumPages = settings.maximumPages
            try database.applyDurableSettings(durable)
            try database.execute("PRAGMA cache_size=-\(settings.cacheKilobytes)")
        } catch { throw .sqlite(error) }
        try StoreTables.prepare(database)
        do throws(SQLiteError) { writer = try StoreWriter(database) } catch {
            throw .sqlite(error)
        }
    }

    /// A session for a connection that was just accepted.
    package func openSession() -> StoreSession {
        sessionNumber &+= 1
        return StoreSession(store: self, number: sessionNumber)
    }

    /// Batches in flight that a gateway is allowed now.
    var credit: UInt16 { flow.value(gateways: gateways) }

    /// Too little disk is left to take anything.
    var isDiskShort: Bool { flow.isDiskShort }

    /// Host tells from time to time how much room the disk has.
    package func noteFree(bytes: Int?) { flow.freeBytes = bytes }

    package var status: StoreStatus {
        StoreStatus(
            gateways: gateways, credit: credit,
            lastCommitMilliseconds: flow.lastCommitMilliseconds, freeBytes: flow.freeBytes,
            failure: lastFailure?.description)
    }

    /// Moves at most `rows` readings from where they arrived to where they are found fast. Call
    /// when the store has been idle for a moment, until it answers false: nothing is left.
    /// Readings can be queried before and after. A failure changes nothing.
    package func settle(rows: Int = 20_000) throws(StoreError) -> Bool {
        precondition(!database.isInTransaction, "BUG: settling within a transaction")
        do throws(SQLiteError) {
            return try writer.settle(database, rows: rows)
        } catch {
            throw .sqlite(error)
        }
    }

    /// Readings that are not settled yet.
    package func unsettled() throws(SQLiteError) -> Int { try writer.unsettled() }

    // MARK: States

    /// The shared state of a gateway's incarnation, loaded.
    func state(
        gateway: String, incarnation: Incarnation, session: UInt64
    ) throws(SQLiteError) -> IncarnationState {
        let key = Key(gateway: gateway, incarnation: incarnation)
        let state = states[key] ?? IncarnationState(gateway: gateway, incarnation: incarnation)
        try refresh(state)
        states[key] = state
        state.sessions += 1
        state.owner = session
        return state
    }

    func release(_ state: IncarnationState) {
        state.sessions -= 1
        if state.sessions == 0 {
            states[Key(gateway: state.gateway, incarnation: state.incarnation)] = nil
        }
    }

    func refresh(_ state: IncarnationState) throws(SQLiteError) {
        guard state.isStale else { return }
        try StoreWriter.load(state, from: database)
        state.isStale = false
    }

    // MARK: Transactions

    /// Opens the transaction of this turn when it is not open, and notes who writes in it.
    func begin(_ state: IncarnationState) throws(SQLiteError) {
        if !database.isInTransaction {
            touched.removeAll()
            do throws(SQLiteError) { try database.execute("BEGIN IMMEDIATE") } catch {
                lastFailure = error
                throw error
            }
            beganAt = settings.now?()
            // The tables may have been left by a failure; numbers follow what is on disk.
            try writer.readCounters(database)
        }
        if !touched.contains(where: { $0 === state }) { touched.append(state) }
    }

    /// Commits what this turn wrote; after an error nothing of it is there.
    func commit() throws(SQLiteError) {
        guard database.isInTransaction else { return }
        do throws(SQLiteError) {
            try database.execute("COMMIT")
            lastFailure = nil
            var took: Int64 = 0
            if let beganAt, let now = settings.now?() { took = now.milliseconds(since: beganAt) }
            flow.committed(milliseconds: took)
        } catch {
            rollback(error)
            throw error
        }
    }

    /// Undoes what this turn wrote. `error`: the storage's; nil when the peer was at fault.
    func rollback(_ error: SQLiteError?) {
        if let error { lastFailure = error }
        if database.isInTransaction { try? database.execute("ROLLBACK") }
        for state in touched { state.isStale = true }
        touched.removeAll()
    }
}
