// Keys of meters that encipher, by identity. Made from the key file at start and at reload, shared by all
// decoders, never printed: neither description nor mirror shows more than how many there are.
//
//     { keys: { "ACW.09011523.07": "00112233445566778899aabbccddeeff" } }
//
// The identity is the one that the gateway gives the meter (manufacturer, number, medium); "*" stands for
// every meter that has no key of its own.

import Glibc
import Model

package final class DeviceKeys: Sendable, CustomStringConvertible, CustomReflectable {
    /// No device has a key.
    package static let none = DeviceKeys(rows: [])

    fileprivate struct Row: BitwiseCopyable, Sendable {
        var high: UInt64
        var low: UInt64
        var key: Block128

        init(device: DeviceKey, key: Block128) {
            (high, low) = (device.high, device.low)
            self.key = key
        }
    }

    /// What decoders look keys up in, without counting references; valid as long as its owner.
    struct Table: Sendable {
        /// Ascending by device.
        fileprivate let rows: FixedTable<Row>

        /// The key of `device`, or that of every device.
        func key(_ device: DeviceKey) -> Block128? { find(device) ?? find(.empty) }

        private func find(_ device: DeviceKey) -> Block128? {
            var (low, high) = (0, rows.count)
            while low < high {
                let middle = (low &+ high) / 2
                let row = rows[middle]
                if row.high == device.high, row.low == device.low { return row.key }
                if (row.high, row.low) < (device.high, device.low) {
                    low = middle &+ 1
                } else {
                    high = middle
                }
            }
            return nil
        }
    }

    let table: Table

    private init(rows: [Row]) {
        table = Table(
            rows: FixedTable(rows.sorted { ($0.high, $0.low) < ($1.high, $1.low) }))
    }

    deinit { table.rows.deallocate() }

    /// One key of 16 bytes, as hex digits, for every device: vectors and tests. Nil when it is none.
    package convenience init?(every hex: String) {
        guard let key = DeviceKeys.block(hex) else { return nil }
        self.init(rows: [Row(device: .empty, key: key)])
    }

    package var count: Int { table.rows.count }
    package var description: String { "\(table.rows.count) keys" }
    package var customMirror: Mirror { Mirror(self, children: ["count": table.rows.count]) }

    // MARK: The key file

    static let maximumBytes = 4 << 20

    /// Reads a key file. It is refused when others than its owner may read or write it.
    package convenience init(file: String) throws(Complaints) {
        func refuse(_ what: String, _ suggestion: String) -> Complaints {
            Complaints(all: [
                Complaint(file: file, line: 1, column: 1, what: what, suggestion: suggestion)
            ])
        }
        guard let mode = FileBytes.mode(file) else {
            throw refuse("cannot be read", "check that it exists and may be read")
        }
        guard mode & 0o077 == 0 else {
            throw refuse("keys that others may read", "chmod 0600 \(file)")
        }
        guard let bytes = FileBytes.read(file, limit: DeviceKeys.maximumBytes + 1),
            bytes.count <= DeviceKeys.maximumBytes
        else { throw refuse("cannot be read, or is larger than 4 MiB", "split it") }
        try self.init(text: bytes, file: file)
    }

    package convenience init(text: [UInt8], file: String) throws(Complaints) {
        let root: JSONNode
        do throws(Complaint) {
            root = try JSONNode.parse(text, file: file)
        } catch { throw Complaints(all: [error]) }
        var complaints: [Complaint] = []
        func complain(_ line: Int, _ column: Int, _ what: String, _ suggestion: String) {
            complaints.append(
                Complaint(
                    file: file, line: line, column: column, what: what, suggestion: suggestion))
        }
        for member in root.members ?? [] where member.key != "keys" {
            complain(
                member.line, member.column, "unknown key \"\(member.key)\"", "write keys: { … }")
        }
        if root["keys"]?.members == nil {
            complain(root.line, root.column, "no keys", "write { keys: { \"identity\": \"hex\" } }")
        }
        var rows: [Row] = []
        for member in root["keys"]?.members ?? [] {
            guard let device = member.key == "*" ? .empty : DeviceKey(member.key) else {
                complain(
                    member.line, member.column, "\"\(member.key)\" is no identity",
                    "write \"ACW.09011523.07\" or \"*\"")
                continue
            }
            // What is wrong with a key is said without showing it.
            guard let key = DeviceKeys.block(member.value.string ?? "") else {
                complain(
                    member.value.line, member.value.column,
                    "the key of \"\(member.key)\" is not 32 hex digits", "write 16 bytes as hex")
                continue
            }
            if rows.contains(where: { $0.high == device.high && $0.low == device.low }) {
                complain(
                    member.line, member.column, "\"\(member.key)\" stands twice", "remove one")
            }
            rows.append(Row(device: device, key: key))
        }
        guard complaints.isEmpty else { throw Complaints(all: complaints) }
        self.init(rows: rows)
    }

    static func block(_ hex: String) -> Block128? {
        guard let bytes = HexText.bytes(hex), bytes.count == 16 else { return nil }
        var block = Block128()
        for (i, byte) in bytes.enumerated() { block[i] = byte }
        return block
    }
}

extension FileBytes {
    /// Permission bits of the file; nil when it cannot be looked at.
    static func mode(_ path: String) -> UInt32? {
        var status = stat()
        // Safety: stat reads the NUL-terminated path and writes the structure for the call only.
        guard unsafe stat(path, &status) == 0 else { return nil }
        return status.st_mode & 0o777
    }
}
