// The district end's file and its writer. One per data directory, owned by one serial queue
// together with its sessions. Invariants: nothing is acknowledged before the transaction that
// holds it has returned; an incarnation's state in memory equals the tables, or is marked stale
// and loaded anew; row numbers only rise. Layout: StoreTables.swift. The directory must exist and
// belong to one store process (Host keeps the lock).
//
// A turn is one transaction for all sessions that took something in it (group commit): sessions take,
// `endTurn` commits once, then each session answers. A session's part is a savepoint: what is wrong with
// one gateway's frames undoes its part only; what is wrong with the disk undoes the turn.

package import Batches
package import Model
package import SQLite
import Uplink

package enum StoreError: Error, Hashable, Sendable {
    case sqlite(SQLiteError)
    /// The file is another program's, or of another version.
    case otherVersion(String)

    /// The disk may let it be opened later.
    package var mayPass: Bool {
        if case .sqlite(let error) = self { error.isOfStorage } else { false }
    }

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
    var devices = NumberTable()
    var streams = NumberTable()
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
    let definitions: StoreDefinitions
    private var states: [Key: IncarnationState] = [:]
    private var touched: [IncarnationState] = []
    private var sessionNumber: UInt64 = 0
    /// What the last write said; a store that cannot write gives no credit.
    var lastFailure: SQLiteError? {
        didSet { if lastFailure != nil { flow.failed() } }
    }
    /// Sessions that took something in this turn.
    private var turn: [StoreSession] = []
    /// Why nothing of this turn can be kept.
    private var turnFailure: SQLiteError?
    /// When a write was last tried only to see whether the disk takes it again.
    var probedAt: Instant?
    private(set) var commits: UInt64 = 0
    private(set) var batchesCommitted: UInt64 = 0
    private var batchesInTurn: UInt64 = 0
    /// What was lost when the file was found damaged at the start; nil: it was sound.
    package private(set) var salvage: StoreSalvageReport?
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

    /// `suspect`: what SQLite said when an earlier store met damage in this file.
    package init(
        directory: String, settings: StoreSettings, suspect: String? = nil
    ) throws(StoreError) {
        self.settings = settings
        flow = StoreCredit(settings.flow)
        let opened = try Store.open(
            StoreFiles(directory: directory), settings, suspect: suspect)
        salvage = opened.salvage
        try StoreTables.prepare(opened.database)
        do throws(SQLiteError) {
            writer = try StoreWriter(opened.database)
            definitions = try StoreDefinitions(opened.database)
        } catch {
            throw .sqlite(error)
        }
        database = opened.database
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

    /// Damage was met: the file has to be opened anew.
    package var isDamaged: Bool { lastFailure?.isDamaged ?? false }

    /// The last write failed.
    package var isFailing: Bool { lastFailure != nil }

    package var status: StoreStatus {
        var status = StoreStatus()
        status.gateways = gateways
        status.credit = credit
        status.lastCommitMilliseconds = flow.lastCommitMilliseconds
        status.freeBytes = flow.freeBytes
        status.commits = commits
        status.batches = batchesCommitted
        status.failure = lastFailure?.description
        status.isDamaged = isDamaged
        status.salvages = salvage.map { [$0] } ?? []
        return status
    }

    /// Moves at most `rows` readings from where they arrived to where they are found fast. Call
    /// when the store has been idle for a moment, until it answers false: nothing is left.
    /// Readings can be queried before and after. A failure changes nothing.
    package func settle(rows: Int = 20_000) throws(StoreError) -> Bool {
        precondition(!database.isInTransaction, "BUG: settling within a transaction")
        do throws(SQLiteError) {
            return try writer.settle(database, rows: rows)
        } catch {
            noteRead(error)
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

    /// `session` takes its part in this turn: answers wait for `endTurn`.
    func join(_ session: StoreSession) {
        if !turn.contains(where: { $0 === session }) { turn.append(session) }
    }

    /// Opens the transaction of this turn when it is not open, and notes who writes in it.
    func begin(_ state: IncarnationState) throws(SQLiteError) {
        if let turnFailure { throw turnFailure }
        if !database.isInTransaction {
            touched.removeAll()
            do throws(SQLiteError) { try database.execute("BEGIN IMMEDIATE") } catch {
                fail(error)
                throw error
            }
            beganAt = settings.now?()
            // The tables may have been left by a failure; numbers follow what is on disk.
            do throws(SQLiteError) { try writer.readCounters(database) } catch {
                fail(error)
                throw error
            }
        }
        if !touched.contains(where: { $0 === state }) { touched.append(state) }
    }

    /// A session's part begins within the open transaction.
    func beginPart() throws(SQLiteError) { try database.execute("SAVEPOINT part") }

    func endPart() throws(SQLiteError) { try database.execute("RELEASE part") }

    /// Undoes a session's part. `error`: the storage's, which ends the whole turn when it is more than a
    /// quarrel with this part's rows; nil: its peer was at fault.
    func undoPart(_ state: IncarnationState, _ error: SQLiteError?) {
        if let error, error.isOfStorage || !database.isInTransaction { return fail(error) }
        do throws(SQLiteError) {
            try database.execute("ROLLBACK TO part; RELEASE part")
            state.isStale = true
            // Numbers that the part had taken are free again.
            try writer.readCounters(database)
        } catch { fail(error) }
    }

    func noteBatch() { batchesInTurn &+= 1 }

    /// A write succeeded that nobody waited for.
    func healed() {
        lastFailure = nil
        flow.healed()
    }

    /// Nothing of this turn can be kept.
    func fail(_ error: SQLiteError) {
        lastFailure = error
        turnFailure = turnFailure ?? error
        rollback()
    }

    /// Commits what the sessions of this turn took, all in one; then each has its answer. After an error
    /// nothing of the turn is there, and every batch of it gets `retry`.
    package func endTurn() {
        if turnFailure == nil, database.isInTransaction {
            do throws(SQLiteError) {
                try database.execute("COMMIT")
                lastFailure = nil
                commits &+= 1
                batchesCommitted &+= batchesInTurn
                var took: Int64 = 0
                if let beganAt, let now = settings.now?() {
                    took = now.milliseconds(since: beganAt)
                }
                flow.committed(milliseconds: took)
            } catch { fail(error) }
        }
        let sessions = turn
        let failure = turnFailure
        turn.removeAll()
        turnFailure = nil
        batchesInTurn = 0
        for session in sessions { session.settleTurn(failure) }
    }

    private func rollback() {
        if database.isInTransaction { try? database.execute("ROLLBACK") }
        for state in touched { state.isStale = true }
        touched.removeAll()
    }
}
