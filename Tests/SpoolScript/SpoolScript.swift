// What the tests kill, trace and measure: one run over a spool. `spool-script DIRECTORY STEPS
// [BYTES]` says on
// stdout what is durable, line by line as soon as it is:
//
//     open NEXT            first journal position of this run
//     frames POSITION      every frame before it
//     cut LAST             every batch up to that sequence
//     acknowledged N       batches that the store is known to have
//     refused WHAT         a verb that failed; it is tried again up to three times

import Glibc
import Model
import Spool

@main
enum SpoolScript {
    static func main() {
        let arguments = CommandLine.arguments
        if arguments.count == 4, arguments[1] == "check" {
            ScriptCheck.main(arguments[2], arguments[3])
        }
        guard arguments.count >= 3, let steps = Int(arguments[2]) else { exit(2) }
        let bytes = arguments.count > 3 ? Int(arguments[3]) ?? 3000 : 3000
        var settings = SpoolSettings()
        settings.segmentBytes = bytes * 12
        settings.duplicateWindow = 1000
        do throws(SpoolError) {
            try run(arguments[1], steps, bytes, settings)
        } catch {
            say("refused \(error)")
            exit(1)
        }
    }

    static func say(_ text: String) {
        let line = Array((text + "\n").utf8)
        // Safety: the array is valid for its own count during the call.
        _ = unsafe write(1, line, line.count)
    }

    static func run(
        _ directory: String, _ steps: Int, _ bytes: Int, _ settings: SpoolSettings
    ) throws(SpoolError) {
        let spool = try Spool(directory: directory, settings: settings)
        let first = spool.nextPosition(intake: 0)
        say("open \(first)")
        var buffer = JournalBuffer(intake: 0, capacity: 4096, firstPosition: first)
        var random = SplitMix64(seed: first)
        var acknowledged = spool.counters.lastSequence
        for step in 1...steps {
            for _ in 0..<3 {
                let position = buffer.nextPosition
                let frame = (0..<40).map {
                    UInt8(truncatingIfNeeded: position >> UInt64($0 % 8 * 8))
                }
                buffer.append(
                    frame.span, source: 0, receivedAt: Timestamp(milliseconds: Int64(step) * 100))
            }
            let source = JournalSource(name: "script", format: "f")
            let part = buffer.take(sources: [source], counters: IntakeCounters())
            try again { () throws(SpoolError) in try spool.append([part]) }
            say("frames \(part.nextPosition)")
            guard step % 3 == 0 else { continue }
            let batch = CutBatch(
                bytes: (0..<bytes).map { _ in UInt8.random(in: 0...255, using: &random) },
                readings: 9, priority: Priority.allCases[step % 3 == 0 ? step / 3 % 3 : 1],
                bucketStart: Timestamp(milliseconds: 0), revision: 0,
                firstObservedAt: Timestamp(milliseconds: 0),
                lastObservedAt: Timestamp(milliseconds: 0))
            let cut = EpochCut(
                epoch: spool.lastEpoch + 1, batches: [batch], covered: [buffer.nextPosition],
                counters: [IntakeCounters()], revisions: [])
            try again { () throws(SpoolError) in _ = try spool.commit(cut) }
            say("cut \(spool.counters.lastSequence)")
            guard step % 6 == 0 else { continue }
            acknowledged += 1
            try again { () throws(SpoolError) in try spool.acknowledge([acknowledged]) }
            say("acknowledged \(acknowledged)")
        }
        spool.close()
    }

    static func again(_ body: () throws(SpoolError) -> Void) throws(SpoolError) {
        for _ in 0..<3 {
            do throws(SpoolError) { return try body() } catch { say("refused \(error)") }
        }
        try body()
    }
}

/// `spool-script check DIRECTORY LOG`: is everything there that the log says? Exit 1 and a line
/// for each
/// thing that is not.
enum ScriptCheck {
    static func main(_ directory: String, _ log: String) {
        var frames: UInt64 = 0
        var last: UInt64 = 0
        for line in text(of: log).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let number = UInt64(words[1]) else { continue }
            if words[0] == "frames" { frames = max(frames, number) }
            if words[0] == "cut" { last = max(last, number) }
        }
        var faults: [String] = []
        do throws(SpoolError) {
            let spool = try Spool(directory: directory)
            let covered = spool.coveredPosition(intake: 0)
            var found: Set<UInt64> = []
            let lost = try spool.recover { frame, bytes in
                let isRight = (0..<bytes.count).allSatisfy {
                    bytes[$0] == UInt8(truncatingIfNeeded: frame.position >> UInt64($0 % 8 * 8))
                }
                if isRight { found.insert(frame.position) }
            }
            if lost.contains(where: { $0 > 0 }) { faults.append("lost \(lost)") }
            let missing = (min(covered, frames)..<frames).filter { !found.contains($0) }
            if !missing.isEmpty { faults.append("frames missing: \(missing)") }
            if spool.counters.lastSequence < last {
                faults.append("cut \(last) missing: \(spool.counters.lastSequence)")
            }
            if spool.counters.unaccounted != 0 {
                faults.append("unaccounted \(spool.counters.unaccounted)")
            }
            for lane in Priority.allCases {
                let pending = spool.details.batchesPending[lane]
                let leased = try spool.lease(
                    lane: lane, after: 0, limit: .max, maximumBytes: 1 << 40)
                if UInt64(leased.count) != pending {
                    faults.append("\(lane): \(leased.count) of \(pending) batches")
                }
            }
            faults += spool.warnings.map { "warning: \($0)" }
        } catch {
            faults.append("\(error)")
        }
        for fault in faults { SpoolScript.say(fault) }
        exit(faults.isEmpty ? 0 : 1)
    }

    private static func text(of path: String) -> String {
        // Safety: Swift lends the text with its ending zero for the call.
        let descriptor = unsafe open(path, O_RDONLY)
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while descriptor >= 0 {
            // Safety: the array is valid for its own count during the call.
            let n = unsafe read(descriptor, &part, part.count)
            if n <= 0 { break }
            all += part[..<n]
        }
        return String(decoding: all, as: UTF8.self)
    }
}
