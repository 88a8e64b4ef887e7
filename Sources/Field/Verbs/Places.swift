// Where the field tool finds formats, captures and its sister programs: beside itself. Resolved
// once a
// run on the main thread.

import Formats
import Glibc

package enum Places {
    /// The formats' folder: `--formats`, else the nearest `protocols` at or above the working
    /// folder
    /// or the program, else the installed one.
    static func formats(_ given: String?) throws(UsageError) -> String {
        if let given {
            if Files.isFolder(given) { return given }
            throw UsageError(
                "--formats \(given)", "is no folder", "name the folder of *.json5 files")
        }
        if let found = find("protocols", orInstalled: "/usr/share/sluice/protocols") {
            return found
        }
        throw UsageError(
            "formats", "no folder `protocols` at or above here", "add --formats DIR")
    }

    /// A daemon's formats when its configuration names none: what was installed with the program,
    /// else as for the tools. A daemon's working folder is an accident of how it was started, so
    /// it comes last.
    package static func daemonFormats() -> String? {
        find(
            "protocols", from: [programFolder, "."], shared: "\(programFolder)/../share/sluice",
            orInstalled: "/usr/share/sluice/protocols"
        ).map(Files.resolved)
    }

    /// The file of `folder` that somebody may have meant by `--format STEM`: its format's name.
    static func formatName(ofFile stem: String, in folder: String) -> String? {
        guard !stem.contains("/"), let bytes = try? Files.read("\(folder)/\(stem).json5") else {
            return nil
        }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let line = String(line).trimmingBlanks
            guard ["format:", "\"format\":"].contains(where: { line.hasPrefix($0) }) else {
                continue
            }
            let afterKey = line[line.index(after: line.firstIndex(of: ":")!)...]
            let parts = afterKey.split(whereSeparator: { $0 == "\"" || $0 == "'" })
            return parts.count > 1 ? String(parts[1]) : nil
        }
        return nil
    }

    static func find(_ name: String, orInstalled installed: String) -> String? {
        find(
            name, from: [".", programFolder], shared: "\(programFolder)/../share/sluice",
            orInstalled: installed)
    }

    /// The folder `name` at or above the first of `starts` that has one, else its last part in
    /// `shared`, else the installed one. A file of that name (`/etc/protocols`) is none.
    package static func find(
        _ name: String, from starts: [String], shared: String, orInstalled installed: String
    ) -> String? {
        var candidates: [String] = []
        for start in starts {
            var folder = start
            for _ in 0..<8 {
                candidates.append("\(folder)/\(name)")
                folder += "/.."
            }
        }
        let last = name.split(separator: "/").last.map(String.init) ?? name
        candidates += ["\(shared)/\(last)", installed]
        return candidates.first(where: Files.isFolder)
    }

    /// The folder that holds the running program.
    static var programFolder: String {
        guard let path = Files.linkTarget("/proc/self/exe") else { return "." }
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return String(path[..<slash])
    }

    /// Loads the formats; complaints go to the console, one a line.
    static func library(_ folder: String, console: Console) -> FormatLibrary? {
        do throws(Complaints) {
            return try FormatLibrary(directory: folder)
        } catch {
            for complaint in error.all { console.complain("sluice: \(complaint.description)") }
            return nil
        }
    }
}

extension Places {
    /// The key file's keys, none without a file; nil after complaining.
    static func keys(_ file: String?, console: Console) -> DeviceKeys? {
        guard let file, !file.isEmpty else { return DeviceKeys.none }
        do throws(Complaints) {
            return try DeviceKeys(file: file)
        } catch {
            for complaint in error.all { console.complain("sluice: \(complaint.description)") }
            return nil
        }
    }
}

/// Hex text as people paste it: blanks, colons, dashes and commas between bytes, `0x` before them.
package enum Hex {
    package static func bytes(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var high: UInt8?
        let characters = Array(text.utf8)
        var i = 0
        while i < characters.count {
            let c = characters[i]
            i += 1
            switch c {
            case 0x20, 0x09, 0x0D, 0x0A, 0x3A, 0x2D, 0x2C:
                if high != nil { return nil }
            case 0x30 where high == nil && i < characters.count && characters[i] | 0x20 == 0x78:
                i += 1
                guard i < characters.count, digit(characters[i]) != nil else { return nil }
            default:
                guard let digit = digit(c) else { return nil }
                if let upper = high {
                    bytes.append(upper << 4 | digit)
                    high = nil
                } else {
                    high = digit
                }
            }
        }
        return high == nil ? bytes : nil
    }

    private static func digit(_ c: UInt8) -> UInt8? {
        switch c {
        case 0x30...0x39: c - 0x30
        case 0x41...0x46: c - 0x37
        case 0x61...0x66: c - 0x57
        default: nil
        }
    }
}
