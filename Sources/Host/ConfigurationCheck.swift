// What of a configuration cannot work with the formats there are: names that no format has, poll plans
// that ask for what no format describes. Used by `sluiced --check` and at start; complaints with the place
// in the file that is to be mended.

package import Formats

extension Configuration {
    /// What a start would find in the files that this names: formats and keys. Throws what is wrong.
    @discardableResult
    package func check() throws(Complaints) -> FormatLibrary {
        let library = try FormatLibrary(directory: formats)
        if !keys.isEmpty { _ = try DeviceKeys(file: keys) }
        let idle = complaintsOfIdleness(library)
        let wrong = idle.isEmpty ? complaints(about: library) : idle
        if !wrong.isEmpty { throw Complaints(all: wrong) }
        return library
    }

    /// All complaints, in the order of the sources.
    package func complaints(about library: FormatLibrary) -> [Complaint] {
        sources.flatMap { $0.complaints(about: library) }
    }

    /// What would run and do nothing: an operator who checks a file wants to know.
    package func complaintsOfIdleness(_ library: FormatLibrary) -> [Complaint] {
        var all: [Complaint] = []
        if library.formats.isEmpty {
            all.append(
                formatsMark.complaint(
                    "formats: \(formats) holds no *.json5 file",
                    "name the folder of the format files"))
        }
        if sources.isEmpty {
            all.append(
                sourcesMark.complaint(
                    "sources: there are none, nothing could be received",
                    "write one: sources: [ { name: \"udp\", listen: \"udp://127.0.0.1:9001\" } ]"))
        }
        return all
    }
}

extension Configuration.Source {
    fileprivate func complaints(about library: FormatLibrary) -> [Complaint] {
        let names = library.formats.map(\.name)
        var all: [Complaint] = []
        for (number, format) in formats.enumerated() {
            let place = number < formatMarks.all.count ? formatMarks.all[number] : mark
            if !names.contains(format) {
                all.append(unknown(format, among: names, at: place))
            } else if formats[..<number].contains(format) {
                all.append(
                    place.complaint(
                        "format \"\(format)\" stands twice in the list of source \(name)",
                        "remove one: formats are tried in the order of the list"))
            }
        }
        for route in paths + topics where !names.contains(route.format) {
            all.append(unknown(route.format, among: names, at: route.mark))
        }
        let known = formats.compactMap { library.format(named: $0) }
        // A plan for a format that is not known is wrong because of that.
        return all.isEmpty
            ? lineSettings(formats.isEmpty ? library.formatsByEvidence : known).faults : all
    }

    private func unknown(_ format: String, among names: [String], at place: Mark) -> Complaint {
        let near =
            names.sorted().map { ($0, editDistance($0, format)) }.min { $0.1 < $1.1 }
        let isNear = near.map { $0.1 <= max(1, $0.0.count / 3) } ?? false
        return place.complaint(
            "source \(name): there is no format \"\(Shown.text(format))\"",
            isNear
                ? "write \"\(near?.0 ?? "")\""
                : "there are: \(names.sorted().joined(separator: ", "))")
    }
}
