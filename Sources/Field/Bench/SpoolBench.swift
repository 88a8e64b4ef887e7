// The spool as the gateway uses it: group commits of 64 KB of journal, a cut of one 48 KB batch after each
// twelve; then commits of one 64 KB batch each, a cut a commit, the worst that a cut may cost; 64 batches
// wait, eight are acknowledged at a time. Bytes that the process hands to the kernel for each byte of
// payload, beside the bare flush of the same folder in turns; then how long a full spool takes to open.
// Real files: give --folder of the disk in question.

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

    /// What a kind of commit took and wrote.
    private struct Cost {
        var commits = Latencies()
        var payload = 0
        var written: UInt64 = 0
        var writtenByDevice: UInt64 = 0

        var amplification: Double { Double(written) / Double(max(1, payload)) }
        var deviceAmplification: Double { Double(writtenByDevice) / Double(max(1, payload)) }

        mutating func add(_ bytes: Int, since before: ProcessBytes) {
            let after = ProcessBytes.now()
            payload += bytes
            written += after.written &- before.written
            writtenByDevice += after.device &- before.device
        }
    }

    private var journal = Cost()
    private var batches = Cost()
    private var flushes = Latencies()
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
            try bench.groupCommits(folder, parts: max(240, megabytes * 16))
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

    /// The journal's parts carry 880 frames of the reference sensor's size, of noise.
    private mutating func groupCommits(_ folder: String, parts: Int) throws(SpoolError) {
        let spool = try Spool(directory: folder + "/journal")
        var pending = Waiting()
        var buffer = JournalBuffer(intake: 0, capacity: 1 << 17)
        var random = SplitMix64(seed: 4)
        let sources = [JournalSource(name: "bench", format: "bench")]
        for number in 1...UInt64(parts) {
            let noise = SpoolBench.noise(ReferenceFrame.size * 880, &random)
            let time = Timestamp(milliseconds: 1_795_000_000_000 + Int64(number) * 50)
            for i in 0..<880 {
                let frame = i * ReferenceFrame.size..<(i + 1) * ReferenceFrame.size
                buffer.append(noise.span.extracting(frame), source: 0, receivedAt: time)
            }
            let part = buffer.take(sources: sources, counters: IntakeCounters())
            let isMeasured = number > 120
            let before = ProcessBytes.now()
            var bytes = part.bytes.count
            let begun = SendingClock.now
            try spool.append([part])
            let took = SendingClock.now - begun
            if number % 12 == 0 {
                let cut = SpoolBench.cut(
                    number / 12, batchBytes: 48 << 10, covered: part.nextPosition, &random)
                bytes += cut.batches[0].bytes.count
                try pending.commit(cut, to: spool)
            }
            guard isMeasured else { continue }
            journal.commits.add(took)
            journal.add(bytes, since: before)
        }
        spool.close()
    }

    private mutating func commits(_ folder: String, batches count: Int) throws(SpoolError) {
        let spool = try Spool(directory: folder + "/commits")
        guard let flush = BareFlush(folder + "/bare") else {
            throw .directory(path: folder, reason: Files.lastError())
        }
        var random = SplitMix64(seed: 1)
        var pending = Waiting()
        for epoch in 1...UInt64(count) {
            let cut = SpoolBench.cut(
                epoch, batchBytes: SpoolBench.batchBytes, covered: epoch, &random)
            // A steady queue first; then what is measured.
            let isMeasured = epoch > UInt64(SpoolBench.waiting * 2)
            let before = ProcessBytes.now()
            let took = try pending.commit(cut, to: spool)
            guard isMeasured else { continue }
            batches.commits.add(took)
            batches.add(SpoolBench.batchBytes, since: before)
            let at = SendingClock.now
            flush.append(cut.batches[0].bytes)
            flushes.add(SendingClock.now - at)
        }
        spool.close()
    }

    /// What waits for the store.
    private struct Waiting {
        private var pending: [UInt64] = []

        /// Nanoseconds of the commit.
        @discardableResult
        mutating func commit(_ cut: EpochCut, to spool: Spool) throws(SpoolError) -> Int64 {
            let begun = SendingClock.now
            if let range = try spool.commit(cut) { pending += Array(range) }
            let took = SendingClock.now - begun
            if pending.count >= SpoolBench.waiting + SpoolBench.acknowledgedTogether {
                try spool.acknowledge(Array(pending.prefix(SpoolBench.acknowledgedTogether)))
                pending.removeFirst(SpoolBench.acknowledgedTogether)
            }
            return took
        }
    }

    private static func noise(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        for _ in 0..<count / 8 {
            let word = random.next()
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return bytes
    }

    private static func cut(
        _ epoch: UInt64, batchBytes: Int, covered: UInt64, _ random: inout SplitMix64
    ) -> EpochCut {
        let bytes = noise(batchBytes, &random)
        let time = Timestamp(milliseconds: 1_795_000_000_000 + Int64(epoch) * 1000)
        let batch = CutBatch(
            bytes: bytes, readings: 10_000, priority: .live, bucketStart: time, revision: 0,
            firstObservedAt: time, lastObservedAt: time)
        return EpochCut(
            epoch: epoch, batches: [batch], covered: [covered], counters: [IntakeCounters()],
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
            _ = try spool.commit(
                SpoolBench.cut(
                    epoch, batchBytes: SpoolBench.batchBytes, covered: epoch, &random))
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
        if asJSON {
            func number(_ value: Double) -> JSON { .literal(Words.fixed(value, 3)) }
            console.line(
                JSON.object([
                    ("writeAmplification", number(journal.amplification)),
                    ("deviceWriteAmplification", number(journal.deviceAmplification)),
                    ("batchWriteAmplification", number(batches.amplification)),
                    ("batchDeviceWriteAmplification", number(batches.deviceAmplification)),
                    ("groupCommits", .integer(Int64(journal.commits.count))),
                    ("groupCommitMs", journal.commits.json),
                    ("commits", .integer(Int64(batches.commits.count))),
                    ("commitMs", batches.commits.json),
                    ("bareFlushMs", flushes.json),
                    ("spoolMegabytes", .integer(Int64(megabytes))),
                    ("openAfterCrashSeconds", number(openings[0].seconds)),
                    ("openAfterStopSeconds", number(openings[1].seconds)),
                ]).text(pretty: true))
            return
        }
        for (cost, name) in [
            (journal, "at group commits of 64 KB, a cut of 48 KB after each twelve"),
            (batches, "at cuts of one 64 KB batch"),
        ] {
            console.line(
                "write amplification \(Words.fixed(cost.amplification, 2)) (to the device "
                    + "\(Words.fixed(cost.deviceAmplification, 2))) \(name)")
        }
        console.line("group commit  \(journal.commits.words)")
        console.line("cut           \(batches.commits.words)")
        console.line("bare flush    \(flushes.words) (64 KB appended, fdatasync, in turns)")
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
