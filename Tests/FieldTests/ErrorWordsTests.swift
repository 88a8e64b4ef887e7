// Errors in Chinese: every part that the tool, the admin door, a spool or a store can say is found
// again, and what is nobody's sentence stays as it is.

import Glibc
import Host
import Testing

@testable import Field

@Suite("Errors in words") struct ErrorWordsTests {
    private func hasHan(_ text: String) -> Bool {
        text.unicodeScalars.contains { (0x4E00...0x9FFF).contains($0.value) }
    }

    private func placeholders(_ text: String) -> [Substring] {
        text.matches(of: /\{\d\}/).map(\.output).sorted()
    }

    @Test("each template is in both languages, with the same placeholders, and found by itself")
    func templates() {
        for (english, chinese) in ErrorWords.templates + ErrorWords.usage {
            #expect(hasHan(chinese) && !hasHan(english), "\(english)")
            #expect(placeholders(english) == placeholders(chinese), "\(english)")
            let filled = Language.filled(english, ["/a b/c", "x:1"])
            #expect(
                ErrorWords.chinese(filled) == Language.filled(chinese, ["/a b/c", "x:1"]),
                "\(filled)")
        }
    }

    @Test("what does not fit a template is left alone")
    func others() {
        for (text, template) in [
            ("ask the daemon at ", "ask the daemon at {0}"), ("answered", "answered {0}"),
            ("no answer in 5 s", "no answer in {0} ms"),
            ("is that a sluiced?", "is this a sluiced?"),
        ] { #expect(ErrorWords.values(of: text, by: template) == nil, "\(text)") }
        #expect(ErrorWords.values(of: "no answer in 5 ms", by: "no answer in {0} ms") == ["5"])
        #expect(Language.chinese.error("/tmp/a: what nobody wrote") == "/tmp/a：what nobody wrote")
        #expect(Language.english.error("a: is no JSON") == "a: is no JSON")
    }

    @Test("a value of a part ends where the next part begins")
    func parts() {
        #expect(
            Language.chinese.error("ask the daemon at /run/s: Connection refused")
                == "询问守护进程 /run/s：连接被拒绝")
        #expect(
            Language.chinese.error(
                "spool /a: in use by process 7: stop it, or use another directory")
                == "暂存 /a：进程 7 正在使用：请先停止它，或换一个目录")
        #expect(
            Language.chinese.error(
                "x.pcap: offset 24: the last record is cut: 1 frame before it read")
                == "x.pcap：偏移 24：最后一条记录不完整：此前读出 1 帧")
        // Colons inside of a part.
        #expect(
            Language.chinese.error("send: Too many references: cannot splice: run it again")
                == "发送：引用过多：无法拼接：请再运行一次")
        #expect(Language.chinese.error("") == "")
        #expect(Language.chinese.error(": : ") == "：：")
    }

    @Test("each error that the C library has words for is said in Chinese")
    func codes() {
        var known = 0
        for code in Int32(1)...200 where !Files.words(code).hasPrefix("Unknown error") {
            known += 1
            #expect(hasHan(ErrorWords.chinese(Files.words(code)) ?? ""), "\(Files.words(code))")
        }
        #expect(known >= 131)
        for (code, chinese) in [
            (ENOENT, "没有这个文件或目录"), (EACCES, "权限不够"), (ENOSPC, "磁盘空间不足"),
            (EADDRINUSE, "地址已被占用"), (ECONNREFUSED, "连接被拒绝"), (EDQUOT, "超出磁盘配额"),
        ] { #expect(ErrorWords.chinese(Files.words(code)) == chinese) }
    }

    @Test("errors of the machine are said in Chinese with their advice, whatever the code")
    func machine() {
        for (code, chinese) in ErrnoWords.table {
            let error = HostError("ask the daemon at /run/s", result: -code)
            let said = Language.chinese.error(error.description)
            #expect(said.hasPrefix("询问守护进程 /run/s：\(chinese)"), "\(said)")
            let advice = said.dropFirst("询问守护进程 /run/s：\(chinese)".count)
            #expect(error.advice.isEmpty == advice.isEmpty, "\(said)")
            #expect(advice.isEmpty || hasHan(String(advice)), "\(said)")
            #expect(!said.contains(": "), "\(said)")
        }
        let console = Console.captured()
        console.language = .chinese
        _ = AdminVerbs.ask("/ledger", "/tmp/sluice-nobody.sock", console)
        #expect(
            console.complaints == [
                "sluice：询问守护进程 /tmp/sluice-nobody.sock：无人监听：请启动 sluiced，或用 --admin 指定其套接字"
            ])
    }

    /// Files that make errors, each with what stands before the words of one.
    private static let sources: [(file: String, before: [String])] = {
        let parts = ["why: ", "remedy: ", "goodbye: ", "fail(", "words: ", "what: "]
        let field = [
            "Captures/CaptureFile", "Captures/SluiceCapture", "Load/ContentAudit",
            "Load/LoadCompare", "Load/LoadRun", "Load/LoadSearch", "Load/LocalDistrict",
            "Load/NetworkSpaces", "Load/ReplayRun", "Load/StoreAudit", "Screen/Files",
            "Screen/LineReader", "Verbs/CaptureVerb", "Verbs/DecodeAuto", "Verbs/Demo",
            "Verbs/Devices", "Verbs/Ledger", "Verbs/Load", "Verbs/Query", "Verbs/ReplayDiff",
            "Verbs/SpoolCopy", "Verbs/SpoolVerb", "Verbs/StoreQuestion",
        ]
        let host = ["AdminRequest", "FileLock", "Sending/Senders", "Sending/Spawning"]
        let calls = ["HostError(", "SendingError(", "why: ", "advice: ", "let what = "]
        let cases = [":\n            ", ": "]
        return field.map { ("Field/\($0)", parts) }
            + (host + ["Sending/OwnNetwork"]).map { ("Host/\($0)", calls) }
            + [
                ("Field/Captures/CaptureFile", ["String {\n        "]), ("Host/HostError", cases),
                ("Spool/SpoolSettings", cases), ("Uplink/FrameReader", cases),
                ("Store/Store", [":\n            "]),
                ("Store/StoreTables", ["message: "]),
                ("Spool/Spool+Opening", ["warnings.append("]), ("Spool/Spool+Room", ["warn("]),
                ("Spool/Spool+Quarantine", ["warn("]), ("Spool/Spool+Writing", ["warn("]),
                ("Spool/SpoolImage", ["warnings.append(", "message: ", "? ", ": "]),
                ("Spool/Segment", ["message: "]), ("Spool/QuarantineFile", ["message: "]),
                ("Host/QuarantineRoutes", ["\"pending\", .string("]),
            ]
    }()

    @Test("each literal of an error's parts is in the table", arguments: sources.indices)
    func literals(index: Int) throws {
        let (file, before) = ErrorWordsTests.sources[index]
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let text = String(
            decoding: try Files.read("\(root)/Sources/\(file).swift"), as: UTF8.self)
        let found = before.flatMap { ErrorWordsTests.literals(of: text, after: $0) }
        for literal in found {
            // SQLite's code stands behind its message.
            let isMessage = before.contains("message: ")
            let whole = isMessage ? "\(literal) (SQLite 11)" : literal
            let said = [whole, literal].map(Language.chinese.error).first {
                !ErrorWordsTests.isEnglish($0)
            }
            #expect(said != nil, "\(file): \(Language.chinese.error(literal))")
        }
        #expect(!found.isEmpty || before.contains("words: "), "\(file) has no words of errors")
    }

    @Test("each literal of what is said of a wrong command line is in the table")
    func usage() throws {
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        var found = 0
        for folder in ["CommandLine", "Verbs", "Bench", "Load"] {
            let path = "\(root)/Sources/Field/\(folder)"
            for file in Files.names(in: path) where file.hasSuffix(".swift") {
                let text = String(decoding: try Files.read("\(path)/\(file)"), as: UTF8.self)
                for range in text.ranges(of: "throw UsageError(") {
                    for literal in ErrorWordsTests.said(in: text[range.upperBound...]) {
                        let chinese = ErrorWords.chinese(literal) ?? literal
                        let flags = chinese.replacing("--to ", with: "--to=")
                        #expect(!ErrorWordsTests.isEnglish(flags), "\(file): \(literal)")
                        found += 1
                    }
                }
            }
        }
        #expect(found > 100, "\(found)")
    }

    @Test("a wrong command line is said in Chinese, also when the language stands behind it")
    func wrongUsage() throws {
        for (arguments, words) in [
            (["sluice", "lode", "--lang", "zh"], "sluice：lode：没有这个动词：`sluice --help` 列出各动词"),
            (
                ["sluice", "load", "--rat", "5", "--lang=zh"],
                "sluice：--rat：没有这个选项：是不是 --rate？"
            ),
            (
                ["sluice", "load", "--local", "--frames", "many", "--lang", "zh"],
                "sluice：--frames many：不是 1…100000000 范围内的整数：例如写 --frames=100000"
            ),
        ] {
            let console = Console.captured()
            #expect(Programs.sluice().run(arguments, console: console) == .wrongUsage)
            #expect(console.complaints.first?.hasPrefix(words) == true, "\(console.complaints)")
        }
    }

    /// Literals of a call's arguments behind the first.
    private static func said(in call: Substring) -> [String] {
        var (depth, arguments, all) = (1, 0, [String]())
        var rest = call
        while depth > 0, let character = rest.popFirst() {
            switch character {
            case "(", "{", "[": depth += 1
            case ")", "}", "]": depth -= 1
            case ",": if depth == 1 { arguments += 1 }
            case "\"":
                guard let (literal, behind) = literal(rest) else { return all }
                rest = behind
                if arguments > 0 { all.append(literal) }
            default: break
            }
        }
        return all
    }

    @Test(
        "a literal that is not in the table would be seen, with its values and over several lines")
    func scanned() {
        let text = """
            throw E(why: "\\(process) is using \\(f("x"))", n: 1, why: words,
                why: "one "
                    + "two")
            """
        #expect(
            ErrorWordsTests.literals(of: text, after: "why: ") == [
                "process 5 is using 5", "one two",
            ])
        #expect(
            ErrorWordsTests.literals(
                of: "why: \"\\(Words.count(n, \"frame\")) sent\"", after: "why: ")
                == ["5 frames sent"])
        for planted in ["something quite new", "lock 5: something quite new: try again"] {
            #expect(ErrorWordsTests.isEnglish(Language.chinese.error(planted)))
        }
    }

    /// Two words of English in a row that are no command.
    private static func isEnglish(_ said: String) -> Bool {
        said.replacing(/`[^`]*`/, with: "").replacing(/(sluice|swift) [a-z]+( [a-z]+)?/, with: "")
            .contains(/[a-z]{2} [a-z]/)
    }

    /// String literals right behind a mark, joined over `+`, with a value for each interpolation.
    private static func literals(of text: String, after mark: String) -> [String] {
        text.ranges(of: mark).compactMap { range in
            var rest = text[range.upperBound...].drop(while: \.isWhitespace)
            var joined: String?
            while rest.first == "\"", let (part, behind) = literal(rest.dropFirst()) {
                joined = (joined ?? "") + part
                rest = behind.drop(while: \.isWhitespace)
                guard rest.first == "+" else { break }
                rest = rest.dropFirst().drop(while: \.isWhitespace)
            }
            return joined
        }
    }

    /// A literal from behind its first quote, and what follows its last.
    private static func literal(_ text: Substring) -> (String, Substring)? {
        var (out, rest) = ("", text)
        while let character = rest.popFirst() {
            if character == "\"" { return (out, rest) }
            guard character == "\\" else {
                out.append(character)
                continue
            }
            guard rest.popFirst() == "(" else {
                out.append("\"")
                continue
            }
            var (depth, inside) = (1, "")
            while depth > 0, let next = rest.popFirst() {
                depth += next == "(" ? 1 : next == ")" ? -1 : 0
                inside.append(next)
            }
            let noun = inside.firstMatch(of: /Words\.count\(.*"([a-z]+)"/)?.output.1
            out += inside == "process)" ? "process 5" : noun.map { "5 \($0)s" } ?? "5"
        }
        return nil
    }
}
