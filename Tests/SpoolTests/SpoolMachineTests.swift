// The same rows with the machine's own means: a small tmpfs, a read-only remount, strace that kills
// before a system call or makes it fail. Where the machine has them not, the tests are skipped by
// their names.

import Model
import TestSupport
import Testing

@testable import Spool

private let script = Shell.programs + "/spool-script"
private let mounts = Shell.isRoot && Shell.has("mount")

private func cut(_ epoch: UInt64, _ lane: Priority, _ size: Int, covered: UInt64 = 0) -> EpochCut {
    EpochCut(
        epoch: epoch,
        batches: [
            CutBatch(
                bytes: [UInt8](repeating: UInt8(truncatingIfNeeded: epoch), count: size),
                readings: 1, priority: lane, bucketStart: Timestamp(milliseconds: 0), revision: 0,
                firstObservedAt: Timestamp(milliseconds: 0),
                lastObservedAt: Timestamp(milliseconds: 0))
        ], covered: [covered], counters: [IntakeCounters()], revisions: [])
}

@Suite(.serialized) struct SpoolMachineTests {
    let folder = TemporaryFolder()

    // MARK: Mounts

    @Test("row 4: a device smaller than the quota: evicts by class, goes on", .enabled(if: mounts))
    func smallDevice() throws {
        let disk = try #require(Shell.SmallDisk(folder.path + "/disk", bytes: 6 << 20))
        let spool = try Spool(directory: disk.path + "/spool")
        for epoch in 1...600 {
            try spool.commit(cut(UInt64(epoch), epoch % 10 == 0 ? .alarm : .backlog, 20_000))
        }
        #expect(spool.details.readingsEvicted.backlog > 200)
        #expect(spool.details.readingsEvicted.alarm == 0)
        #expect(spool.counters.unaccounted == 0)
        let alarms = try spool.lease(lane: .alarm, after: 0, limit: 999, maximumBytes: 1 << 30)
        #expect(alarms.count == 60)
        try spool.acknowledge(alarms.map(\.sequence))
        #expect(spool.counters.batchesAcknowledged == 60)
    }

    @Test(
        "row 4: somebody else fills the device: the backlog drains, and room comes back",
        .enabled(if: mounts))
    func filledDevice() throws {
        let disk = try #require(Shell.SmallDisk(folder.path + "/disk", bytes: 24 << 20))
        var settings = SpoolSettings()
        settings.maximumBytes = 16 << 20
        let spool = try Spool(directory: disk.path + "/spool", settings: settings)
        for epoch in 1...200 { try spool.commit(cut(UInt64(epoch), .live, 30_000)) }
        #expect(spool.counters.readingsEvicted == 0)
        _ = Shell.run("dd if=/dev/zero of='\(disk.path)/filler' bs=64k")
        #expect(Shell.run("df --output=avail '\(disk.path)' | tail -1").output.contains(" 0"))
        // The store takes batches: every verdict is written down, on a full device.
        var drained = 0
        for _ in 0..<20 {
            let leased = try spool.lease(lane: .live, after: 0, limit: 5, maximumBytes: 1 << 20)
            try spool.acknowledge(leased.map(\.sequence))
            drained += leased.count
        }
        #expect(drained == 100 && spool.counters.batchesAcknowledged == 100)
        // What comes in meanwhile finds the room that the drain made, or makes some.
        for epoch in 201...230 { try spool.commit(cut(UInt64(epoch), .live, 30_000)) }
        #expect(spool.counters.unaccounted == 0)
        _ = Shell.run("rm '\(disk.path)/filler'")
        for epoch in 231...240 { try spool.commit(cut(UInt64(epoch), .live, 30_000)) }
        #expect(TemporaryFolder.list(disk.path + "/spool").contains("ballast"))
        TemporaryFolder.copy(disk.path + "/spool", to: folder.path + "/copy")
        let again = try Spool(directory: folder.path + "/copy", settings: settings)
        #expect(again.counters == spool.counters && again.warnings.isEmpty)
    }

    @Test("row 7: a device remounted read-only and back", .enabled(if: mounts))
    func readOnly() throws {
        let disk = try #require(Shell.SmallDisk(folder.path + "/disk", bytes: 32 << 20))
        do {
            let spool = try Spool(directory: disk.path + "/spool")
            for epoch in 1...10 { try spool.commit(cut(UInt64(epoch), .live, 10_000)) }
        }
        #expect(disk.remount("ro"))
        let failure = #expect(throws: SpoolError.self) {
            _ = try Spool(directory: disk.path + "/spool")
        }
        #expect(failure?.mayPass == true)
        #expect(disk.remount("rw"))
        let spool = try Spool(directory: disk.path + "/spool")
        #expect(spool.counters.batchesPending == 10 && spool.warnings.isEmpty)
        try spool.commit(cut(11, .live, 10_000))
    }

    // MARK: strace

    /// Runs the script with `inject` at the `when`th call; what the spool then does not have of
    /// what was
    /// said; nil when the script came to its end.
    private func trace(_ calls: String, _ inject: String, when: String) -> (String?, Bool) {
        let (directory, log) = (folder.path + "/traced", folder.path + "/log")
        _ = Shell.run("rm -rf '\(directory)'")
        let run = Shell.run(
            "strace -f -o /dev/null -e trace=\(calls) -e inject=\(calls):\(inject):when=\(when)"
                + " '\(script)' '\(directory)' 12 >'\(log)' 2>/dev/null")
        let check = Shell.run(
            "test ! -e '\(directory)' || '\(script)' check '\(directory)' '\(log)'")
        return (check.status == 0 ? nil : check.output, run.status == 0)
    }

    @Test(
        "row 2: a kill before each system call that changes something",
        .enabled(if: Shell.has("strace")),
        arguments: [
            "fdatasync,fsync,unlink,rename,ftruncate,fallocate,mkdir", "pwrite64", "openat",
        ])
    func kill(calls: String) throws {
        // A write is one of many of its kind: every third.
        let step = calls == "pwrite64" ? 3 : 1
        var at = 1
        while true {
            let (fault, isOver) = trace(calls, "signal=SIGKILL", when: String(at))
            #expect(fault == nil, "before call \(at) of \(calls): \(fault ?? "")")
            if isOver { break }
            at += step
            try #require(at < 1000)
        }
        #expect(at > 10)
    }

    @Test(
        "rows 5, 6: system calls that fail, once and in bursts", .enabled(if: Shell.has("strace")),
        arguments: [
            ("fdatasync", "EIO", 0), ("fdatasync", "EIO", 4), ("pwrite64", "EIO", 0),
            ("pwrite64", "ENOSPC", 3), ("pread64", "EIO", 0), ("ftruncate,unlink,fsync", "EIO", 0),
        ])
    func fail(calls: String, code: String, burst: Int) throws {
        for at in stride(from: 1, to: calls == "pwrite64" ? 140 : 45, by: 4) {
            let (fault, _) = trace(calls, "error=\(code)", when: "\(at)..\(at + burst)")
            #expect(fault == nil, "\(code) at call \(at) of \(calls): \(fault ?? "")")
        }
    }
}
