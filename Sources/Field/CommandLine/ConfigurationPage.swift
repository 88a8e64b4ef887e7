// sluiced.conf(5) and sluice-store.conf(5): the manual of a daemon's configuration file, from the key
// table in Host. Roff with the `man` macros only, as the programs' own pages.

import Host

package enum ConfigurationPage {
    package static let gateway = page(
        of: "sluiced", "/etc/sluice/sluiced.json5", Configuration.entries,
        [
            "Files conf.d/*.json5 in the folder of the file are read with it, in the order of their names. "
                + "Groups are put together key by key, and the lists of \"sources\" are appended to one "
                + "another; any other key may be set in one file only: twice is an error that names "
                + "both places.",
            "No secret stands in these files. Keys of meters that encipher stand in a file of mode 0600, "
                + "or in a credential of the unit: see \"keys\".",
            "sluiced --check says what is wrong in which file, line and column; sluiced --plan says what a "
                + "reload or a restart of the running daemon would change.",
        ])

    package static let store = page(
        of: "sluice-store", "/etc/sluice/sluice-store.json5", StoreConfiguration.entries,
        ["sluice-store --check says what is wrong in which line and column."])

    private static func page(
        of program: String, _ path: String, _ entries: [KeyEntry], _ paragraphs: [String]
    ) -> String {
        let name = program + ".conf"
        var out = ".TH \(name.uppercased()) 5 \(Program.date) "
        out += "\"Sluice \(Program.version)\" \"Sluice\"\n"
        out += ".SH NAME\n\(roff(name)) \\- configuration of \(roff(program))\n"
        out += ".SH SYNOPSIS\n.I \(roff(path))\n.SH DESCRIPTION\n"
        out += roff(
            "One object in JSON5: JSON with comments, keys without quotes, and commas at the end of"
        )
        out +=
            "\n"
            + roff("lists. Every key may be left out; a key that is not listed here is an error.")
            + "\n"
        for paragraph in paragraphs { out += ".PP\n\(roff(paragraph))\n" }
        out += ".PP\n"
        out += roff(
            "Durations are written \"250ms\", \"10s\", \"5m\", \"1h\", \"30d\" or \"0\"; sizes in ")
        out += roff("bytes, or \"64KB\", \"4MB\", \"1GB\", \"1TB\" (powers of 1024).") + "\n"
        out += ".SH KEYS\n"
        for entry in entries {
            if entry.isGroup {
                out +=
                    ".SS \(roff(entry.path))\n\(roff(entry.about)) \(roff(capital(entry.values))).\n"
            } else {
                out +=
                    ".TP\n.B \(roff(entry.path))\n\(roff(entry.about))\n.br\n\(roff(facts(entry)))\n"
            }
        }
        out += ".SH FILES\n.TP\n.I \(roff(path))\nThe file that the package installs, "
        out += "with every key in a comment.\n"
        out +=
            ".TP\n.I /usr/share/sluice/protocols\nThe formats of frames that the package installs.\n"
        out += ".SH SEE ALSO\n.BR \(roff(program)) (8),\n.BR sluice (1)\n"
        return out
    }

    /// `A duration from "100ms" to "1h"; default: "10s".`
    private static func facts(_ entry: KeyEntry) -> String {
        let standard =
            entry.isRequired
            ? "must be there"
            : entry.standard.isEmpty ? "no default" : "default: \(entry.standard)"
        return "\(capital(entry.values)); \(standard)."
    }

    private static func capital(_ text: String) -> String {
        text.prefix(1).uppercased() + text.dropFirst()
    }

    private static func roff(_ text: String) -> String { ManualPage.escaped(text) }
}
