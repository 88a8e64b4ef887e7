// Loading a folder again beside formats that run: which version of each is to run afterwards.

import Formats
import Glibc
import Testing

struct FormatReloadTests {
    /// A folder of format files, removed with its owner.
    private final class Folder {
        let path: String

        init(_ files: [String: String]) {
            path = "/tmp/sluice-formats-\(UInt64.random(in: 0...UInt64.max))"
            // Safety: mkdir reads the NUL-terminated path that Swift makes for the call.
            _ = unsafe mkdir(path, 0o700)
            for (name, text) in files { write(text, to: name) }
        }

        deinit {
            for name in ["a.json5", "b.json5", "c.json5"] { remove(name) }
            // Safety: as for mkdir.
            _ = unsafe rmdir(path)
        }

        func write(_ text: String, to name: String) {
            // Safety: fopen and fputs read NUL-terminated texts that Swift makes for the calls; the
            // stream is checked and closed once.
            guard let file = unsafe fopen("\(path)/\(name)", "w") else { return }
            _ = unsafe fputs(text, file)
            _ = unsafe fclose(file)
        }

        // Safety: as for mkdir.
        func remove(_ name: String) { _ = unsafe unlink("\(path)/\(name)") }
    }

    private static func base(_ decimals: Int, says: String) -> String {
        "{ format: \"a\", framing: { length: \"datagram\", maximum: 9 },\n"
            + " layout: [ { name: \"v\", type: \"u8\", decimals: \(decimals), reading: true },\n"
            + "  { insert: \"more\" } ],\n tests: [ { hex: \"05\", readings: { v: \(says) } } ] }"
    }

    private static let variant =
        "{ format: \"b\", extends: \"a\", tests: [ { hex: \"05\", readings: { v: 5 } } ] }"

    private static let other =
        "{ format: \"c\", framing: { length: 1, maximum: 1 },\n"
        + " layout: [ { name: \"w\", type: \"u8\" } ] }"

    private func start() throws -> (Folder, FormatLibrary) {
        let folder = Folder([
            "a.json5": Self.base(0, says: "5"), "b.json5": Self.variant, "c.json5": Self.other,
        ])
        return (folder, try FormatLibrary(directory: folder.path))
    }

    @Test("what has not changed is not called changed")
    func unchanged() throws {
        let (folder, library) = try start()
        let reload = library.reloaded(from: folder.path)
        #expect(reload.changed == [])
        #expect(reload.kept == [])
        #expect(reload.complaints == [])
        #expect(Set(reload.library.formats.map(\.name)) == ["a", "b", "c"])
    }

    @Test("a file whose own test fails keeps its version, also as the base of others")
    func failing() throws {
        let (folder, library) = try start()
        folder.write(Self.base(1, says: "5"), to: "a.json5")
        let reload = library.reloaded(from: folder.path)
        #expect(reload.kept == ["a"])
        #expect(reload.complaints.map(\.line) == [4])
        #expect(reload.library.format(named: "a") === library.format(named: "a"))
        #expect(reload.library.formats.count == 3)
    }

    @Test("a variant that a good new base breaks keeps its own version")
    func brokenVariant() throws {
        let (folder, library) = try start()
        folder.write(Self.base(1, says: "0.5"), to: "a.json5")
        let reload = library.reloaded(from: folder.path)
        #expect(reload.changed == ["a"])
        #expect(reload.kept == ["b"], "\(reload.complaints.map(\.description))")
        #expect(reload.library.format(named: "b") === library.format(named: "b"))
        #expect(reload.library.format(named: "a") !== library.format(named: "a"))
        // And again: the next reload starts from what runs.
        let again = reload.library.reloaded(from: folder.path)
        #expect(again.kept == ["b"])
        folder.write(Self.base(0, says: "5"), to: "a.json5")
        let mended = again.library.reloaded(from: folder.path)
        #expect(mended.kept == [])
        #expect(mended.complaints == [])
    }

    @Test("what a kept variant goes without does not come back in those that extend it")
    func keptVariant() throws {
        let base =
            "{ format: \"a\", framing: { length: \"datagram\", maximum: 9 },\n"
            + " layout: [ { name: \"v\", type: \"u8\" } ],\n"
            + " exchange: { duplicate: { key: [\"v\"], windowSeconds: 60 } } }"
        let variant = "{ format: \"b\", extends: \"a\", exchange: { duplicate: null } }"
        let folder = Folder([
            "a.json5": base, "b.json5": variant,
            "c.json5": "{ format: \"c\", extends: \"b\", title: \"one\" }",
        ])
        let library = try FormatLibrary(directory: folder.path)
        #expect(library.format(named: "a")?.duplicateWindowMilliseconds == 60_000)
        #expect(library.format(named: "c")?.duplicateWindowMilliseconds == 0)
        folder.write("{ format: \"b\", extends: \"a\", nonsense: 1 }", to: "b.json5")
        folder.write("{ format: \"c\", extends: \"b\", title: \"two\" }", to: "c.json5")
        let reload = library.reloaded(from: folder.path)
        #expect(reload.kept == ["b"], "\(reload.complaints.map(\.description))")
        #expect(reload.changed.contains("c"))
        #expect(reload.library.format(named: "c")?.title == "two")
        #expect(reload.library.format(named: "c")?.duplicateWindowMilliseconds == 0)
    }

    @Test("a file that is gone, unreadable text and a new bad file harm nobody")
    func harmless() throws {
        let (folder, library) = try start()
        folder.remove("c.json5")
        folder.write("{ format: ", to: "b.json5")
        let reload = library.reloaded(from: folder.path)
        #expect(Set(reload.kept) == ["b", "c"])
        #expect(reload.complaints.count == 2)
        #expect(reload.library.formats.count == 3)
        #expect(library.reloaded(from: folder.path + "/none").kept.count == 3)
    }
}
