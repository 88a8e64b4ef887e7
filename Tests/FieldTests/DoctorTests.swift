// The doctor: what each state of a gateway is called, in words that fit a screen, in both languages; and
// what it reads from /proc.

import Formats
import Host
import Model
import Testing

@testable import Field

@Suite("Doctor") struct DoctorTests {
    // MARK: Words

    private func placeholders(_ text: String) -> Set<Substring> {
        Set(text.matches(of: /\{\d\}/).map(\.output))
    }

    private func hasHan(_ text: String) -> Bool {
        text.unicodeScalars.contains { (0x4E00...0x9FFF).contains($0.value) }
    }

    @Test("each phrase is in both languages, with the same placeholders")
    func complete() {
        for phrase in DoctorPhrase.allCases {
            let texts = phrase.texts
            #expect(!texts.english.isEmpty && !texts.chinese.isEmpty, "\(phrase)")
            #expect(placeholders(texts.english) == placeholders(texts.chinese), "\(phrase)")
            #expect(!hasHan(texts.english), "\(phrase)")
            #expect(hasHan(texts.chinese), "\(phrase): \(texts.chinese)")
        }
    }

    @Test("the terms of the trade are said with the glossary's words")
    func glossary() {
        for (english, chinese) in [
            ("readings", "读数"), ("datagrams", "数据报"), ("evicted", "淘汰"), ("batches", "批"),
            ("unaccounted", "未入账"), ("store", "存储端"), ("kernel drops", "内核丢弃"), ("spool", "暂存"),
            ("sources", "来源"), ("frames", "帧"), ("formats", "规约"),
        ] {
            for phrase in DoctorPhrase.allCases {
                let texts = phrase.texts
                // Commands and keys of the configuration are not said but typed.
                let words = texts.english.replacing(/spool\.\w+|sluice spool check|DIR/, with: "")
                    .replacing(/store: \{|formats: \\?"/, with: "")
                    .split { !$0.isLetter && $0 != " " }.joined(separator: " ")
                guard " \(words) ".contains(" \(english) ") else { continue }
                #expect(texts.chinese.contains(chinese), "\(phrase): \(texts.chinese)")
            }
        }
    }

    @Test("no line is wider than the screen, whatever is said and however long it is")
    func widths() {
        let long = "/var/lib/" + String(repeating: "sluice-", count: 30) + " 设备\u{1B}[31m"
        var findings = [Finding]()
        for phrase in DoctorPhrase.allCases {
            for value in ["3", long] {
                findings.append(
                    .warning(.configuration, phrase, value, value, value, value, do: .doCheck))
            }
        }
        for width in [80, 60, 132] {
            for language in Language.allCases {
                let console = Console.captured(width: width)
                console.language = language
                DoctorReport.write(findings, to: console)
                for line in console.output.split(separator: "\n") {
                    #expect(Table.columns(String(line)) <= width, "\(line)")
                    #expect(line.allSatisfy { $0 != "\u{1B}" })
                }
            }
        }
    }

    // MARK: Diagnosis

    static func status(_ changes: [(String, String)] = []) throws -> DoctorFacts.Daemon {
        var text = """
            {"gateway": "g", "software": "\(Program.version)", "startedAt": "2026-11-22T00:00:00Z",
             "now": "2026-11-22T01:00:00Z", "isHealthy": true, "reasons": [],
             "sources": [{"name": "udp", "listen": "udp://127.0.0.1:9001", "bufferBytes": 8388608}],
             "lines": [], "formats": {"complaints": []},
             "spool": {"usedBytes": 1000, "allowedBytes": 1073741824, "trouble": null,
                "readingsEvicted": {"alarm": 0, "live": 0, "backlog": 0}},
             "uplink": {"state": "streaming", "stateSeconds": 60, "lastError": null,
                "storeClockAheadMs": 12},
             "ledger": {"framesReceived": 7, "readingsHeld": 0, "datagrams": 7, "kernelDrops": 0,
                "unaccounted": 0}}
            """
        for (old, new) in changes {
            #expect(text.contains(old), "\(old)")
            text = text.replacing(old, with: new)
        }
        let root = try JSONNode.parse(Array(text.utf8), file: "status")
        return .answers(StatusModel(root), root)
    }

    /// A gateway that is well, but for `change`.
    static func well(_ change: (inout DoctorFacts) -> Void = { _ in }) throws -> DoctorFacts {
        let text = """
            { sources: [{ name: "udp", listen: "udp://127.0.0.1:9001" }],
              store: { address: "127.0.0.1:9100" } }
            """
        var facts = DoctorFacts()
        facts.configurationPath = "/etc/sluice/sluiced.json5"
        facts.reading = .sound(try Configuration.parse(Array(text.utf8), file: "test"))
        facts.configurationFile = .there(FileFacts(mode: 0o644, user: 0))
        facts.formats = .loaded(40)
        facts.formatsFolder = "/usr/share/sluice/protocols"
        facts.socket = "/run/sluice/admin.sock"
        facts.socketFile = .there(FileFacts(mode: 0o600, user: 990))
        facts.daemon = try status()
        facts.unit = DoctorFacts.Unit(state: "active (running)", isActive: true, restarts: 0)
        facts.wall = Timestamp(milliseconds: 1_795_309_200_000)
        facts.discipline = ClockDiscipline(
            isSynchronised: true, maximumErrorMicroseconds: 40_000)
        facts.lookup = .numeric
        facts.reach = .reached(milliseconds: 3)
        facts.folder = "/var/lib/sluice"
        facts.folderFile = .there(FileFacts(mode: 0o700, user: 990, isFolder: true))
        var disk = DiskFacts()
        (disk.free, disk.total) = (8 << 30, 16 << 30)
        (disk.inodes, disk.inodesFree) = (1_000_000, 900_000)
        (disk.device, disk.writtenPerDay, disk.deviceBytes) = ("mmcblk0p2", 1 << 30, 16 << 30)
        facts.disk = disk
        facts.spoolBytes = 1000
        facts.ports = [
            DoctorFacts.Port(source: "udp", place: "udp://127.0.0.1:9001", isThere: true)
        ]
        facts.largestBuffer = 4 << 20
        facts.kernel = "6.12.0"
        facts.users = [0: "root", 990: "sluice"]
        facts.daemonUser = 990
        change(&facts)
        return facts
    }

    private func set(_ facts: inout DoctorFacts, _ old: String, _ new: String) {
        if let daemon = try? DoctorTests.status([(old, new)]) { facts.daemon = daemon }
    }

    @Test("a gateway that is well has nothing but ok, one line for each area")
    func healthy() throws {
        for language in Language.allCases {
            let findings = Diagnosis(try Self.well(), language).findings
            #expect(findings.allSatisfy { $0.level == .ok && $0.remedy == nil }, "\(findings)")
            #expect(Set(findings.map(\.area)) == Set(Area.allCases))
            let order = findings.map { Area.allCases.firstIndex(of: $0.area) ?? -1 }
            #expect(order == order.sorted())
        }
    }

    typealias Change = @Sendable (inout DoctorFacts) -> Void

    /// What is changed, what is then found, and how bad that is.
    private static let rows: [(DoctorPhrase, Finding.Level, Change)] = [
        (.configurationMissing, .problem, { $0.reading = .missing }),
        (.configurationUnreadable, .unknown, { $0.reading = .unreadable }),
        (.configurationWrong, .problem, { $0.reading = .wrong(["a:1:1: what"]) }),
        (.configurationWrong, .problem, { $0.unmet = ["a:1:1: no such format"] }),
        (.configurationNoSources, .problem, { $0.reading = .sound(Configuration()) }),
        (.storeNone, .warning, { $0.reading = .sound(Configuration()) }),
        (.daemonStopped, .problem, { $0.daemon = .stopped }),
        (.ledgerUnasked, .unknown, { $0.daemon = .stopped }),
        (.portTaken, .problem, { $0.daemon = .stopped }),
        (
            .portFree, .ok,
            {
                $0.daemon = .stopped
                $0.ports[0].isThere = false
            }
        ),
        (.daemonForbidden, .unknown, { $0.daemon = .forbidden }),
        (.portBound, .ok, { $0.daemon = .forbidden }),
        (.daemonHangs, .problem, { $0.daemon = .hangs }),
        (.daemonOdd, .problem, { $0.daemon = .odd("HTTP 404") }),
        (.daemonUnhealthy, .problem, status("\"reasons\": []", "\"reasons\": [\"x\"]")),
        (
            .unitState, .warning,
            { $0.unit = DoctorFacts.Unit(state: "failed", isActive: false, restarts: 0) }
        ),
        (.unitRestarts, .warning, { $0.unit?.restarts = 3 }),
        (
            .versionsDiffer, .warning,
            status("\"software\": \"\(Program.version)\"", "\"software\": \"0.0.9\"")
        ),
        (.formatsRefused, .warning, status("\"complaints\": []", "\"complaints\": [\"x\"]")),
        (
            .formatsRefused, .problem,
            { $0.formats = .refused(["f.json5:1:1: x"]) }
        ),
        (.formatsMissing, .problem, { $0.formats = .missing }),
        (.formatsUnread, .unknown, { $0.formats = nil }),
        (.clockUnset, .problem, { $0.wall = Timestamp(milliseconds: 86_400_000) }),
        (.clockFree, .warning, { $0.discipline?.isSynchronised = false }),
        (.clockUnknown, .unknown, { $0.discipline = nil }),
        (.clockAgrees, .ok, status("AheadMs\": 12", "AheadMs\": -10000")),
        (.clockDrifts, .warning, status("AheadMs\": 12", "AheadMs\": -10001")),
        (.clockDrifts, .problem, status("AheadMs\": 12", "AheadMs\": 300001")),
        (.nameFound, .ok, { $0.lookup = .found(["192.0.2.7"]) }),
        (.nameMissing, .problem, { $0.lookup = .missing }),
        (.nameSilent, .problem, { $0.lookup = .silent }),
        (.storeUntried, .unknown, { $0.reach = .untried }),
        (.storeRefused, .problem, { $0.reach = .refused("Connection refused") }),
        (.storeSilent, .problem, { $0.reach = .silent }),
        (.sessionClosed, .problem, status("\"streaming\"", "\"waiting\"")),
        (
            .sessionClosed, .problem,
            { facts in
                status("\"streaming\"", "\"waiting\"")(&facts)
                facts.reach = .silent
            }
        ),
        (.notInTime, .problem, { $0.folderFile = nil }),
        (.folderMissing, .warning, { $0.folderFile = .missing }),
        (.folderUnseen, .unknown, { $0.folderFile = .forbidden }),
        (.diskReadOnly, .problem, { $0.disk?.isReadOnly = true }),
        (.diskTight, .warning, { $0.disk?.free = 1 << 29 }),
        (.diskFull, .problem, { $0.disk?.free = 1 << 20 }),
        (.inodesGone, .problem, { $0.disk?.inodesFree = 99 }),
        (.diskRoom, .ok, { $0.disk?.inodes = 0 }),
        (.flashHeavy, .warning, { $0.disk?.writtenPerDay = 17 << 30 }),
        (.spoolNearFull, .warning, status("\"usedBytes\": 1000", "\"usedBytes\": 939524096")),
        (.spoolShare, .ok, status("\"usedBytes\": 1000", "\"usedBytes\": 939524095")),
        (.spoolEvicted, .warning, status("\"live\": 0", "\"live\": 5")),
        (.spoolTrouble, .problem, status("\"trouble\": null", "\"trouble\": \"disk full\"")),
        (.folderOpen, .warning, { $0.folderFile = .there(FileFacts(mode: 0o755, user: 990)) }),
        (.folderForeign, .problem, { $0.folderFile = .there(FileFacts(mode: 0o700, user: 0)) }),
        (.fileOpen, .warning, { $0.socketFile = .there(FileFacts(mode: 0o666, user: 990)) }),
        (
            .configurationOpen, .problem,
            { $0.configurationFile = .there(FileFacts(mode: 0o666, user: 0)) }
        ),
        (.keysMissing, .problem, keys(.missing)),
        (.keysOpen, .problem, keys(.there(FileFacts(mode: 0o640, user: 0)))),
        (.rightsKept, .ok, keys(.there(FileFacts(mode: 0o600, user: 0)))),
        (.portUnbound, .problem, { $0.ports[0].isThere = false }),
        (
            .portTaken, .problem,
            status("\"listen\": \"udp://127.0.0.1:9001\"", "\"listen\": \"udp://127.0.0.1:9\"")
        ),
        (
            .lineMissing, .problem,
            {
                $0.ports = [
                    DoctorFacts.Port(
                        source: "bus", place: "/dev/ttyUSB7", isTTY: true, isThere: false)
                ]
            }
        ),
        (
            .lineClosed, .warning,
            status(
                "\"lines\": []",
                "\"lines\": [{\"source\": \"udp\", \"isOpen\": false, \"lastError\": \"refused\"}]")
        ),
        (.bufferCapped, .warning, status("8388608", "425984")),
        (
            .bufferCapped, .warning,
            {
                $0.daemon = .stopped
                $0.largestBuffer = 212_992
            }
        ),
        (.dropsSome, .warning, status("\"kernelDrops\": 0", "\"kernelDrops\": 3")),
        (.ledgerWrong, .problem, status("\"unaccounted\": 0", "\"unaccounted\": 1")),
    ]

    private static func status(_ old: String, _ new: String) -> Change { status([old: new]) }

    private static func status(_ changes: [String: String]) -> Change {
        { facts in
            let pairs = changes.map { ($0.key, $0.value) }
            if let daemon = try? DoctorTests.status(pairs) { facts.daemon = daemon }
        }
    }

    private static func keys(_ look: FileFacts.Look) -> Change {
        { facts in
            let text = """
                { keys: "/etc/sluice/keys.json5", store: { address: "127.0.0.1:9100" },
                  sources: [{ name: "udp", listen: "udp://127.0.0.1:9001" }] }
                """
            guard let parsed = try? Configuration.parse(Array(text.utf8), file: "t") else { return }
            facts.reading = .sound(parsed)
            facts.keyFile = look
        }
    }

    @Test("each fault is found, called by its name, and comes with what to do")
    func faults() throws {
        for (phrase, level, change) in Self.rows {
            let findings = Diagnosis(try Self.well(change)).findings
            let found = findings.filter { $0.seen.phrase == phrase }
            #expect(found.contains { $0.level == level }, "\(phrase) \(level): \(findings)")
            for finding in findings where finding.level == .warning || finding.level == .problem {
                #expect(finding.remedy != nil, "\(finding)")
            }
            for finding in findings {
                for language in Language.allCases {
                    for said in [finding.seen] + (finding.remedy.map { [$0] } ?? []) {
                        #expect(!said.text(language).contains(/\{\d\}/), "\(said)")
                    }
                }
            }
        }
        // Nothing is said that no state of a gateway can bring.
        let said = Set(
            try Self.rows.flatMap { Diagnosis(try Self.well($0.2)).findings }
                .flatMap { [$0.seen.phrase, $0.remedy?.phrase].compactMap(\.self) })
        let levels = Set(Finding.Level.allCases.map(\.phrase))
        let areas = Set(Area.allCases.map(\.phrase))
        let ofVerb: Set<DoctorPhrase> = [.summary, .bundleWritten, .bundleFailed]
        #expect(
            said.union(levels).union(areas).union(ofVerb) == Set(DoctorPhrase.allCases))
    }

    @Test("JSON says the same in English, with codes that stay")
    func json() throws {
        let facts = try Self.well { $0.daemon = .stopped }
        let text = DoctorReport.json(Diagnosis(facts).findings).text()
        let root = try JSONNode.parse(Array(text.utf8), file: "doctor")
        #expect(root["isSound"]?.boolean == false)
        let rows = try #require(root["findings"]?.array)
        let stopped = try #require(rows.first { $0["code"]?.string == "daemonStopped" })
        #expect(stopped["area"]?.string == "daemon")
        #expect(stopped["level"]?.string == "problem")
        #expect(stopped["remedy"]?.string?.contains("systemctl start sluiced") == true)
        #expect(root["problems"]?.integer == rows.filter { $0["level"]?.string == "problem" }.count)
    }

    @Test("the README shows what the doctor says of a gateway whose store is away")
    func example() throws {
        let facts = try Self.well {
            Self.status([
                "\"streaming\"": "\"waiting\"",
                "\"lastError\": null": "\"lastError\": \"connect to "
                    + "127.0.0.1:9100: Connection refused\"",
                "\"usedBytes\": 1000":
                    "\"usedBytes\": 41000000",
            ])(&$0)
            $0.reach = .refused("Connection refused")
            $0.discipline?.isSynchronised = false
        }
        let console = Console.captured()
        DoctorReport.write(Diagnosis(facts).findings, to: console)
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let readme = String(decoding: try Files.read(root + "/README.md"), as: UTF8.self)
        let session = "```text\n$ sluice doctor\n\(console.output)```\n"
        #expect(readme.contains(session), "\(session)")
    }

    // MARK: /proc

    @Test("bound ports are read from the kernel's tables, whatever else stands there")
    func ports() throws {
        var ports = BoundPorts()
        ports.add(
            """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
               0: 0100007F:2329 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 77 2 0 0
               1: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 78 2 0 0
               2: nonsense
               3: 0100007F:99999 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 79 2 0
            """, isStream: false)
        ports.add(
            """
            sl
            0: 00000000000000000000000000000000:2328 0:0 0A 0:0 0:0 0 0 0 80 1 0
            1: 0100007F:2330 0100007F:1111 01 0:0 0:0 0 0 0 81 1 0
            """, isStream: true)
        #expect(ports.rows.map(\.inode) == [77, 78, 80])
        let own: Endpoint = .ipv4(0x7F00_0001, port: 9001)
        #expect(ports.row(isStream: false, at: own)?.inode == 77)
        #expect(ports.row(isStream: true, at: own) == nil)
        // Another address of this machine does not stand in the way; all of them do.
        #expect(ports.row(isStream: false, at: .ipv4(0x7F00_0002, port: 9001)) == nil)
        #expect(ports.row(isStream: false, at: .ipv4(0, port: 9001))?.inode == 77)
        #expect(ports.row(isStream: false, at: .ipv4(0x0A00_0001, port: 53))?.inode == 78)
        #expect(ports.row(isStream: true, at: .ipv4(0x7F00_0001, port: 9000))?.inode == 80)
        #expect(ports.row(isStream: true, at: .ipv4(0x7F00_0001, port: 9008)) == nil)
    }

    @Test("a device's written sectors and a user's name are found by number")
    func tables() {
        let stats = """
             179       0 mmcblk0 100 0 800 10 200 0 1600 20 0 5 6
             179       2 mmcblk0p2 100 0 800 10 200 0 1500 20 0 5 6
            cut
            """
        #expect(DiskFacts.row(stats, 179, 2)?.name == "mmcblk0p2")
        #expect(DiskFacts.row(stats, 179, 2)?.sectorsWritten == 1500)
        #expect(DiskFacts.row(stats, 8, 0) == nil)
        let passwd = "root:x:0:0::/root:/bin/sh\nodd\nsluice:x:990:990::/:/usr/sbin/nologin\n"
        #expect(System.userName(990, in: passwd) == "sluice")
        #expect(System.userName(7, in: passwd) == "7")
        let unit = DoctorFacts.Unit(
            systemctl: "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=watchdog\n"
                + "NRestarts=4\n")
        #expect(unit?.isActive == false)
        #expect(unit?.restarts == 4)
        #expect(unit?.state == "failed (failed), watchdog")
        #expect(DoctorFacts.Unit(systemctl: "LoadState=not-found\nActiveState=inactive\n") == nil)
    }
}
