// The shared captures' index and the vector rows it names, and their replay into a gateway by
// `sluice replay`. Used by the capture tests, on their thread.

import Field
import Formats
import Model
import Testing

enum SharedCapture {
    /// One frame of the index: its vector row, and the refusal that it must meet.
    struct Named {
        var id: String
        var error: String?
        var row: JSONNode
    }

    static let folder = (Place.shared ?? "") + "/captures/"

    static func index(_ file: String) throws -> JSONNode {
        let all = try JSONNode.parse(Files.read(folder + "index.json"), file: "index.json")
        return try #require(all.array?.first { $0["file"]?.string == file })
    }

    static func rows(_ kind: String) throws -> [String: JSONNode] {
        let path = (Place.shared ?? "") + "/vectors/\(kind).jsonl"
        var rows: [String: JSONNode] = [:]
        for line in try Files.read(path).split(separator: 0x0A) {
            let row = try JSONNode.parse(Array(line), file: kind)
            if let id = row["id"]?.string { rows[id] = row }
        }
        return rows
    }

    static func named(_ list: [JSONNode], _ kind: String) throws -> [Named] {
        let rows = try rows(kind)
        return try list.map { entry in
            let id = entry["vector"]?.string ?? ""
            return Named(id: id, error: entry["error"]?.string, row: try #require(rows[id]))
        }
    }

    /// The frame of a row.
    static func bytes(_ row: JSONNode) throws -> [UInt8] {
        try #require(row["hex"]?.string.flatMap { Hex.bytes($0) })
    }

    /// What `sluice replay` says that it did.
    @discardableResult
    static func replay(
        _ file: String, _ district: District, source: Int, _ more: [String] = []
    ) throws -> JSONNode {
        let done = try run(
            "sluice",
            [
                "replay", folder + file, "--speed", "max", "--json", "--to",
                district.targets[source].description,
            ] + more, in: district.folder.path, within: 60)
        #expect(done.status == 0, "\(file): \(done.errors)")
        return try parsed(done.output)
    }

    /// Refusals by reason, as the index has them.
    static func errors(_ list: [JSONNode]) -> [String: UInt64] {
        var reasons: [String: UInt64] = [:]
        for entry in list {
            if let error = entry["error"]?.string { reasons[error, default: 0] += 1 }
        }
        return reasons
    }

    /// The ledger's refusals that are not 0.
    static func refused(_ ledger: LedgerReport) -> [String: UInt64] {
        var reasons: [String: UInt64] = [:]
        for reason in Rejection.allCases {
            let count = ledger.count("rejected.\(reason.code)")
            if count > 0 { reasons[reason.code] = count }
        }
        return reasons
    }
}
