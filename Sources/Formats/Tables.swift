// Tables and stacks of trivial rows outside the reach of reference counts and exclusivity checks: part
// of the fence around memory (Cursor.swift). Each access stands behind its own bounds check; whoever
// owns a table gives its memory back, once, in its deinit.

/// An immutable table of trivial rows, read without counting references. Reading outside it is a
/// programmer's error.
@safe struct FixedTable<Element: BitwiseCopyable>: @unchecked Sendable {
    let count: Int
    private let base: UnsafeMutablePointer<Element>

    init(_ rows: [Element]) {
        count = rows.count
        // Safety: freshly allocated for `count` rows and initialised at once; never written again,
        // which also makes sharing it between threads sound.
        unsafe base = UnsafeMutablePointer<Element>.allocate(capacity: max(1, rows.count))
        for (i, row) in rows.enumerated() { unsafe (base + i).initialize(to: row) }
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        // Safety: allocated in init; the owner calls this once and uses the table no more.
        unsafe base.deallocate()
    }

    @inline(__always)
    subscript(_ row: Int) -> Element {
        precondition(row >= 0 && row < count, "row outside its table")
        // Safety: 0 <= row < count, checked in the line above.
        return unsafe base[row]
    }
}

/// A table of trivial rows that fills up to a fixed capacity, read without counting references. Not
/// thread-safe; one a decoder. Memory that nobody wrote is never touched, so an empty table costs
/// address space only.
@safe struct FillingTable<Element: BitwiseCopyable> {
    let capacity: Int
    private let base: UnsafeMutablePointer<Element>

    init(capacity: Int) {
        self.capacity = max(1, capacity)
        // Safety: allocated for `capacity` rows; a row is written before it is read (see `subscript`).
        unsafe base = UnsafeMutablePointer<Element>.allocate(capacity: self.capacity)
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        // Safety: allocated in init; the owner calls this once and uses the table no more.
        unsafe base.deallocate()
    }

    /// Reading a row that was never written gives any value of a trivial type. Places outside the
    /// table are a programmer's error.
    @inline(__always)
    subscript(_ row: Int) -> Element {
        get {
            precondition(row >= 0 && row < capacity, "row outside its table")
            // Safety: 0 <= row < capacity, checked in the line above.
            return unsafe base[row]
        }
        nonmutating set {
            precondition(row >= 0 && row < capacity, "row outside its table")
            // Safety: 0 <= row < capacity, checked in the line above; Element is trivial.
            unsafe (base + row).initialize(to: newValue)
        }
    }
}

/// A stack of 16 trivial elements; its depth is kept by who uses it.
@safe struct FixedStack<Element: BitwiseCopyable> {
    static var capacity: Int { 16 }
    private let base: UnsafeMutablePointer<Element>

    init(repeating element: Element) {
        // Safety: freshly allocated for exactly `capacity` elements and initialised at once.
        unsafe base = UnsafeMutablePointer<Element>.allocate(capacity: Self.capacity)
        unsafe base.initialize(repeating: element, count: Self.capacity)
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        // Safety: allocated in init; the owner calls this once and uses the stack no more.
        unsafe base.deallocate()
    }

    /// False when the stack is full.
    @inline(__always)
    func push(_ element: Element, _ depth: inout Int) -> Bool {
        guard depth >= 0, depth < Self.capacity else { return false }
        // Safety: 0 <= depth < capacity, checked in the line above.
        unsafe base[depth] = element
        depth &+= 1
        return true
    }

    @inline(__always)
    func pop(_ depth: inout Int) -> Element? {
        guard depth > 0, depth <= Self.capacity else { return nil }
        depth &-= 1
        // Safety: 0 <= depth < capacity after the line above.
        return unsafe base[depth]
    }
}
