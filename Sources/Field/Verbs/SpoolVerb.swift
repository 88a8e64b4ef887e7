// `sluice spool`: what a spool holds and what it has set aside, of the running daemon (which owns the
// folder) or of a folder while no daemon runs. On the main thread.

import Batches
import Formats
import Glibc
import Host
import Model
import Pipeline
import Spool

enum SpoolVerb {
    static let verb = Verb(
        "spool", "looks into a gateway's spool and its quarantine",
        details: [
            "Without DIR the running daemon is asked; when none runs, status, check, list, export and "
                + "decode look into the folder that the configuration names. With DIR that folder is "
                + "opened, which a running daemon does not allow.",
            "list shows what is set aside: frames that were refused, batches and readings that the "
                + "store rejected. export prints entries as JSON lines with their bytes in hex. "
                + "decode reads them again: frames with every format, batches and readings with "
                + "the batch codec. release NUMBER… sends a batch or reading again under the same "
                + "sequence, or takes a frame in: its device is then known and its frames are taken. "
                + "status counts what waits. check reads everything in DIR and says what is "
                + "damaged. repair opens DIR as the daemon does, with what that mends.",
            "Only release and repair change DIR: the others look into a copy, which takes as much "
                + "room in the temporary folder.",
            "A frame can only be released while the daemon runs.",
        ],
        operands: "status|check|list|export|decode|release|repair [DIR] [NUMBER…]",
        operandCount: 1...Int.max,
        flags: [
            .toggle("json", "print JSON"),
            .value(
                "admin", "SOCKET", "the daemon's admin socket", default: "/run/sluice/admin.sock"),
            .value(
                "config", "FILE", "the daemon's configuration, for its folder and socket",
                default: DoctorVerb.standardConfiguration),
            .value("formats", "DIR", "folder of the format files", default: "protocols nearby"),
        ],
        examples: [
            Example("what the store would not take", "sluice spool list"),
            Example("send it again", "sluice spool release 17"),
            Example("is a stopped gateway's spool sound?", "sluice spool check /var/lib/sluice"),
        ]
    ) { invocation, console throws(UsageError) in
        let operands = invocation.operands
        let (places, rest) = operands.dropFirst().reduce(into: ([String](), [Int64]())) {
            if let number = Int64($1), $0.0.isEmpty || !$0.1.isEmpty || number > 0 {
                $0.1.append(number)
            } else {
                $0.0.append($1)
            }
        }
        guard places.count < 2 else {
            throw UsageError(places[1], "is no number", "write the numbers that list shows")
        }
        guard let home = SpoolHome(invocation, console) else { return .foundWrong }
        var place = places.first
        if place == nil, SpoolHome.looking.contains(operands[0]), let folder = home.ofStopped() {
            console.complain(console.language(.spoolStopped, home.socket, folder))
            place = folder
        }
        let command = SpoolCommand(
            verb: operands[0], place: place, numbers: rest, asJSON: invocation.has("json"),
            socket: home.socket, console: console)
        switch operands[0] {
        case "status": return command.status()
        case "check": return command.check()
        case "list": return command.list()
        case "export": return command.export()
        case "decode":
            let folder = try Places.formats(invocation.text("formats"))
            guard let library = Places.library(folder, console: console) else { return .foundWrong }
            return command.decode(library)
        case "release":
            guard !rest.isEmpty else {
                throw UsageError("release", "which entries?", "write the numbers that list shows")
            }
            return command.release()
        case "repair": return command.repair()
        default:
            throw UsageError(
                operands[0], "is nothing that sluice spool does",
                "write status, check, list, export, decode, release or repair")
        }
    }
}

/// An entry as it is shown, wherever it comes from.
private struct ShownEntry {
    var number: Int64
    var kind: String
    var source: String
    var reason: String
    var receivedAt: String
    var readings: Int
    var size: Int
    var isIntact: Bool
    var bytes: [UInt8]
    var json: String
}

private struct SpoolCommand {
    let verb: String
    let place: String?
    let numbers: [Int64]
    let asJSON: Bool
    let socket: String
    let console: Console
    private var language: Language { console.language }

    // MARK: Verbs

    func list() -> RunStatus {
        var table = Table([
            (language(.headNumber), .right), (language(.headKind), .left),
            (language(.headReason), .left), (language(.headSource), .left),
            (language(.headReceived), .left), (language(.headReadings), .right),
            (language(.headBytes), .right),
        ])
        let isWhole = each(withBytes: false) { entry in
            if asJSON { return console.line(entry.json) }
            table.add([
                "\(entry.number)", entry.kind, entry.reason, entry.source, entry.receivedAt,
                "\(entry.readings)", "\(entry.size)",
            ])
        }
        if !asJSON { table.lines().forEach { console.line($0) } }
        return isWhole ? .done : .foundWrong
    }

    func export() -> RunStatus {
        each(withBytes: true) { console.line($0.json) } ? .done : .foundWrong
    }

    func decode(_ library: FormatLibrary) -> RunStatus {
        var isGood = true
        let isWhole = each(withBytes: true) { entry in
            if !asJSON {
                console.line(console.bold("\(entry.number) \(entry.kind): \(entry.reason)"))
            }
            switch QuarantineEntry.Kind(rawValue: entry.kind) {
            case .frame: isGood = frame(entry.bytes, library) && isGood
            case .batch: isGood = batch(entry.bytes) && isGood
            case .reading:
                guard let reading = QuarantinedReading(entry.bytes) else {
                    console.complain(language(.entryNoReading, "\(entry.number)"))
                    isGood = false
                    return
                }
                isGood = batch(reading.batch) && isGood
                for kept in reading.frames {
                    console.line(language(.entryArrived, kept.source.name, kept.source.format))
                    isGood = frame(kept.bytes, library) && isGood
                }
            case .journal, nil:
                console.complain(language(.entryNothing, "\(entry.number)"))
                isGood = false
            }
        }
        return isWhole && isGood ? .done : .foundWrong
    }

    func release() -> RunStatus {
        var isGood = true
        for number in numbers {
            guard let text = outcome(number) else { return .foundWrong }
            let root = try? JSONNode.parse(Array(text.utf8), file: "release")
            let word = root?["outcome"]?.string ?? "?"
            if asJSON {
                console.line(text.trimmingBlanks)
            } else {
                let why = root?["why"]?.string.map { ": \(language.error($0))" } ?? ""
                console.line("\(number) \(word)\(why)")
            }
            if !["pending", "taken", "duplicate"].contains(word) { isGood = false }
        }
        return isGood ? .done : .foundWrong
    }

    func status() -> RunStatus {
        guard place != nil else {
            guard let body = ask("/status"),
                let spool = (try? JSONNode.parse(Array(body.utf8), file: "status"))?["spool"]
            else { return .foundWrong }
            for line in Flattened.lines(spool) { console.line("\(line.name) \(line.value)") }
            return .done
        }
        return look { spool in
            let (counters, details) = (spool.counters, spool.details)
            let rows: [(String, UInt64)] = [
                ("batchesPending", counters.batchesPending),
                ("readingsPending", counters.readingsPending),
                ("bytesPending", details.bytesPending.total),
                ("readingsAcknowledged", counters.readingsAcknowledged),
                ("readingsEvicted", counters.readingsEvicted),
                ("readingsRejected", counters.readingsRejected),
                ("journalParts", details.journalParts), ("journalBytes", details.journalBytes),
                ("quarantineEntries", details.quarantineEntries),
                ("lastSequence", counters.lastSequence),
                ("unaccounted", counters.unaccounted.magnitude),
            ]
            if asJSON {
                console.line(JSON.object(rows.map { ($0.0, .unsigned($0.1)) }).text(pretty: true))
            } else {
                show(rows)
            }
            return counters.unaccounted == 0
        }
    }

    func check() -> RunStatus {
        guard place != nil else {
            console.complain(language(.spoolCheckWhere))
            return .foundWrong
        }
        return look { spool in
            let found: SpoolCheck
            do throws(SpoolError) {
                found = try SpoolCheck(spool)
            } catch {
                console.fail(error.description)
                return false
            }
            let rows: [(String, UInt64)] = [
                ("batches", UInt64(found.batches)), ("readings", UInt64(found.readings)),
                ("frames", UInt64(found.frames)), ("framesLost", found.framesLost),
                ("batchesDamaged", found.details.batchesDamaged),
                ("readingsDamaged", found.details.readingsDamaged),
                ("unaccounted", found.unaccounted),
            ]
            if asJSON {
                let warnings = JSON.array(found.warnings.map { .string($0) })
                console.line(
                    JSON.object(
                        rows.map { ($0.0, .unsigned($0.1)) } + [
                            ("isSound", .boolean(found.isSound)), ("complaints", warnings),
                        ]
                    ).text(pretty: true))
                return found.isSound
            }
            show(rows)
            for warning in found.warnings { console.line(language.error(warning)) }
            console.line(
                language(found.isSound ? .spoolSound : .spoolDamaged))
            return found.isSound
        }
    }

    private func show(_ rows: [(String, UInt64)]) {
        var table = Table([("", .left), ("", .right)])
        for row in rows { table.add([row.0, Words.grouped(row.1)]) }
        table.lines().dropFirst().forEach { console.line($0) }
    }

    func repair() -> RunStatus {
        guard place != nil else {
            console.complain(language(.spoolRepairWhere))
            return .foundWrong
        }
        return open { spool in
            for warning in spool.warnings { console.line(language.error(warning)) }
            if spool.warnings.isEmpty { console.line(language(.spoolWhole)) }
            return true
        }
    }

    // MARK: Where entries come from

    /// Every entry that is asked for; false when something went wrong or a number is missing.
    private func each(withBytes: Bool, _ body: (ShownEntry) -> Void) -> Bool {
        var missing = Set(numbers)
        func show(_ entry: ShownEntry) {
            if numbers.isEmpty || missing.remove(entry.number) != nil { body(entry) }
        }
        let isRead: Bool
        if place == nil {
            isRead = eachOfDaemon(withBytes: withBytes, show)
        } else {
            let status = look { spool in
                var after: Int64 = 0
                do throws(SpoolError) {
                    while true {
                        let page = try spool.quarantined(after: after, limit: 50)
                        guard let last = page.last else { return true }
                        for entry in page { show(shown(entry, withBytes: withBytes)) }
                        after = last.number
                    }
                } catch {
                    console.fail(error.description)
                    return false
                }
            }
            isRead = status == .done
        }
        for number in missing.sorted() {
            console.complain(language(.spoolNoEntry, "\(number)"))
        }
        return isRead && missing.isEmpty
    }

    private func eachOfDaemon(withBytes: Bool, _ body: (ShownEntry) -> Void) -> Bool {
        var after: Int64 = 0
        while true {
            guard let text = ask("/quarantine?after=\(after)\(withBytes ? "&bytes=1" : "")"),
                let root = try? JSONNode.parse(Array(text.utf8), file: "quarantine"),
                let entries = root["entries"]?.array
            else { return false }
            guard !entries.isEmpty else { return true }
            for node in entries {
                guard let number = node["number"]?.integer, number > after else { return false }
                after = Int64(number)
                body(shown(node, number: after))
            }
        }
    }

    private func shown(_ entry: QuarantineEntry, withBytes: Bool) -> ShownEntry {
        ShownEntry(
            number: entry.number, kind: entry.kind.rawValue, source: entry.source,
            reason: entry.reason, receivedAt: entry.receivedAt.iso8601, readings: entry.readings,
            size: entry.bytes.count, isIntact: entry.isIntact, bytes: entry.bytes,
            json: QuarantineReport.json(entry, withBytes: withBytes).text())
    }

    private func shown(_ node: JSONNode, number: Int64) -> ShownEntry {
        let hex = node["hex"]?.string
        var members = Flattened.lines(node).map { ($0.name, JSON.string($0.value)) }
        for (index, member) in members.enumerated() {
            guard case .string(let text) = member.1, let integer = Int64(text),
                ["number", "readings", "bytes"].contains(member.0)
            else { continue }
            members[index].1 = .integer(integer)
        }
        return ShownEntry(
            number: number, kind: node["kind"]?.string ?? "", source: node["source"]?.string ?? "",
            reason: node["reason"]?.string ?? "", receivedAt: node["receivedAt"]?.string ?? "",
            readings: Int(node["readings"]?.integer ?? 0), size: Int(node["bytes"]?.integer ?? 0),
            isIntact: node["isIntact"]?.boolean ?? false,
            bytes: hex.flatMap { Hex.bytes($0) } ?? [],
            json: JSON.object(members).text())
    }

    private func outcome(_ number: Int64) -> String? {
        guard place != nil else { return ask("/quarantine/release?number=\(number)") }
        var text: String?
        _ = open { spool in
            do throws(SpoolError) {
                text = QuarantineReport.json(try spool.released(number), of: number).text()
                return true
            } catch {
                console.fail(error.description)
                return false
            }
        }
        return text
    }

    private func ask(_ route: String) -> String? {
        if let answer = AdminVerbs.ask(route, socket, console) { return answer }
        if SpoolHome.isStopped(socket) { console.complain(language(.spoolNameFolder, verb)) }
        return nil
    }

    /// Opens a copy of the folder.
    private func look(_ body: (Spool) -> Bool) -> RunStatus {
        guard let place = folder() else { return .foundWrong }
        do throws(FileError) {
            let copy = try SpoolCopy(of: place)
            return withExtendedLifetime(copy) { open(copy.folder, body) }
        } catch {
            if error.why == Files.words(EACCES) {
                forbidden(place)
            } else {
                console.fail("spool: \(error.description)")
            }
            return .foundWrong
        }
    }

    private func forbidden(_ place: String) {
        let owner = FileFacts.of(place).facts.map { System.userName($0.user) } ?? "sluice"
        console.complain(language(.spoolForbidden, place, owner))
    }

    /// Opens the folder itself as a daemon would; the daemon's lock keeps us out while one runs.
    private func open(_ body: (Spool) -> Bool) -> RunStatus {
        folder().map { open($0, body) } ?? .foundWrong
    }

    private func folder() -> String? {
        // A new spool would be made in any other.
        if let place, Files.names(in: place).contains(where: { $0.hasPrefix("segment") }) {
            return place
        }
        if let place, [EACCES, EPERM].contains(Files.refusal(ofFolder: place)) {
            forbidden(place)
        } else {
            console.complain(language(.spoolNone, place ?? ""))
        }
        return nil
    }

    private func open(_ folder: String, _ body: (Spool) -> Bool) -> RunStatus {
        do throws(SpoolError) {
            let spool = try Spool(directory: folder)
            defer { spool.close() }
            return body(spool) ? .done : .foundWrong
        } catch {
            console.fail(error.description)
            return .foundWrong
        }
    }

    // MARK: Decoding

    private func frame(_ bytes: [UInt8], _ library: FormatLibrary) -> Bool {
        let hex = bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        return Guesser(
            library: library, direction: .up, explains: false, asJSON: asJSON, console: console
        ).print([hex])
    }

    private func batch(_ bytes: [UInt8]) -> Bool {
        do throws(BatchError) {
            let batch = try BatchCodec.decode(bytes)
            for reading in batch.readings {
                let said = { (language: Language) in
                    language(
                        .entryReading, "\(reading.stream.rawValue)", reading.observedAt.iso8601,
                        reading.receivedAt.iso8601, "\(reading.value)")
                }
                console.line(
                    asJSON
                        ? JSON.object([("reading", .string(said(.english)))]).text()
                        : "  " + said(language))
            }
            return true
        } catch {
            console.complain(language(.entryNoBatch, "\(error)"))
            return false
        }
    }
}
