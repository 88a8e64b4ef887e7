// The door of the formats: load files, ask for a decoder, decode.

package import Model

/// What is wrong in a format or configuration file, at its place.
package struct Complaint: Error, Hashable, Sendable {
    package var file: String
    package var line: Int
    package var column: Int
    package var what: String
    /// What to write instead; empty when there is nothing to suggest.
    package var suggestion: String

    package init(file: String, line: Int, column: Int, what: String, suggestion: String) {
        self.file = file
        self.line = line
        self.column = column
        self.what = what
        self.suggestion = suggestion
    }

    /// `protocols/dlt645.json5:12:5: unknown key "lenght": write "length"`
    package var description: String {
        "\(file):\(line):\(column): \(what)" + (suggestion.isEmpty ? "" : ": \(suggestion)")
    }
}

package struct Complaints: Error, Sendable {
    package var all: [Complaint]
    package init(all: [Complaint]) { self.all = all }
}

/// One output of a format: a quantity it can yield, with its validation rule.
package struct Output: Hashable, Sendable {
    /// Accepted range as doubles, nil when the format states none.
    package var range: ClosedRange<Double>?
    /// True: drop a reading outside the range; false: flag it.
    package var dropsOutOfRange: Bool
    /// True: a reading without a value is dropped instead of kept with its quality.
    package var dropsMissing: Bool

    package init(range: ClosedRange<Double>?, dropsOutOfRange: Bool, dropsMissing: Bool) {
        self.range = range
        self.dropsOutOfRange = dropsOutOfRange
        self.dropsMissing = dropsMissing
    }
}

/// A compiled format: immutable, shared by all threads.
package final class Format: Sendable {
    package let name: String
    package let title: String
    package let outputs: [Output]
    /// Longest frame in bytes.
    package let maximumFrame: Int
    /// True when frames of this format are answered.
    package let answers: Bool
    /// True when the device has no globally unique identity, so that the catalog prefixes it with the
    /// source's name (a Modbus address).
    package let identityIsLocal: Bool

    init(name: String) {
        self.name = name
        title = ""
        outputs = []
        maximumFrame = 0
        answers = false
        identityIsLocal = false
    }

    /// The words for a stream of this format. Slow path: called once a stream.
    package func describe(output: UInt16, discriminator: UInt64) -> StreamDescription {
        StreamDescription(name: "", quantity: "", unit: "", priority: .live)
    }
}

/// All formats of a gateway, compiled and with their embedded tests passed.
package final class FormatLibrary: Sendable {
    package let formats: [Format]

    /// Loads every `*.json5` of `directory`. Throws all complaints of all files at once.
    package init(directory: String) throws(Complaints) {
        formats = []
    }

    /// Loads one text, for tests and for the tools.
    package init(text: String, file: String) throws(Complaints) {
        formats = []
    }

    package func format(named name: String) -> Format? { formats.first { $0.name == name } }
}

/// Runs one format over frames. Not Sendable: owns scratch storage, one a thread.
package final class Decoder {
    package let format: Format

    package init(_ format: Format, seed: UInt64 = 0) { self.format = format }

    /// Decodes exactly one frame (preamble included) into `result`, which it empties first.
    /// Nothing is allocated once warm; nothing in `frame` can trap.
    package func decode(
        _ frame: Span<UInt8>, direction: Direction, into result: inout DecodedFrame
    ) throws(Rejection) {
        throw .noFormat
    }

    /// Looks for one frame at the start of `stream` (bytes of a TCP connection or a tty). Each result
    /// other than `.needsMore` takes at least one byte; `.needsMore` means that the bytes after `skip`
    /// may still become a frame of at most `maximumFrame` bytes.
    package func search(_ stream: Span<UInt8>, direction: Direction) -> FrameSearch {
        .needsMore(skip: 0)
    }

    /// Identity text of the frame decoded last, empty when it has none. Slow path.
    package func identityText() -> String { "" }

    /// Explains one frame, as far as it can be decoded.
    package func explain(_ frame: [UInt8], direction: Direction) -> Explanation {
        Explanation(
            root: FieldNode(name: "", bytes: 0..<0, value: .object), rejection: .noFormat,
            rejectedAt: 0, reason: "")
    }
}
