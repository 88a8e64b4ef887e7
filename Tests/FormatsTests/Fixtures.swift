// Support of the format tests: the repository's files, the formats, frames of the vectors, a seeded
// generator of random numbers.

import Formats
import Model

/// Paths from the place of this file.
enum Repository {
    static let root: String = {
        var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        parts.removeLast(3)
        return parts.joined(separator: "/")
    }()

    static func text(_ path: String) -> String {
        String(decoding: bytes(path), as: UTF8.self)
    }

    static func bytes(_ path: String) -> [UInt8] {
        FileBytes.read(root + "/" + path, limit: 1 << 24) ?? []
    }
}

enum Fixtures {
    static let library: Result<FormatLibrary, Complaints> = {
        do throws(Complaints) {
            return .success(try FormatLibrary(directory: Repository.root + "/protocols"))
        } catch { return .failure(error) }
    }()

    static func format(_ name: String) throws -> Format {
        guard let format = try library.get().format(named: name) else { throw NoFormat(name: name) }
        return format
    }

    struct NoFormat: Error { var name: String }

    /// A frame of the vectors with the format that decodes it.
    struct Row {
        var id: String
        var format: Format
        var bytes: [UInt8]
        var direction: Direction
        var isError: Bool
        var isStream: Bool
    }

    static func rows() throws -> [Row] {
        var rows: [Row] = []
        for name in [
            "dlt645", "modbus-rtu", "vendor", "cjt188", "modbus-tcp", "cayennelpp", "hj212",
            "sl651", "jt808", "gb26875", "mbus", "wmbus",
        ] {
            for line in Repository.bytes("fixtures/vectors/\(name).jsonl").split(separator: 0x0A) {
                let node = try JSONNode.parse(Array(line), file: name)
                let expect = node["expect"]
                rows.append(
                    Row(
                        id: node["id"]?.string ?? "",
                        format: try format(expect?["profile"]?.string ?? name),
                        bytes: HexText.bytes(node["hex"]?.string ?? "") ?? [],
                        direction: node["direction"]?.string == "down" ? .down : .up,
                        isError: expect?["error"] != nil, isStream: expect?["frames"] != nil))
            }
        }
        return rows
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators".
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// What decoding a frame gives: the rejection, or nil.
func rejection(
    _ decoder: Decoder, _ bytes: [UInt8], _ direction: Direction, into frame: inout DecodedFrame
) -> Rejection? {
    do throws(Rejection) {
        try decoder.decode(bytes.span, direction: direction, into: &frame)
        return nil
    } catch { return error }
}
