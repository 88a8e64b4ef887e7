// The format files that run, copied beside the spool: a file that a reload refused, or that somebody broke
// since, must not keep the next start from taking in. Written on the reload's queue, read at start only.
// Invariants: a copy is a file that compiled and passed its own tests; it is replaced in one step; the copy
// of a file goes only when all files of the folder are good and it is none of them. Copies are not flushed:
// one that a power cut tore does not compile any more and is left out.

import CLinux
import Formats
import Glibc

struct FormatCopies: Sendable {
    /// Where the copies stand.
    private let folder: String
    /// The folder of format files that they are copies of.
    private let original: String

    init(spool: String, of original: String) {
        folder = spool + "/formats"
        self.original = original.hasSuffix("/") ? String(original.dropLast()) : original
    }

    /// All formats that are to run: of the folder, and for what is bad there the copy of what ran before.
    /// Throws the complaints when there is no copy.
    func load() throws(StartError) -> FormatLibrary.Reload {
        let found = FormatLibrary().reloaded(from: original)
        if found.complaints.isEmpty { return found }
        let before = library()
        guard !before.formats.isEmpty else {
            throw StartError(found.complaints.map(\.description).joined(separator: "\n"))
        }
        return before.reloaded(from: original)
    }

    /// Copies `texts` where they are others than before; `isAll`: there are no other files, and their
    /// copies go.
    func keep(_ texts: [FormatText], isAll: Bool) throws(HostError) {
        // Safety: Swift lends a NUL-terminated copy of the path; so in the calls below.
        if unsafe mkdir(folder, 0o700) != 0, errno != EEXIST {
            throw HostError("copies of formats in \(folder)", result: -errno)
        }
        var names: Set<String> = []
        for text in texts {
            let path = folder + "/" + FormatCopies.name(text.file)
            names.insert(path)
            if FileBytes.read(path, limit: text.bytes.count + 1) == text.bytes { continue }
            let result = unsafe text.bytes.withUnsafeBufferPointer { bytes in
                // Safety: the shim reads `count` bytes within the call.
                unsafe sluice_replace_file(path, bytes.baseAddress, UInt64(bytes.count))
            }
            guard result == 0 else { throw HostError("copy of format \(path)", result: result) }
        }
        guard isAll, let all = try? FormatLibrary.texts(in: folder) else { return }
        for text in all.texts where !names.contains(text.file) { _ = unsafe unlink(text.file) }
    }

    /// The copies of files that still exist, under the names of what they are copies of.
    private func library() -> FormatLibrary {
        guard let copies = try? FormatLibrary.texts(in: folder) else { return FormatLibrary() }
        let present = (try? FormatLibrary.files(in: original)).map {
            Set($0.map(FormatCopies.name))
        }
        let texts = copies.texts.compactMap { text -> FormatText? in
            let name = FormatCopies.name(text.file)
            guard present?.contains(name) ?? true else { return nil }
            return FormatText(file: original + "/" + name, bytes: text.bytes)
        }
        return FormatLibrary().reloaded(with: texts).library
    }

    private static func name(_ path: String) -> String {
        String(path.split(separator: "/").last ?? "")
    }
}

extension FormatLibrary.Reload {
    /// What a start says of files that are bad.
    var warnings: [String] {
        let stay =
            kept.isEmpty
            ? [] : ["formats: as they ran before: \(kept.sorted().joined(separator: " "))"]
        return complaints.map { "formats: \($0.description)" } + stay
    }
}
