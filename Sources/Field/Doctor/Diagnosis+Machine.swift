// The diagnosis of the machine around the daemon: disk, spool, rights, ports, buffers, and the ledger.

import Formats
import Host
import Model

extension Diagnosis {
    // MARK: Disk and spool

    private func size(_ bytes: UInt64) -> String { StatusScreen.size(bytes) }

    private var spoolMaximum: UInt64 {
        UInt64(facts.configuration?.spool.maximumBytes ?? 1 << 30)
    }

    /// What the spool has on disk: as the daemon counts it, else as the files are.
    private var spoolUsed: UInt64? {
        status.map { $0.count("spool.usedBytes") } ?? facts.spoolBytes
    }

    var disk: [Finding] {
        var found: [Finding] = []
        switch facts.folderFile {
        case nil:
            return [.problem(.disk, .notInTime, "\(facts.seconds)", do: .doAskAgain)]
        case .missing?:
            found.append(.warning(.disk, .folderMissing, facts.folder, do: .doMakeFolder))
        case .forbidden?: found.append(.unknown(.disk, .folderUnseen, facts.folder))
        case .there?: break
        }
        guard let disk = facts.disk else { return found }
        if disk.isReadOnly {
            found.append(.problem(.disk, .diskReadOnly, facts.folder, do: .doRemount))
        }
        found.append(room(disk))
        if disk.inodes > 0, disk.inodesFree < 100 {
            found.append(
                .problem(
                    .disk, .inodesGone, facts.folder, "\(disk.inodesFree)", do: .doFreeInodes))
        }
        if let device = disk.device, let written = disk.writtenPerDay {
            let isHeavy = disk.deviceBytes.map { $0 > 0 && written > $0 } ?? false
            found.append(
                isHeavy
                    ? .warning(.disk, .flashHeavy, device, size(written), do: .doSpareFlash)
                    : .ok(.disk, .flashWrites, device, size(written)))
        }
        return found
    }

    /// Whether what the spool may still take is there. A sixteenth of it is the least: below that the next
    /// minutes may fill it.
    private func room(_ disk: DiskFacts) -> Finding {
        let used = spoolUsed ?? 0
        let wanted = spoolMaximum > used ? spoolMaximum - used : 0
        let least = max(1 << 20, min(spoolMaximum, disk.total) / 16)
        if disk.free < least, disk.free < wanted || disk.free < 1 << 20 {
            return .problem(.disk, .diskFull, facts.folder, size(disk.free), do: .doMakeRoom)
        }
        if disk.free < wanted {
            return .warning(
                .disk, .diskTight, facts.folder, size(disk.free), size(used), size(spoolMaximum),
                do: .doMakeRoom)
        }
        return .ok(.disk, .diskRoom, facts.folder, size(disk.free), size(disk.total))
    }

    var spool: [Finding] {
        var found: [Finding] = []
        if let used = spoolUsed, facts.folderFile?.facts != nil {
            // The daemon's own bound is what the disk has, where that is less.
            let allowed = status.map { $0.count("spool.allowedBytes") } ?? 0
            let maximum = allowed > 0 ? min(allowed, spoolMaximum) : spoolMaximum
            let (shown, limit) = (size(used), size(maximum))
            found.append(
                used >= maximum / 8 * 7
                    ? .warning(.spool, .spoolNearFull, shown, limit, do: .doReachStore)
                    : .ok(.spool, .spoolShare, shown, limit))
        }
        guard let status else { return found }
        let evicted = status.lanes("readingsEvicted")
        if evicted > 0 {
            found.append(
                .warning(.spool, .spoolEvicted, Words.grouped(evicted), do: .doReachStore))
        }
        let trouble = status.text("spool.trouble")
        if !trouble.isEmpty, trouble != "–" {
            found.append(.problem(.spool, .spoolTrouble, trouble, do: .doMendDisk))
        }
        return found
    }

    // MARK: Rights

    var rights: [Finding] {
        var found: [Finding] = []
        let folder = facts.folder
        if let file = facts.folderFile?.facts {
            if let owner = facts.daemonUser, owner != file.user, owner != 0 {
                found.append(
                    .problem(
                        .rights, .folderForeign, folder, user(file.user), user(owner), do: .doOwn,
                        with: [user(owner), folder]))
            }
            found.append(
                file.mode & 0o077 == 0
                    ? .ok(.rights, .rightsKept, folder, user(file.user), file.modeText)
                    : .warning(
                        .rights, .folderOpen, folder, file.modeText, do: .doCloseFile,
                        with: ["0700", folder]))
        }
        if let file = facts.socketFile.facts, file.mode & 0o077 != 0 {
            found.append(
                .warning(
                    .rights, .fileOpen, facts.socket, file.modeText, do: .doCloseFile,
                    with: ["0600", facts.socket]))
        }
        if let file = facts.configurationFile.facts, file.mode & 0o022 != 0 {
            found.append(
                .problem(
                    .rights, .configurationOpen, facts.configurationPath, file.modeText,
                    do: .doCloseFile, with: ["go-w", facts.configurationPath]))
        }
        return found + keys
    }

    private var keys: [Finding] {
        guard let path = facts.configuration?.keys, !path.isEmpty, let look = facts.keyFile else {
            return []
        }
        guard let file = look.facts else {
            return look == .missing
                ? [.problem(.rights, .keysMissing, path, do: .doPutKeys)]
                : [.unknown(.rights, .folderUnseen, path)]
        }
        return file.mode & 0o077 == 0
            ? [.ok(.rights, .rightsKept, path, System.userName(file.user), file.modeText)]
            : [
                .problem(
                    .rights, .keysOpen, path, file.modeText, do: .doCloseFile,
                    with: ["0600", path])
            ]
    }

    // MARK: Ports and buffers

    var ports: [Finding] { facts.ports.flatMap(findings) }

    private func findings(_ port: DoctorFacts.Port) -> [Finding] {
        if port.isTTY, port.isThere == false {
            return [.problem(.ports, .lineMissing, port.source, port.place, do: .doPlug)]
        }
        guard let status else {
            guard !port.isTTY, let isThere = port.isThere else { return [] }
            // Without rights to ask the daemon, it may be its own.
            if case .stopped = facts.daemon, isThere {
                return [taken(port)]
            }
            return [
                .ok(.ports, isThere ? .portBound : .portFree, port.source, port.place)
            ]
        }
        if let line = closedLine(port.source) {
            return [
                .warning(.ports, .lineClosed, port.source, port.place, line, do: .doSeeStatus)
            ]
        }
        let isServed = status.sources.contains { source in
            source.name == port.source
                && (source.listen == port.place || port.isThere == nil)
        }
        if isServed, port.isThere != false {
            return [.ok(.ports, .portBound, port.source, port.place)]
        }
        return port.isThere == true
            ? [taken(port)]
            : [.problem(.ports, .portUnbound, port.source, port.place, do: .doRestart)]
    }

    private func taken(_ port: DoctorFacts.Port) -> Finding {
        .problem(
            .ports, .portTaken, port.source, port.place, port.owner ?? "?", do: .doFreePort)
    }

    /// Why the line of a source is not open; nil when it is.
    private func closedLine(_ source: String) -> String? {
        guard case .answers(_, let root) = facts.daemon else { return nil }
        let line = (root["lines"]?.array ?? []).first {
            $0["source"]?.string == source && $0["isOpen"]?.boolean == false
        }
        return line.map { $0["lastError"]?.string ?? "?" }
    }

    var buffers: [Finding] {
        var found: [Finding] = []
        for source in facts.configuration?.sources ?? []
        where source.lines.place == nil && source.listen.transport == .udp {
            let wanted = UInt64(source.receiveBuffer)
            guard let given = buffer(of: source.name) else { continue }
            found.append(
                given >= wanted
                    ? .ok(.buffers, .bufferEnough, source.name, size(given))
                    : .warning(
                        .buffers, .bufferCapped, source.name, size(given), size(wanted),
                        do: .doRaiseBuffer, with: ["\(wanted)"]))
        }
        guard let status else { return found }
        let drops = status.count("ledger.kernelDrops")
        let datagrams = status.count("ledger.datagrams")
        found.append(
            drops == 0
                ? .ok(.buffers, .dropsNone)
                : .warning(
                    .buffers, .dropsSome, Words.grouped(drops),
                    Words.grouped(datagrams &+ drops), do: .doWidenBuffer))
        return found
    }

    /// What the kernel gave the daemon, or would give: it doubles what it is asked for.
    private func buffer(of source: String) -> UInt64? {
        if let status, let place = status.sources.firstIndex(where: { $0.name == source }) {
            let given = status.count("sources[\(place)].bufferBytes")
            if given > 0 { return given / 2 }
        }
        guard let wanted = facts.configuration?.sources.first(where: { $0.name == source }),
            let most = facts.largestBuffer
        else { return nil }
        return UInt64(min(wanted.receiveBuffer, max(0, most)))
    }

    // MARK: Ledger

    var ledger: [Finding] {
        guard let status else {
            let isThere = facts.folderFile?.facts != nil
            return [
                .unknown(
                    .ledger, .ledgerUnasked, do: isThere ? .doCheckSpool : nil,
                    with: [facts.folder])
            ]
        }
        let unaccounted = status.count("ledger.unaccounted")
        guard unaccounted == 0 else {
            return [
                .problem(.ledger, .ledgerWrong, Words.grouped(unaccounted), do: .doReportBug)
            ]
        }
        return [
            .ok(
                .ledger, .ledgerBalances, Words.grouped(status.count("ledger.framesReceived")),
                Words.grouped(status.count("ledger.readingsHeld")))
        ]
    }
}
