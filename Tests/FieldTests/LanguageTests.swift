// The catalogue of what the field tool says: both languages of each phrase, the same placeholders, columns
// that line up, and no English that passes the catalogue by in the verbs that speak both.

import Formats
import Model
import Testing

@testable import Field

@Suite("Languages") struct LanguageTests {
    private func placeholders(_ text: String) -> Set<Substring> {
        Set(text.matches(of: /\{\d\}/).map(\.output))
    }

    private func hasHan(_ text: String) -> Bool {
        text.unicodeScalars.contains { (0x4E00...0x9FFF).contains($0.value) }
    }

    @Test("each phrase is in both languages, with the same placeholders")
    func complete() {
        // Figures and names only: alike in both.
        let alike: Set<Phrase> = [
            .decodeHead, .captureDone, .replayProgress, .autoRefusal,
        ]
        for phrase in Phrase.allCases {
            let texts = phrase.texts
            #expect(!texts.english.isEmpty && !texts.chinese.isEmpty, "\(phrase)")
            #expect(placeholders(texts.english) == placeholders(texts.chinese), "\(phrase)")
            #expect(!hasHan(texts.english), "\(phrase)")
            #expect(hasHan(texts.chinese) || alike.contains(phrase), "\(phrase): \(texts.chinese)")
        }
    }

    @Test("the terms of the trade are said with the glossary's words")
    func glossary() {
        for (english, chinese) in [
            ("reading", "读数"), ("datagram", "数据报"), ("evicted", "淘汰"), ("duplicate", "重复"),
            ("acknowledged", "已确认"), ("unaccounted", "未入账"), ("store", "存储端"),
            ("dropped", "丢弃"), ("answered", "应答"), ("kernel drops", "内核丢弃"),
        ] {
            for phrase in Phrase.allCases {
                let texts = phrase.texts
                let words = texts.english.split { !$0.isLetter && $0 != " " }.joined(separator: " ")
                // A daemon's answer to a question is none to a device.
                guard "\(words) ".contains(english + " "), phrase != .answered,
                    phrase != .answeredFor
                else { continue }
                #expect(texts.chinese.contains(chinese), "\(phrase): \(texts.chinese)")
            }
        }
    }

    @Test("placeholders take their values, whatever is in them")
    func filling() {
        #expect(Language.filled("{1} of {0}", ["a{1}", "b"]) == "b of a{1}")
        #expect(Language.filled("{2} {x} {", ["a"]) == "{2} {x} {")
        #expect(Language.english.count(1, .nounDatagram) == "1 datagram")
        #expect(Language.english.count(1200, .nounDatagram) == "1,200 datagrams")
        #expect(Language.chinese.count(1200, .nounDatagram) == "1,200 个数据报")
        #expect(Language.chinese.span(3_660_000_000_000) == "1 小时 1 分")
    }

    @Test("the locale decides as POSIX orders it; --lang decides before it")
    func choice() {
        func of(_ variables: [String: String]) -> Language {
            Language.ofEnvironment { variables[$0] }
        }
        #expect(of([:]) == .english)
        #expect(of(["LANG": "zh_CN.UTF-8"]) == .chinese)
        #expect(of(["LANG": "zh_CN.UTF-8", "LC_ALL": "C"]) == .english)
        #expect(of(["LANG": "de_DE", "LC_MESSAGES": "zh_CN"]) == .chinese)
        #expect(of(["LANG": "zh_CN", "LC_ALL": ""]) == .chinese)
        for (words, isGood) in [(["--lang", "zh"], true), (["--lang=fr"], false)] {
            let console = Console.captured()
            let status = Programs.sluice().run(
                ["sluice", "decode", "--format", "dlt645", "68"] + words, console: console)
            #expect(status == (isGood ? .foundWrong : .wrongUsage))
            if isGood { #expect(console.output.contains("拒收：")) }
        }
        let console = Console.captured()
        #expect(Programs.gateway.run(["sluiced", "--lang", "zh"], console: console) == .wrongUsage)
    }

    @Test("a screen in Chinese holds no English words but names, and lines up to its size")
    func screen() throws {
        let model = StatusModel(try StatusTests.status(seconds: 10, state: "waiting"))
        for view in [StatusScreen.View.sources, .devices, .help] {
            for (columns, rows) in [(80, 24), (200, 50)] {
                var page = StatusScreen()
                (page.columns, page.rows, page.view) = (columns, rows, view)
                page.language = .chinese
                var keys = TopKeys()
                keys.page = page
                page.prompt = keys.prompt
                let lines = page.lines(model)
                #expect(lines.allSatisfy { Table.columns($0.text) <= columns })
                let names: Set = [
                    "tower", "sluiced", "source", "udp", "bad", "checksum", "Ctrl",
                    "Esc", "PgUp", "PgDn", "UTC", "GMT", "spool", "full", "min", "this", "rate",
                    "live", "shed", "first",
                ]
                for word in lines.flatMap({ $0.text.split { !$0.isASCII || !$0.isLetter } })
                where word.count > 2 {
                    #expect(names.contains(String(word)), "\(view): \(word)")
                }
            }
        }
    }

    /// What may stand in words in a file that speaks through the catalogue: flags and their help, JSON,
    /// errors of usage and of the machine, which are English.
    private static let files = [
        "Screen/StatusScreen.swift", "Verbs/Top.swift", "Verbs/Devices.swift",
        "Verbs/Ledger.swift", "Verbs/Query.swift", "Verbs/Decode.swift", "Verbs/Replay.swift",
        "Load/LoadReport.swift", "Load/ReplayRun.swift", "Verbs/Demo.swift",
        "Verbs/SpoolVerb.swift", "Verbs/ReplayDiff.swift", "Verbs/DecodeAuto.swift",
        "Verbs/CaptureVerb.swift", "Verbs/DoctorVerb.swift", "Load/LoadSearch.swift",
    ]

    @Test("no sentence is said past the catalogue", arguments: files)
    func sources(file: String) throws {
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let text = String(
            decoding: try Files.read("\(root)/Sources/Field/\(file)"), as: UTF8.self)
        let found = LanguageTests.sentences(text)
        #expect(found.isEmpty, "\(file): \(found)")
    }

    @Test("a sentence past the catalogue would be seen")
    func planted() {
        let planted = [
            #"console.line("no readings")"#, #"console.complain("sluice: nothing was sent")"#,
            #"("device", .left), ("last seen", .left)"#, #"console.progress("\(n) frames sent")"#,
        ]
        for line in planted { #expect(LanguageTests.sentences(line).count == 1, "\(line)") }
        #expect(LanguageTests.sentences(#"console.line(console.language(.noReadings))"#).isEmpty)
    }

    /// Lines that print a literal with a word in it, or head a column with one.
    private static func sentences(_ text: String) -> [Substring] {
        text.split(separator: "\n").filter { line in
            let printed = line.firstMatch(
                of: /console\.(line|complain|progress)\((console\.(bold|red)\()?"(.*)"/)
            if let printed {
                let said = String(printed.output.4).replacing(/\\\([^"]*?\)+/, with: "")
                    .replacing("sluice", with: "")
                if said.contains(/[A-Za-z]{3}/) { return true }
            }
            return line.contains(/\("[A-Za-z][a-z ]+", \.(left|right)\)/)
        }
    }
}
