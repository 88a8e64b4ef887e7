// Frames of the stream protocols for the tests of this folder: rows of the vector files that are one
// whole frame of a device, good ones and such with a wrong checksum. Of the project's shared folder
// where it is there, else of the fixtures.

import Formats
import Model
import Pipeline
import Simulator
import Spool
import Testing

struct StreamRows: Sendable, CustomTestStringConvertible {
    struct Row: Sendable {
        var id: String
        var bytes: [UInt8]
    }

    let format: String
    private(set) var good: [Row] = []
    /// Whole frames that a checksum refuses.
    private(set) var bad: [Row] = []

    var testDescription: String { format }

    /// The protocols whose frames find their borders by themselves.
    static let all: [StreamRows] = [
        "hj212", "jt808", "sl651", "gb26875", "dlt645", "cjt188", "mbus", "modbus-tcp",
        "modbus-rtu",
    ].map(StreamRows.init)

    /// Nothing in its frames tells a changed one from a good one.
    var hasChecksum: Bool { format != "modbus-tcp" }

    private init(_ format: String) {
        self.format = format
        let paths = ["/../shared/vectors/", "/fixtures/vectors/"].map {
            Formats.root + $0 + format + ".jsonl"
        }
        let text = paths.lazy.compactMap { FileBytes.read($0, limit: 1 << 22) }.first ?? []
        for line in text.split(separator: 0x0A) {
            guard let row = try? JSONNode.parse(Array(line), file: format),
                row["direction"]?.string == "up", let id = row["id"]?.string,
                let bytes = HexText.bytes(row["hex"]?.string ?? ""), let expect = row["expect"],
                expect["frames"] == nil
            else { continue }
            switch expect["error"]?.string {
            case nil: good.append(Row(id: id, bytes: bytes))
            case "bad-checksum": bad.append(Row(id: id, bytes: bytes))
            default: break
            }
        }
    }
}

/// One intake with one connection over which a test sends pieces.
final class StreamRig {
    let rig: IntakeRig
    private(set) var held: [UInt8] = []

    convenience init(_ format: String) { self.init([format]) }

    init(_ formats: [String]) {
        rig = IntakeRig(
            sources: [IntakeRig.source(formats)],
            settings: IntakeRig.settings { $0.commitBytes = 1 << 20 })
    }

    func send(_ piece: ArraySlice<UInt8>) {
        held += piece
        while true {
            let progress = rig.stream(held)
            held.removeFirst(progress.consumed)
            rig.endTurn()
            _ = rig.drain()
            guard progress.isSuspended else { return }
            rig.pass(milliseconds: 250)
            rig.commit()
        }
    }

    func end() {
        rig.stage.connectionEnded(ConnectionID(1), source: 0, unconsumed: held.count)
        held = []
        rig.endTurn()
    }

    /// Decoded, control and duplicate.
    var accepted: Int {
        Int(
            rig.counters.framesDecoded + rig.counters.framesControl + rig.counters.framesDuplicate)
    }

    /// Refused as they came.
    var rejected: Int { Int(rig.counters.framesReceived) - accepted }

    /// The decoded frames, in order, as the journal holds them.
    func journaled() -> [[UInt8]] {
        rig.stage.flush()
        return rig.parts.flatMap { part -> [[UInt8]] in
            guard let frames = try? frames(of: part) else {
                Issue.record("a part of the journal that cannot be read")
                return []
            }
            // That a body was given up is a mark, not a frame.
            return frames.filter { !$0.source.format.hasSuffix("+incomplete") }.map(\.bytes)
        }
    }
}
