// What an operator reads at 3 a.m.: fixtures/configuration/wrong has one wrong configuration of each kind,
// and beside it what `sluiced --check` (for store-*: `sluice-store --check`) says of it. NAME.json5 is the
// file, or NAME/sluiced.json5 with NAME/conf.d; those that cannot lie in a repository are made here.
// SLUICE_SNAPSHOTS=write writes what was said: read each line before it is committed.

import Field
import Glibc
import Host
import TestSupport
import Testing

extension EndToEnd {
    @Suite("wrong configurations", .serialized)
    struct WrongConfigurationTests {
        private static let cases = "fixtures/configuration/wrong/"
        private static let made = [
            "file-folder", "file-missing", "file-too-large", "file-unreadable",
            "keys-of-wrong-length",
            "keys-others-may-read", "parts-unreadable",
        ]

        private static var names: [String] {
            let files = Files.names(in: Place.root + "/" + cases)
            let stems = files.compactMap { name -> String? in
                if name.hasSuffix(".json5") { return String(name.dropLast(6)) }
                return name.contains(".") ? nil : name
            }
            return (stems + made).sorted()
        }

        /// Makes what a repository cannot hold; nil for a case that lies in the folder.
        private func make(_ name: String, in folder: Folder) throws -> String? {
            let path = "\(folder.path)/sluiced.json5"
            switch name {
            case "file-folder": return folder.path
            case "file-missing": return path
            case "file-too-large":
                try Files.write([UInt8](repeating: 0x20, count: 4 << 20) + [0x7B, 0x7D], to: path)
            case "file-unreadable": unsafe chmod(try folder.write("{}", to: "sluiced.json5"), 0)
            case "parts-unreadable":
                _ = try folder.write("{}", to: "sluiced.json5")
                try Files.makeFolder(folder.path + "/conf.d")
                unsafe chmod(try folder.write("{}", to: "conf.d/10-a.json5"), 0)
            case "keys-of-wrong-length":
                try write(
                    keys: "{ keys: { \"ACW.09011523.07\": \"0011\" } }", mode: 0o600, in: folder)
            case "keys-others-may-read": try write(keys: "{ keys: {} }", mode: 0o640, in: folder)
            default: return nil
            }
            return path
        }

        private func write(keys: String, mode: mode_t, in folder: Folder) throws {
            // Safety: the path is a string of Swift's, which lives through the call.
            unsafe chmod(try folder.write(keys, to: "keys.json5"), mode)
            _ = try folder.write(
                "{ formats: \"fixtures/configuration/formats\", keys: \"\(folder.path)/keys.json5\" }",
                to: "sluiced.json5")
        }

        /// What the program says of a case, each line without the program's name and the folder.
        private func said(
            of name: String
        ) throws -> (status: Int32, output: String, lines: [String]) {
            let folder = try Folder()
            let program = name.hasPrefix("store-") ? "sluice-store" : "sluiced"
            let own = try make(name, in: folder)
            var path = own ?? "\(Self.cases)\(name).json5"
            if own == nil, !Files.exists("\(Place.root)/\(path)") {
                path = "\(Self.cases)\(name)/sluiced.json5"
            }
            // Root reads what modes forbid; a daemon is not root.
            let isRoot = geteuid() == 0 && name.hasSuffix("-unreadable")
            let checked = try Program(
                program, ["--check", "--config", path], in: folder.path,
                prelude: "export CREDENTIALS_DIRECTORY='\(folder.path)'",
                through: isRoot ? "setpriv --bounding-set=-dac_override,-dac_read_search" : "")
            let status = try checked.end(within: 30)
            let lines = checked.errors.split(separator: "\n").map { line in
                line.replacing("\(program): ", with: "", maxReplacements: 1)
                    .replacing(Self.cases, with: "").replacing(folder.path, with: "FOLDER")
            }
            return (status, checked.output, lines.map(String.init))
        }

        @Test("are refused, each with its place, what is wrong and what to write instead")
        func wrong() throws {
            let mayWrite = unsafe getenv("SLUICE_SNAPSHOTS").map { unsafe String(cString: $0) }
            let names = Self.names
            #expect(names.count >= 30)
            for name in names {
                let said = try said(of: name)
                #expect(said.status == 1, "\(name): \(said)")
                #expect(said.output.isEmpty, "\(name): \(said.output)")
                let path = "\(Place.root)/\(Self.cases)\(name).expected"
                let text = said.lines.map { $0 + "\n" }.joined()
                if mayWrite == "write" { try Files.write(Array(text.utf8), to: path) }
                let expected = String(decoding: try Files.read(path), as: UTF8.self)
                #expect(text == expected, "\(name)")
                judge(said.lines, name)
            }
        }

        /// The rule: a place, what is wrong, and something to do; nothing that a terminal would obey, and
        /// nothing that somebody wanted to keep to himself.
        private func judge(_ lines: [String], _ name: String) {
            #expect(!lines.isEmpty, "\(name)")
            for line in lines {
                let parts = line.firstMatch(of: /^([^:]+):([1-9][0-9]*):([1-9][0-9]*): (.+)$/)
                let words = parts.map { String($0.4) } ?? ""
                let split = words.split(separator: ": ", omittingEmptySubsequences: false)
                #expect(split.count >= 2, "\(name): no place, or nothing to do: \(line)")
                #expect(split.allSatisfy { !$0.isEmpty }, "\(name): \(line)")
                #expect(line.unicodeScalars.allSatisfy { $0.value >= 0x20 }, "\(name): \(line)")
                #expect(!line.contains("hunter2") && !line.contains("00112233"), "\(name): \(line)")
            }
        }

        @Test("the default files with every comment mark taken away pass --check")
        func defaults() throws {
            let folder = try Folder()
            for program in ["sluiced", "sluice-store"] {
                let path = "\(folder.path)/\(program).json5"
                let bare = Shell.run(
                    "sed -E 's,^( *)//([^ ]),\\1\\2,' '\(Place.root)/systemd/\(program).json5' >'\(path)'"
                )
                #expect(bare.status == 0)
                let checked = try run(program, ["--check", "--config", path], in: folder.path)
                #expect(checked.status == 0, "\(checked.errors)")
                #expect(checked.output.contains("sound"), "\(checked.output)")
            }
        }

        @Test("files in conf.d are read with it, and only those that end in .json5")
        func parts() throws {
            let folder = try Folder()
            func source(_ name: String, _ port: Int) -> String {
                "{ name: \"\(name)\", listen: \"udp://127.0.0.1:\(port)\", formats: [\"door\"] }"
            }
            let path = try folder.write(
                "{ formats: \"fixtures/configuration/formats\", sources: [ \(source("a", 9001)) ] }",
                to: "sluiced.json5")
            try Files.makeFolder(folder.path + "/conf.d")
            for (name, text) in [
                ("20-b.json5", "{ sources: [ \(source("b", 9002)), \(source("c", 9003)) ] }"),
                ("10-store.json5", "{ store: { address: \"store.example:9100\" } }"),
                (".hidden.json5", "no JSON5"), ("30-old.json5.dpkg-old", "no JSON5"),
            ] {
                _ = try folder.write(text, to: "conf.d/\(name)")
            }
            let checked = try run("sluiced", ["--check", "--config", path], in: folder.path)
            #expect(checked.status == 0, "\(checked.errors)")
            #expect(checked.output.contains("3 sources, 2 formats"), "\(checked.output)")
        }

        @Test("no expectation is left over")
        func leftOver() {
            let files = Files.names(in: Place.root + "/" + Self.cases)
            let expected = files.filter { $0.hasSuffix(".expected") }.map { $0.dropLast(9) }
            #expect(expected.sorted() == Self.names.map { $0[...] })
        }
    }
}
