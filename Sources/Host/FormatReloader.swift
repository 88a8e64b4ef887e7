// SIGHUP: reads the format files again and hands what is good to the intake. Compiling and testing happen
// on the reload's own queue; the intake only swaps, on its queue, between two turns. What was no good is
// said in the log and stays in /status until a reload finds it mended.

import Dispatch
import Formats
import Model
import Pipeline
import Synchronization

final class FormatReloader: Sendable {
    private struct State {
        var library: FormatLibrary
        var loadedAt: Timestamp
        var reloads = 0
        var kept: [String] = []
        var complaints: [String] = []
    }

    private let directory: String
    private let copies: FormatCopies
    private let clock: Clock
    private let intake: Mailbox<IntakeJob>
    /// What the buffers of the sources that use a format have room for.
    private let longest: [String: Int]
    /// Formats of the start, of which the sources chose theirs; nil: each lists its own.
    private let known: Set<String>?
    private let state: Mutex<State>
    private let queue = DispatchQueue(label: "sluice.reload")

    /// `loaded`: what the start found in `directory`.
    init(
        _ loaded: FormatLibrary.Reload, directory: String, copies: FormatCopies,
        sources: [IntakeSource], clock: Clock, intake: Mailbox<IntakeJob>
    ) {
        self.directory = directory
        self.copies = copies
        self.clock = clock
        self.intake = intake
        var longest: [String: Int] = [:]
        for source in sources {
            let room = source.formats.map(\.maximumFrame).max() ?? 0
            for format in source.formats {
                longest[format.name] = min(room, longest[format.name] ?? .max)
            }
        }
        self.longest = longest
        known = sources.contains { $0.triesAll } ? Set(loaded.library.formats.map(\.name)) : nil
        state = Mutex(
            State(
                library: loaded.library, loadedAt: clock.wall(), kept: loaded.kept,
                complaints: loaded.complaints.map(\.description)))
        queue.async { [self] in keepCopies(loaded) }
    }

    /// A gateway takes in without copies; what a bad file would do at its next start is said.
    private func keepCopies(_ loaded: FormatLibrary.Reload) {
        do throws(HostError) {
            try copies.keep(loaded.texts, isAll: loaded.complaints.isEmpty)
        } catch {
            Log.warning(
                "formats: \(error.description); a bad format file would stop the next start")
        }
    }

    /// Returns at once; from any thread. Wishes that come together are carried out in turn; `done` is
    /// called on the reload's queue.
    func reload(done: @escaping @Sendable () -> Void) {
        queue.async { [self] in
            reloadNow()
            done()
        }
    }

    /// What a reload would do now, in the same way; `reply` is called on the reload's queue.
    func preview(_ reply: @escaping @Sendable (JSON) -> Void) {
        queue.async { [self] in
            let running = state.withLock { $0.library }
            let (found, _) = found(running)
            reply(
                ReloadPreview(
                    found: found, running: running, used: Set(longest.keys), known: known
                ).json)
        }
    }

    /// The formats as the files have them now, and those of them that are to be handed to the intake.
    private func found(_ running: FormatLibrary) -> (FormatLibrary.Reload, [Format]) {
        var found = running.reloaded(from: directory)
        var formats: [Format] = []
        for format in found.library.formats where format !== running.format(named: format.name) {
            if let room = longest[format.name], format.maximumFrame > room {
                found.refuse(format.name, room: room, running: running, folder: directory)
            } else {
                formats.append(format)
            }
        }
        return (found, formats)
    }

    private func reloadNow() {
        let running = state.withLock { $0.library }
        let (found, formats) = found(running)
        intake.post(.replaceFormats(formats))
        keepCopies(found)
        let complaints = found.complaints.map(\.description)
        let library = found.library
        let kept = found.kept
        let now = clock.wall()
        state.withLock {
            $0.library = library
            $0.loadedAt = now
            $0.reloads += 1
            $0.kept = kept
            $0.complaints = complaints
        }
        for complaint in complaints {
            Log.warning("formats: \(complaint)", .reason("\(complaint)"))
        }
        let changed = found.changed.filter { !kept.contains($0) }
        Log.state(
            "formats: reloaded, \(changed.isEmpty ? "none" : changed.joined(separator: " ")) changed"
                + (kept.isEmpty ? "" : "; the old version stays of \(kept.joined(separator: " "))"))
    }

    /// For /status.
    var json: JSON {
        state.withLock { state in
            .object([
                ("loaded", .integer(Int64(state.library.formats.count))),
                ("loadedAt", .string(state.loadedAt.iso8601)),
                ("reloads", .integer(Int64(state.reloads))),
                ("kept", .array(state.kept.map { .string($0) })),
                ("complaints", .array(state.complaints.map { .string($0) })),
            ])
        }
    }
}

extension FormatLibrary.Reload {
    /// A version whose frames are longer than the buffers that were made at start has to wait.
    fileprivate mutating func refuse(
        _ name: String, room: Int, running: FormatLibrary, folder: String
    ) {
        kept.append(name)
        complaints.append(
            Complaint(
                file: folder, line: 1, column: 1,
                what:
                    "format \"\(name)\" has longer frames than the \(room) bytes that its sources "
                    + "made room for",
                suggestion: "restart, or write a smaller maximum"))
        library = library.replacing(name, from: running)
    }
}
