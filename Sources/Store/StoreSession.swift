// One connection's conversation with the store: bytes in, bytes out, no sockets. On the store's
// queue. What a session takes is its part of the store's turn (Store.swift), committed before any
// acknowledgement of it is in the answer; when that fails, every batch of the part gets `retry`. What a
// welcome or the rows of a query tell is committed: both end the turn first.
// Received bytes never trap; faults end the session with a goodbye (protocols/uplink.md).

import Batches
package import Model
internal import SQLite
import Uplink

package final class StoreSession {
    private let store: Store
    private let number: UInt64
    private var reader = FrameReader(side: .store)
    private var hello: Hello?
    private var state: IncarnationState?
    private var isRegistered = false
    private var isOver = false
    private var parting: Goodbye?

    // Of the turn that runs
    /// A savepoint of this session is open.
    private var isInPart = false
    private var reply: [UInt8] = []
    /// Queries in this call of `receive`.
    private var queries = 0
    private var verdicts: [Acknowledgement.Entry] = []
    private var hasDefinitions = false
    private var failure: SQLiteError?

    init(store: Store, number: UInt64) {
        self.store = store
        self.number = number
    }

    /// Bytes of a frame that has not wholly arrived.
    package var heldBytes: Int { reader.held }

    /// Name in the hello, nil before it.
    package var peer: String? { hello?.name }

    /// Bytes from the connection, as a turn of its own. `reply`: to send. `close`: close after that.
    package func receive(
        _ bytes: [UInt8], now: Timestamp
    ) -> (reply: [UInt8], close: Bool) {
        take(bytes, now: now)
        store.endTurn()
        return answer()
    }

    /// Bytes from the connection, as a part of the store's turn: `answer` after `Store.endTurn`.
    package func take(_ bytes: [UInt8], now: Timestamp) {
        guard !isOver, parting == nil else { return }
        store.join(self)
        queries = 0
        reader.append(bytes)
        do throws(WireError) {
            while parting == nil, let frame = try reader.next() {
                parting = take(frame, now)
            }
        } catch {
            let code: Goodbye.Code
            if case .version = error { code = .version } else { code = .malformed }
            parting = Goodbye(code, error.description)
        }
        endPart()
    }

    /// What to send, once the turn has ended.
    package func answer() -> (reply: [UInt8], close: Bool) {
        if let parting {
            self.parting = nil
            // A peer's own goodbye is not answered.
            if parting.code != .closing || !parting.reason.isEmpty {
                reply += UplinkFrame.goodbye(parting).encoded()
            }
            end()
        }
        defer { reply = [] }
        return (reply, isOver)
    }

    /// The connection is gone.
    package func ended() { end() }

    /// Host stops the store: what to send before closing.
    package func goodbye() -> [UInt8] {
        guard !isOver else { return [] }
        end()
        return UplinkFrame.goodbye(Goodbye(.closing, "store stops")).encoded()
    }

    /// What a connection hears that cannot be served now: before hello, and before a welcome.
    package static func refusal(_ reason: String) -> [UInt8] {
        UplinkFrame.goodbye(Goodbye(.unavailable, reason)).encoded()
    }

    private func end() {
        guard !isOver else { return }
        isOver = true
        if let state { store.release(state) }
        state = nil
    }

    private static let queriesAtATime = 4

    /// A goodbye when the conversation is over.
    private func take(_ frame: UplinkFrame, _ now: Timestamp) -> Goodbye? {
        switch frame {
        case .hello(let hello): return greet(hello, now)
        case .ping(let token):
            store.probeIfDue()
            reply += UplinkFrame.pong(token: token, storeTime: now, credit: store.credit).encoded()
            return nil
        case .entries(let entries): return define(entries, now)
        case .batch(let batch): return takeBatch(batch, now)
        case .query(let query):
            // An answer may be large: a peer that asks on without reading gets no more.
            queries += 1
            guard queries <= StoreSession.queriesAtATime else {
                return Goodbye(.malformed, "too many queries at a time")
            }
            return answer(query)
        case .goodbye: return Goodbye(.closing, "")
        case .welcome, .acknowledgement, .pong, .rows:
            return Goodbye(.malformed, "a store's frame sent to a store")
        }
    }

    private func greet(_ hello: Hello, _ now: Timestamp) -> Goodbye? {
        self.hello = hello
        // What is told to be committed must be.
        endTurn()
        var known = (device: UInt32(0), stream: UInt32(0), set: CommittedSet(through: 0, runs: []))
        if hello.role == .gateway {
            do throws(SQLiteError) {
                let state = try store.state(
                    gateway: hello.name, incarnation: hello.incarnation, session: number)
                self.state = state
                known = (state.devices.highest, state.streams.highest, state.committed.told)
            } catch { return unavailable(error) }
        }
        reply += UplinkFrame.welcome(
            Welcome(
                storeTime: now, credit: hello.role == .gateway ? store.credit : 0,
                largestBatch: UInt32(store.settings.largestBatch), knownDevice: known.device,
                knownStream: known.stream, committed: known.set)
        ).encoded()
        return nil
    }

    // MARK: Writing

    /// The gateway's state when this session may write; a goodbye otherwise.
    private func writable() -> (IncarnationState?, Goodbye?) {
        guard let state else { return (nil, Goodbye(.malformed, "a reader does not write")) }
        guard state.owner == number else {
            return (nil, Goodbye(.replaced, "the gateway has a newer connection"))
        }
        return (state, nil)
    }

    private func begin(_ state: IncarnationState, _ now: Timestamp) throws(SQLiteError) {
        try store.refresh(state)
        try store.begin(state)
        if !isInPart {
            try store.beginPart()
            isInPart = true
        }
        guard !isRegistered || state.id == nil else { return }
        try StoreDefinitions.register(
            state, software: hello?.software ?? "", now: now, in: store.database)
        isRegistered = true
    }

    private func endPart() {
        guard isInPart else { return }
        do throws(SQLiteError) {
            try store.endPart()
            isInPart = false
        } catch { fail(error) }
    }

    private func define(_ entries: [CatalogEntry], _ now: Timestamp) -> Goodbye? {
        let (state, refusal) = writable()
        guard let state else { return refusal }
        hasDefinitions = true
        guard failure == nil else { return nil }
        do throws(SQLiteError) { try begin(state, now) } catch {
            fail(error)
            return nil
        }
        do throws(DefinitionFault) {
            try store.definitions.take(entries, state, limit: store.settings.definitions)
        } catch {
            switch error {
            case .sqlite(let error): fail(error)
            case .goodbye(let goodbye):
                // What the same transaction took before stays out: it is sent again.
                fail(
                    SQLiteError(code: 0, what: "entries", message: goodbye.reason), ofStorage: false
                )
                hasDefinitions = false
                return goodbye
            }
        }
        return nil
    }

    private func takeBatch(_ frame: BatchFrame, _ now: Timestamp) -> Goodbye? {
        let (state, refusal) = writable()
        guard let state else { return refusal }
        var entry = Acknowledgement.Entry(sequence: frame.sequence, reason: .storageFailed)
        if failure == nil {
            do throws(SQLiteError) {
                try store.refresh(state)
                (entry.reason, entry.detail) = try judge(frame, state, now)
            } catch { fail(error) }
        }
        verdicts.append(entry)
        return nil
    }

    private func judge(
        _ frame: BatchFrame, _ state: IncarnationState, _ now: Timestamp
    ) throws(SQLiteError) -> (VerdictReason, String) {
        if state.committed.contains(frame.sequence) {
            let before = try store.writer.fingerprint(state, frame.sequence)
            return before == nil || before == StoreWriter.fingerprint(of: frame.bytes)
                ? (.duplicate, "") : (.sequenceReused, "committed with other bytes")
        }
        guard !store.isDiskShort else { return (.storageFull, "too little disk is left") }
        guard frame.bytes.count <= store.settings.largestBatch else {
            return (.tooLarge, "\(frame.bytes.count) bytes")
        }
        guard CRC32.of(frame.bytes) == frame.crc else { return (.damaged, "wrong CRC-32") }
        let batch: DecodedBatch
        do throws(BatchError) {
            // Before anything is expanded: what the header states bounds what may come out.
            let stated = try BatchCodec.info(frame.bytes).readings
            guard stated == Int(frame.readings) else {
                return (.unreadable, "\(stated) readings, announced \(frame.readings)")
            }
            batch = try BatchCodec.decode(frame.bytes, limits: store.settings.batchLimits)
        } catch {
            if case .tooLarge = error { return (.tooLarge, "expanded") }
            if case .expandsTooFar = error {
                return (.tooLarge, "expands beyond what \(frame.readings) readings take")
            }
            return (.unreadable, "\(error)")
        }
        guard !batch.readings.isEmpty else { return (.empty, "") }
        if let fault = fault(in: batch.readings, state, now) { return fault }
        try begin(state, now)
        try store.writer.insert(batch, frame, state, now: now)
        store.noteBatch()
        return (.stored, "")
    }

    private func fault(
        in readings: [Reading], _ state: IncarnationState, _ now: Timestamp
    ) -> (VerdictReason, String)? {
        var last: UInt32?
        for reading in readings {
            guard Value.Kind(rawValue: reading.kind) != nil else {
                return (.unreadable, "value of kind \(reading.kind)")
            }
            let stream = reading.stream.rawValue
            if stream != last, state.streams[stream] == nil {
                return (.unknownStream, "stream \(stream)")
            }
            last = stream
            if let text = store.settings.rules.fault(reading, now: now) {
                return (.refusedReading, text)
            }
        }
        return nil
    }

    /// Nothing of this session's part counts; of nobody's, when the storage is at fault.
    private func fail(_ error: SQLiteError, ofStorage: Bool = true) {
        failure = error
        isRegistered = false
        if isInPart, let state {
            isInPart = false
            store.undoPart(state, ofStorage ? error : nil)
        } else if ofStorage {
            store.fail(error)
        }
    }

    /// The turn has ended: writes the verdicts. With a goodbye when definitions were lost with the
    /// transaction: the next welcome tells the gateway what is there.
    func settleTurn(_ turnFailure: SQLiteError?) {
        if let turnFailure {
            failure = failure ?? turnFailure
            isRegistered = false
            isInPart = false
        }
        if let failure {
            let reason: VerdictReason =
                failure.isFull ? .storageFull : failure.isBusy ? .busy : .storageFailed
            for place in verdicts.indices where verdicts[place].reason.verdict != .rejected {
                verdicts[place].reason = reason
                verdicts[place].detail = failure.message
            }
        }
        if !verdicts.isEmpty {
            reply += FrameEncoding.acknowledgement(verdicts, credit: store.credit)
        }
        if let failure, hasDefinitions { parting = unavailable(failure) }
        verdicts = []
        hasDefinitions = false
        failure = nil
    }

    /// Ends the turn of all, so that what follows sees what is committed.
    private func endTurn() {
        endPart()
        store.endTurn()
        // More may come of this call.
        store.join(self)
    }

    private func unavailable(_ error: SQLiteError) -> Goodbye {
        Goodbye(.unavailable, error.message)
    }

    // MARK: Reading

    private func answer(_ query: Query) -> Goodbye? {
        // A query sees what is committed, and what was sent before it.
        endTurn()
        if let parting { return parting }
        do throws(SQLiteError) {
            let limit = min(max(0, query.filter.limit), UplinkProtocol.rowsPerQuery)
            let page = try StoreQuery.page(
                store.database, query.filter, after: query.after, limit: limit)
            reply += FrameEncoding.rows(page.rows, token: query.token, hasMore: page.hasMore)
            return nil
        } catch {
            store.noteRead(error)
            return unavailable(error)
        }
    }
}
