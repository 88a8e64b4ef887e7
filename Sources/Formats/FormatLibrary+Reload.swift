// Loading formats again while they run. One bad file does not stop the others: a file that does not
// compile or whose own tests fail leaves the version that runs in its place, also for the formats that
// extend or nest it. Used by the daemon's reload and start; no I/O but reading the files.

import Model

extension FormatLibrary {
    /// What became of the files of a folder.
    package struct Reload: Sendable {
        /// Every format that is to run now: new versions, and old ones where the new are no good.
        package var library: FormatLibrary
        /// Formats of `library` whose text, or the text of what they extend, is another than before.
        package var changed: [String] = []
        /// Formats that keep the version that ran, though their file is another or gone.
        package var kept: [String] = []
        package var complaints: [Complaint] = []
        /// The files that are good.
        package var texts: [FormatText] = []
    }

    /// Loads the files of `directory` anew beside the formats of this library.
    package func reloaded(from directory: String) -> Reload {
        do throws(Complaints) {
            let read = try FormatLibrary.texts(in: directory)
            return reloaded(with: read.texts, unreadable: read.unreadable)
        } catch {
            var result = Reload(library: self)
            result.complaints = error.all
            result.kept = formats.map(\.name)
            return result
        }
    }

    /// As `reloaded(from:)`, with files that were read.
    package func reloaded(
        with read: [FormatText], unreadable complaints: [Complaint] = []
    ) -> Reload {
        var result = Reload(library: self, complaints: complaints)
        var texts = read
        let unreadable = Set(complaints.map(\.file))
        var frozen = sources.filter { unreadable.contains($0.file) }
        // Each round leaves at least one bad file out, so there are at most as many as files.
        while true {
            var loader = FormatLoader(base: frozen)
            for text in texts { loader.parse(text.bytes, file: text.file) }
            let parsed = loader.own
            let loaded = loader.compile()
            if loader.complaints.isEmpty {
                finish(&result, loaded, loader.own, frozen)
                result.texts = texts
                return result
            }
            let bad = FormatLibrary.causes(Set(loader.complaints.map(\.file)), among: parsed)
            result.complaints += loader.complaints.filter { bad.contains($0.file) }
            let before = texts.count
            texts.removeAll { bad.contains($0.file) }
            guard texts.count < before else {
                result.kept = formats.map(\.name)
                return result
            }
            frozen += sources.filter { bad.contains($0.file) }
        }
    }

    /// The bad files without those that may be bad only because what they extend is.
    private static func causes(_ bad: Set<String>, among parsed: [FormatSource]) -> Set<String> {
        let names = Set(parsed.filter { bad.contains($0.file) }.map(\.name))
        let followers = parsed.filter { names.contains($0.root["extends"]?.string ?? "") }
        let causes = bad.subtracting(followers.map(\.file))
        return causes.isEmpty ? bad : causes
    }

    private func finish(
        _ result: inout Reload, _ loaded: [Format], _ own: [FormatSource],
        _ frozen: [FormatSource]
    ) {
        let names = Set(loaded.map(\.name))
        var stay = frozen.filter { !names.contains($0.name) }
        for source in sources
        where !names.contains(source.name) && !stay.contains(where: { $0.name == source.name }) {
            stay.append(source)
            result.complaints.append(
                Complaint(
                    file: source.file, line: 1, column: 1,
                    what: "format \"\(source.name)\" is gone; it runs on until the next start",
                    suggestion: "restart when no source needs it"))
        }
        result.kept = stay.map(\.name)
        result.changed = own.filter { source in
            sources.first { $0.name == source.name }?.digest != source.digest
        }.map(\.name)
        result.library = FormatLibrary(
            formats: loaded + stay.compactMap { format(named: $0.name) }, sources: own + stay)
    }

    /// The same library with format `name` as `other` has it.
    package func replacing(_ name: String, from other: FormatLibrary) -> FormatLibrary {
        FormatLibrary(
            formats: formats.map { $0.name == name ? other.format(named: name) ?? $0 : $0 },
            sources: sources.map { source in
                source.name == name
                    ? other.sources.first { $0.name == name } ?? source : source
            })
    }
}
