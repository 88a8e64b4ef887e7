// `sluice replay CAPTURE --diff OLD NEW`: what a change of the formats would change, reading by reading,
// before it is rolled out. Nothing is sent. On the main thread.

package import Formats
import Model

/// A reading, or a frame, that the two versions read differently.
package struct FrameChange {
    package enum Kind: String, Sendable {
        case changed, added, removed
        /// The frame itself: by which format it is accepted, or not.
        case accepted, refused

        fileprivate var phrase: Phrase {
            switch self {
            case .changed: .changeChanged
            case .added: .changeAdded
            case .removed: .changeRemoved
            case .accepted: .changeAccepted
            case .refused: .changeRefused
            }
        }
    }

    package var kind: Kind
    package var number: Int
    package var time: Int64
    package var stream: String
    package var old: Side?
    package var new: Side?

    package struct Side: Hashable, Sendable {
        package var format: String
        package var device: String
        package var value: String
        package var unit: String
        package var observedAt: String
        package var quality: String
        package var rejection: String?
    }
}

package struct FormatComparison {
    package private(set) var frames = 0
    package private(set) var readings = 0
    package private(set) var changes: [FrameChange] = []

    /// Decodes the capture's side with both.
    package init(
        _ capture: Capture, old: FormatLibrary, new: FormatLibrary, keys: DeviceKeys = .none,
        only names: [String] = [], sides: ReplayPlan.Sides = .client, serverPort: UInt16? = nil
    ) {
        func isWanted(_ delivery: CapturedDelivery) -> Bool {
            let conversation = capture.conversations[delivery.conversation]
            if let serverPort, conversation.server.port != serverPort { return false }
            switch sides {
            case .client: return delivery.isToServer
            case .server: return !delivery.isToServer
            case .both: return true
            }
        }
        let before = CaptureDecoder(old, keys: keys, only: names, pairs: sides == .both)
            .frames(of: capture, where: isWanted)
        let after = CaptureDecoder(new, keys: keys, only: names, pairs: sides == .both)
            .frames(of: capture, where: isWanted)
        var oldByPlace: [CapturedFrame.Place: CapturedFrame] = [:]
        for frame in before { oldByPlace[frame.place] = frame }
        var newByPlace: [CapturedFrame.Place: CapturedFrame] = [:]
        for frame in after { newByPlace[frame.place] = frame }
        let places = Set(oldByPlace.keys).union(newByPlace.keys).sorted()
        frames = places.count
        for place in places { compare(oldByPlace[place], newByPlace[place]) }
        changes.sort { ($0.time, $0.number) < ($1.time, $1.number) }
    }

    private mutating func compare(_ old: CapturedFrame?, _ new: CapturedFrame?) {
        guard let any = old ?? new else { return }
        let before = FormatComparison.named(old)
        let after = FormatComparison.named(new)
        readings += max(before.count, after.count)
        let wasAccepted = old.map { $0.rejection == nil } ?? false
        let isAccepted = new.map { $0.rejection == nil } ?? false
        func add(
            _ kind: FrameChange.Kind, _ stream: String, _ old: FrameChange.Side?,
            _ new: FrameChange.Side?
        ) {
            changes.append(
                FrameChange(
                    kind: kind, number: any.number, time: any.time, stream: stream, old: old,
                    new: new))
        }
        let frameBefore = old.map { FormatComparison.side($0, nil) }
        let frameAfter = new.map { FormatComparison.side($0, nil) }
        if wasAccepted != isAccepted || (!wasAccepted && frameBefore != frameAfter) {
            add(isAccepted ? .accepted : .refused, "", frameBefore, frameAfter)
        }
        let later = Dictionary(uniqueKeysWithValues: after.map { ($0.key, $0.side) })
        let earlier = Set(before.map(\.key))
        for (key, side) in before {
            guard let other = later[key] else {
                add(.removed, key.stream, side, nil)
                continue
            }
            if other != side { add(.changed, key.stream, side, other) }
        }
        for (key, side) in after where !earlier.contains(key) {
            add(.added, key.stream, nil, side)
        }
    }

    private struct Key: Hashable {
        var stream: String
        /// Of several readings of one stream in a frame.
        var occurrence: Int
    }

    private static func named(
        _ frame: CapturedFrame?
    ) -> [(key: Key, side: FrameChange.Side)] {
        guard let frame else { return [] }
        var seen: [String: Int] = [:]
        return frame.readings.map { reading in
            let occurrence = seen[reading.stream, default: 0]
            seen[reading.stream] = occurrence + 1
            return (Key(stream: reading.stream, occurrence: occurrence), side(frame, reading))
        }
    }

    private static func side(
        _ frame: CapturedFrame, _ reading: CapturedFrame.Words?
    ) -> FrameChange.Side {
        FrameChange.Side(
            format: frame.format, device: frame.device, value: reading?.value ?? "",
            unit: reading?.unit ?? "", observedAt: reading?.observedAt ?? "",
            quality: reading?.quality ?? "", rejection: frame.rejection)
    }

    // MARK: Printing

    func write(to console: Console) {
        let language = console.language
        var table = Table([
            (language(.headFrame), .right), (language(.headChange), .left),
            (language(.headDevice), .left), (language(.headStream), .left),
            (language(.headOld), .left), (language(.headNew), .left),
        ])
        for change in changes {
            let (old, new) = FormatComparison.words(change, language)
            table.add([
                "\(change.number)", language(change.kind.phrase),
                change.new?.device ?? change.old?.device ?? "", change.stream, old, new,
            ])
        }
        if !changes.isEmpty { table.write(to: console) }
        let summary =
            language(
                .diffSummary, language.count(frames, .nounFrame),
                language.count(readings, .nounReading),
                language.count(changes.count, .nounDifference))
        console.line(changes.isEmpty ? console.green(summary) : console.bold(summary))
    }

    /// Both sides in words; what is the same on both is said once or not at all.
    private static func words(
        _ change: FrameChange, _ language: Language
    ) -> (String, String) {
        func text(_ side: FrameChange.Side?, beside other: FrameChange.Side?) -> String {
            guard let side else { return "–" }
            if change.stream.isEmpty { return side.rejection ?? side.format }
            var parts = [side.value + (side.unit.isEmpty ? "" : " " + side.unit)]
            if let other {
                if side.quality != other.quality { parts.append(side.quality) }
                if side.observedAt != other.observedAt {
                    parts.append(side.observedAt.isEmpty ? language(.onArrival) : side.observedAt)
                }
                if side.device != other.device { parts.append(language(.diffDevice, side.device)) }
                if side.format != other.format { parts.append(side.format) }
            }
            return parts.joined(separator: ", ")
        }
        return (text(change.old, beside: change.new), text(change.new, beside: change.old))
    }

    func json(_ capture: Capture) -> JSON {
        func side(_ side: FrameChange.Side?) -> JSON {
            guard let side else { return .null }
            return .object([
                ("format", .string(side.format)), ("device", .string(side.device)),
                ("value", .string(side.value)), ("unit", .string(side.unit)),
                ("observedAt", side.observedAt.isEmpty ? .null : .string(side.observedAt)),
                ("quality", .string(side.quality)),
                ("rejection", side.rejection.map { .string($0) } ?? .null),
            ])
        }
        return .object([
            ("framesCompared", .integer(Int64(frames))),
            ("readingsCompared", .integer(Int64(readings))),
            ("differences", .integer(Int64(changes.count))),
            (
                "changes",
                .array(
                    changes.map { change in
                        .object([
                            ("kind", .string(change.kind.rawValue)),
                            ("frame", .integer(Int64(change.number))),
                            (
                                "time",
                                .string(Timestamp(milliseconds: change.time / 1_000_000).iso8601)
                            ),
                            (
                                "device",
                                .string(change.new?.device ?? change.old?.device ?? "")
                            ),
                            ("stream", change.stream.isEmpty ? .null : .string(change.stream)),
                            ("old", side(change.old)), ("new", side(change.new)),
                        ])
                    })
            ),
            ("damage", ReplaySummary.json(capture.damage)),
        ])
    }
}

extension Places {
    /// A version of the formats: a folder, or one file in the place of its namesake in the usual folder.
    static func version(_ path: String, _ console: Console) throws(UsageError) -> FormatLibrary? {
        if Files.isFolder(path) {
            guard let library = library(path, console: console) else { return nil }
            guard !library.formats.isEmpty else {
                throw UsageError(
                    "--diff \(path)", "holds no *.json5 file", "name a folder of format files")
            }
            return library
        }
        guard Files.exists(path) else {
            throw UsageError(
                "--diff \(path)", "is neither a folder nor a file",
                "name two folders of formats, or two files")
        }
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let folder = try formats(nil)
        do {
            var texts: [(file: String, text: String)] = []
            for other in Files.names(in: folder) where other.hasSuffix(".json5") && other != name {
                let file = "\(folder)/\(other)"
                texts.append((file, String(decoding: try Files.read(file), as: UTF8.self)))
            }
            texts.append((path, String(decoding: try Files.read(path), as: UTF8.self)))
            return try FormatLibrary(texts: texts)
        } catch let error as Complaints {
            for complaint in error.all { console.complain("sluice: \(complaint.description)") }
        } catch {
            console.fail("\(path): cannot be read: name a format file")
        }
        return nil
    }
}
