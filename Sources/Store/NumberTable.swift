// Row numbers by the numbers of a gateway's catalog: looked up once a stream of every batch. Owned by an
// IncarnationState. Catalogs number from 1 without gaps, so nearly all stand in an array; a number far
// beyond the others goes to a dictionary, so that nobody makes the store allocate by a number it was told.
// Invariant: a number stands in one of the two; row 0 marks an empty place.

struct NumberTable {
    private static let widestGap = 1024
    private var rows: [Int64] = []
    private var far: [UInt32: Int64] = [:]
    private(set) var count = 0
    /// Places of the array, used or not.
    var places: Int { rows.count }
    /// The highest number; 0 when there is none.
    private(set) var highest: UInt32 = 0

    /// The row of `number`; nil when it has none.
    subscript(number: UInt32) -> Int64? {
        let place = Int(number)
        if place < rows.count, rows[place] != 0 { return rows[place] }
        return far.isEmpty ? nil : far[number]
    }

    /// Gives `number` a row, which is not 0, in place of the one it has.
    mutating func set(_ row: Int64, for number: UInt32) {
        precondition(row != 0, "0 marks an empty place")
        if self[number] == nil { count += 1 }
        highest = max(highest, number)
        let place = Int(number)
        if far[number] != nil || place > rows.count + NumberTable.widestGap {
            far[number] = row
            return
        }
        if place >= rows.count {
            rows.append(contentsOf: repeatElement(0, count: place + 1 - rows.count))
        }
        rows[place] = row
    }
}
