// The spool as the gateway uses it: commits of one 64 KB batch with 64 of them waiting, eight acknowledged
// at a time; bytes that the process hands to the kernel for each byte of payload; beside the bare flush of
// the same folder in turns; then how long a full spool takes to open. Real files: give --folder of the disk
// in question.

import Batches
import Formats
import Glibc
import Host
import Model
import Spool

struct SpoolBench {
    private static let batchBytes = 64 << 10
    private static let waiting = 64
    private static let acknowledgedTogether = 8

    private var commits = Latencies()
    private var flushes = Latencies()
    private var payload = 0
    private var written: UInt64 = 0
    private var writtenByDevice: UInt64 = 0
    private var openings: [(name: String, seconds: Double)] = []

    static func run(_ invocation: Invocation, _ console: Console) throws(UsageError) -> RunStatus {
        let megabytes = try invocation.integer("megabytes", in: 1...4096, default: 64)
        if let directory = invocation.text("fill") {
            return fill(directory, bytes: megabytes << 20, console)
        }
        let parent = invocation.text("folder")
        var folder = ""
        do throws(FileError) {
            if let parent {
                folder = parent + "/sluice-bench-\(getpid())"
                try Files.makeFolder(folder)
            } else {
                folder = try Files.makeTemporaryFolder("sluice-bench")
            }
        } catch {
            console.complain(
                "sluice: bench spool: \(error.path): \(error.why): name another folder")
            return .foundWrong
        }
        defer { Files.removeTree(folder) }
        var bench = SpoolBench()
        console.progress("measuring…")
        do throws(SpoolError) {
            try bench.commits(folder, batches: max(200, megabytes * 16))
            try bench.opening(folder, bytes: megabytes << 20)
        } catch {
            console.complain("sluice: bench spool: \(error): see the disk of \(folder)")
            return .foundWrong
        }
        bench.write(invocation.has("json"), megabytes, console)
        return .done
    }

    // MARK: Commits

    private mutating func commits(_ folder: String, batches: Int) throws(SpoolError) {
        let spool = try Spool(directory: folder + "/commits")
        guard let flush = BareFlush(folder + "/bare") else {
            throw .directory(path: folder, reason: Files.lastError())
        }
        var random = SplitMix64(seed: 1)
        var pending: [UInt64] = []
        for epoch in 1...UInt64(batches) {
            let cut = SpoolBench.cut(epoch, &random)
            // A steady queue first; then what is measured.
            let isMeasured = epoch > UInt64(SpoolBench.waiting * 2)
            let before = ProcessBytes.now()
            let begun = SendingClock.now
            if let range = try spool.commit(cut) { pending += Array(range) }
            let took = SendingClock.now - begun
            if pending.count >= SpoolBench.waiting + SpoolBench.acknowledgedTogether {
                try spool.acknowledge(Array(pending.prefix(SpoolBench.acknowledgedTogether)))
                pending.removeFirst(SpoolBench.acknowledgedTogether)
            }
            guard isMeasured else { continue }
            let after = ProcessBytes.now()
            commits.add(took)
            payload += SpoolBench.batchBytes
            written += after.written &- before.written
            writtenByDevice += after.device &- before.device
            let at = SendingClock.now
            flush.append(cut.batches[0].bytes)
            flushes.add(SendingClock.now - at)
        }
        spool.close()
    }

    private static func cut(_ epoch: UInt64, _ random: inout SplitMix64) -> EpochCut {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(batchBytes)
        for _ in 0..<batchBytes / 8 {
            let word = random.next()
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        let time = Timestamp(milliseconds: 1_795_000_000_000 + Int64(epoch) * 1000)
        let batch = CutBatch(
            bytes: bytes, readings: 10_000, priority: .live, bucketStart: time, revision: 0,
            firstObservedAt: time, lastObservedAt: time)
        return EpochCut(
            epoch: epoch, batches: [batch], covered: [epoch], counters: [IntakeCounters()],
            revisions: [])
    }

    // MARK: Opening

    private mutating func opening(_ folder: String, bytes: Int) throws(SpoolError) {
        let path = folder + "/full"
        var settings = SpoolSettings()
        settings.maximumBytes = max(settings.maximumBytes, bytes * 2)
        var random = SplitMix64(seed: 2)
        try fill(path, settings, bytes, &random)
        // Left as after a crash, then closed in order.
        for name in ["after a crash", "after a stop"] {
            let begun = SendingClock.now
            let spool = try Spool(directory: path, settings: settings)
            openings.append((name, Double(SendingClock.now - begun) / 1e9))
            precondition(spool.counters.batchesPending > 0, "the spool is full")
            spool.close()
        }
    }

    private func fill(
        _ path: String, _ settings: SpoolSettings, _ bytes: Int, _ random: inout SplitMix64
    ) throws(SpoolError) {
        let spool = try Spool(directory: path, settings: settings)
        for epoch in 1...UInt64(max(1, bytes / SpoolBench.batchBytes)) {
            _ = try spool.commit(SpoolBench.cut(epoch, &random))
        }
    }

    /// Adds batches that a store takes to a stopped gateway's spool: noise, of streams that it has. They
    /// are readings that never came, so that its ledger counts them as received and never decoded.
    private static func fill(_ directory: String, bytes: Int, _ console: Console) -> RunStatus {
        var random = SplitMix64(seed: 3)
        var encoder = BatchEncoder()
        var left = bytes
        do throws(SpoolError) {
            let spool = try Spool(directory: directory)
            let covered = [spool.coveredPosition(intake: 0)]
            let counters = spool.recoveredCounters()
            var epoch = spool.lastEpoch
            while left > 0 {
                epoch += 1
                let start = 1_795_000_000_000 + Int64(epoch) * 10_000
                let readings = (0..<8000).map { index in
                    Reading(
                        stream: StreamID(1 + UInt32(index) % 5),
                        value: .decimal(Int64(truncatingIfNeeded: random.next() >> 8)), quality: [],
                        observedAt: Timestamp(milliseconds: start + Int64(index)),
                        receivedAt: Timestamp(milliseconds: start + Int64(index)))
                }
                let sealed = encoder.encode(
                    readings.span, bucketStart: Timestamp(milliseconds: start),
                    bucketMilliseconds: 10_000, revision: 0, priority: .live, effort: .normal)
                let batch = CutBatch(
                    bytes: sealed.bytes, readings: readings.count, priority: .live,
                    bucketStart: sealed.info.bucketStart, revision: 0,
                    firstObservedAt: sealed.info.firstObservedAt,
                    lastObservedAt: sealed.info.lastObservedAt)
                _ = try spool.commit(
                    EpochCut(
                        epoch: epoch, batches: [batch], covered: covered, counters: counters,
                        revisions: []))
                left -= sealed.bytes.count
            }
            spool.close()
        } catch {
            console.complain("sluice: bench spool: \(error): stop the gateway first")
            return .foundWrong
        }
        return .done
    }

    // MARK: What is printed

    private func write(_ asJSON: Bool, _ megabytes: Int, _ console: Console) {
        let amplification = Double(written) / Double(max(1, payload))
        let device = Double(writtenByDevice) / Double(max(1, payload))
        if asJSON {
            console.line(
                JSON.object([
                    ("writeAmplification", .literal(Words.fixed(amplification, 3))),
                    ("deviceWriteAmplification", .literal(Words.fixed(device, 3))),
                    ("commits", .integer(Int64(commits.count))), ("commitMs", commits.json),
                    ("bareFlushMs", flushes.json),
                    ("spoolMegabytes", .integer(Int64(megabytes))),
                    ("openAfterCrashSeconds", .literal(Words.fixed(openings[0].seconds, 3))),
                    ("openAfterStopSeconds", .literal(Words.fixed(openings[1].seconds, 3))),
                ]).text(pretty: true))
            return
        }
        console.line(
            "write amplification \(Words.fixed(amplification, 2)) (to the device \(Words.fixed(device, 2)))"
                + " at commits of 64 KB, 64 batches waiting")
        console.line("commit      \(commits.words)")
        console.line("bare flush  \(flushes.words) (64 KB appended, fdatasync, in turns)")
        for (name, seconds) in openings {
            console.line("a spool of \(megabytes) MB opens in \(Words.fixed(seconds, 3)) s \(name)")
        }
    }
}

/// What this process handed to the kernel, and what was sent to devices for it (proc(5), io).
private struct ProcessBytes {
    var written: UInt64 = 0
    var device: UInt64 = 0

    static func now() -> ProcessBytes {
        var found = ProcessBytes()
        guard let bytes = try? Files.read("/proc/self/io", limit: 4096) else { return found }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let number = UInt64(words[1]) else { continue }
            if words[0] == "wchar:" { found.written = number }
            if words[0] == "write_bytes:" { found.device = number }
        }
        return found
    }
}

/// A file that is appended to and flushed: what the disk itself takes.
private final class BareFlush {
    private let descriptor: Int32

    init?(_ path: String) {
        // Safety: Swift lends the text with its ending zero for the call.
        descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return nil }
    }

    deinit { close(descriptor) }

    func append(_ bytes: [UInt8]) {
        // Safety: the array is valid for its own count during the call.
        let count = unsafe Glibc.write(descriptor, bytes, bytes.count)
        precondition(count == bytes.count && fdatasync(descriptor) == 0, "the disk takes 64 KB")
    }
}
