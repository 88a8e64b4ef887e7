// The fence around memory, second part: slots, tables, stacks and cells of trivial rows behind handles,
// read and written without counting references or checking exclusivity. Owned by one program or one
// decoder, whose deinit calls `deallocate`; used on that decoder's queue only, but for `FixedTable`,
// which never changes. Invariant: slot numbers are masked, so none is out of range.

/// Where a captured field keeps its value and the bytes it came from.
struct Slot {
    enum Kind: UInt8 {
        /// `decimal`: an integer times the power of ten in `exponent`.
        case integer, unsigned, double, none, bytes, time, decimal
    }

    /// Integer, bit pattern of a double or unsigned, or UTC milliseconds.
    var value: Int64 = 0
    /// Bytes of the field within its plane.
    var start: Int32 = 0
    var end: Int32 = 0
    /// Raw `Quality`.
    var quality: UInt16 = 0
    var kind = Kind.integer
    /// 0 = the frame, n = scratch plane n - 1.
    var plane: UInt8 = 0
    var exponent: Int8 = 0
}

/// A fixed file of slots. Not thread-safe; one a decoder.
@safe struct SlotFile {
    static let capacity = 1024
    /// Slot numbers compilers may hand out are below this; `none` is outside.
    static let none: UInt16 = 0xFFFF
    /// Four slots for the numbers of the request that a frame answers; compilers hand out those below.
    static let asked: UInt16 = 1020

    private let base: UnsafeMutablePointer<Slot>

    init() {
        // Safety: freshly allocated for exactly `capacity` slots and initialised at once.
        unsafe base = UnsafeMutablePointer<Slot>.allocate(capacity: SlotFile.capacity)
        unsafe base.initialize(repeating: Slot(), count: SlotFile.capacity)
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        // Safety: allocated in init; the owner calls this once and uses the file no more.
        unsafe base.deallocate()
    }

    @inline(__always)
    subscript(_ index: UInt16) -> Slot {
        // Safety: the mask keeps the index below capacity (1024).
        get { unsafe base[Int(index & 1023)] }
        nonmutating set { unsafe base[Int(index & 1023)] = newValue }
    }

    @inline(__always)
    func value(_ index: UInt16) -> Int64 {
        // Safety: the mask keeps the index below capacity (1024).
        unsafe base[Int(index & 1023)].value
    }

    @inline(__always)
    func setValue(_ value: Int64, at index: UInt16) {
        // Safety: the mask keeps the index below capacity (1024).
        unsafe base[Int(index & 1023)] = Slot(value: value)
    }

    /// Makes the first `count` slots read as zero.
    func clear(_ count: Int) {
        // Safety: count is cut to capacity; Slot is trivial.
        unsafe base.update(repeating: Slot(), count: min(max(0, count), SlotFile.capacity))
    }
}

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

/// The 2048 rows of a sliced CRC, read without bounds checks.
@safe struct CRCTable: @unchecked Sendable {
    static let count = 2048
    private let base: UnsafeMutablePointer<UInt16>

    init(_ rows: [UInt16]) {
        precondition(rows.count == CRCTable.count, "eight tables of 256 rows")
        // Safety: freshly allocated for `count` rows and initialised at once; never written again and
        // never freed, since rules live as long as the process.
        unsafe base = UnsafeMutablePointer<UInt16>.allocate(capacity: rows.count)
        for (i, row) in rows.enumerated() { unsafe (base + i).initialize(to: row) }
    }

    @inline(__always)
    subscript(_ row: Int) -> UInt16 {
        // Safety: the mask keeps the row below 2048.
        unsafe base[row & 2047]
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

/// One trivial value that outlives the calls that change it, without the exclusivity checks and the
/// reference counts of a class. Not thread-safe; one a decoder.
@safe struct Cell<Element: BitwiseCopyable> {
    private let base: UnsafeMutablePointer<Element>

    init(_ element: Element) {
        // Safety: freshly allocated for one element and initialised at once.
        unsafe base = UnsafeMutablePointer<Element>.allocate(capacity: 1)
        unsafe base.initialize(to: element)
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        // Safety: allocated in init; the owner calls this once and uses the cell no more.
        unsafe base.deallocate()
    }

    @inline(__always)
    var value: Element {
        // Safety: initialised in init, valid until the owner's deinit.
        get { unsafe base.pointee }
        nonmutating set { unsafe base.pointee = newValue }
    }
}
