// What a decoder works on between its frames' bytes and their readings: slots, planes, identity, names,
// stacks. Trivial handles behind the fence (Cursor.swift, Tables.swift, BytePlane.swift). Owned by one
// decoder, whose deinit frees it; used on that decoder's queue only.

import Model

/// A region that reading will come back to.
struct Region {
    var cursor: Cursor
    var plane: UInt8
    var start: Int
    var limit: Int
    /// Where reading goes on after the region.
    var after: Int
    /// Raw `Rejection`.
    var overrun: UInt8
}

/// The times of the readings around a repeated group.
struct Scope {
    var firstReading: Int
    var time: Int64?
}

/// Scratch of a decoder that outlives single frames. Trivial handles behind the fence of Cursor.swift,
/// so that a machine holds them without counting references or checking exclusivity.
struct Workspace {
    struct State: BitwiseCopyable {
        /// The conversation said whose frame it is.
        var isIdentified = false
        /// The check value is wrong and the format lets that pass.
        var isDoubtful = false
        /// Bytes of `identity` that were there before the frame was run.
        var given = 0
    }

    let slots = SlotFile()
    let planes: FixedTable<BytePlane>
    let identity = BytePlane(capacity: DeviceKey.maximumLength + 64)
    /// Path of the conversation that the frame came through.
    let path = BytePlane(capacity: 512)
    let names = NameArena()
    private let state = Cell(State())
    let regions = FixedStack<Region>(
        repeating: Region(
            cursor: .empty, plane: 0, start: 0, limit: 0, after: 0, overrun: 0))
    let scopes = FixedStack<Scope>(repeating: Scope(firstReading: 0, time: nil))
    let seed: UInt64
    /// The decoder owns them.
    let keys: DeviceKeys.Table

    init(planes count: Int, capacity: Int, seed: UInt64, keys: DeviceKeys.Table) {
        planes = FixedTable((0..<count).map { _ in BytePlane(capacity: capacity) })
        self.seed = seed
        self.keys = keys
    }

    /// To be called once, by the decoder's deinit.
    func deallocate() {
        slots.deallocate()
        for i in 0..<planes.count { planes[i].deallocate() }
        planes.deallocate()
        identity.deallocate()
        path.deallocate()
        names.deallocate()
        state.deallocate()
        regions.deallocate()
        scopes.deallocate()
    }

    @inline(__always)
    var isIdentified: Bool {
        get { state.value.isIdentified }
        nonmutating set { state.value.isIdentified = newValue }
    }

    @inline(__always)
    var isDoubtful: Bool {
        get { state.value.isDoubtful }
        nonmutating set { state.value.isDoubtful = newValue }
    }

    @inline(__always)
    var given: Int {
        get { state.value.given }
        nonmutating set { state.value.given = newValue }
    }

    func reset(slots count: Int) {
        begin()
        slots.clear(count)
    }

    /// Back to where `begin` and what an envelope laid out left it.
    func beginAgain() {
        identity.cut(to: given)
        names.clear()
    }

    /// All but the slots.
    @inline(__always)
    func begin() {
        identity.clear()
        path.clear()
        names.clear()
        state.value = State()
        for i in 0..<UInt16(4) { slots.setValue(-1, at: SlotFile.asked &+ i) }
    }
}
