// The configuration that runs beside the one in the files. SIGHUP reads the files again: what is sound and
// other than what runs may take over; what is wrong with them is said, and what runs goes on. Shared by the
// signal's queue and the admin's.

import Formats
import Model
import Pipeline
import Synchronization

final class ConfigurationWatch: Sendable {
    private struct State {
        var lookedAt: Timestamp?
        var complaints: [String] = []
        var pending = 0
    }

    let running: Settings
    /// How often a reload has brought other settings.
    let reloads: Int
    private let configuration: Configuration
    private let clock: Clock
    private let state: Mutex<State>

    init(_ configuration: Configuration, reloads: Int, clock: Clock) {
        self.configuration = configuration
        running = configuration.settings
        self.reloads = reloads
        self.clock = clock
        state = Mutex(State(lookedAt: reloads > 0 ? clock.wall() : nil))
    }

    /// Reads the files that the daemon was started with, where it was started with any. True when they say
    /// other settings that may take over now.
    func look() -> Bool {
        guard !running.file.isEmpty else { return false }
        var now = State(lookedAt: clock.wall())
        var mayTakeOver = false
        do throws(Complaints) {
            var next = try Configuration.load(running.file)
            if next.formats.isEmpty { next.formats = configuration.formats }
            let plan = ConfigurationPlan(from: running, to: next)
            now.pending = plan.changes.count
            mayTakeOver = now.pending > 0 && !plan.needsRestart
            if mayTakeOver {
                try next.check()
                now.complaints = IntakeSockets.faults(
                    of: next.sources, besides: configuration.sources)
            }
        } catch {
            now.complaints = error.all.map(\.description)
        }
        let said = now
        state.withLock { $0 = said }
        for complaint in said.complaints { Log.warning("configuration: \(complaint)") }
        guard said.complaints.isEmpty else {
            Log.state("configuration: the files are wrong: what runs goes on as it is")
            return false
        }
        guard said.pending > 0 else { return false }
        let count = said.pending == 1 ? "1 change" : "\(said.pending) changes"
        Log.state(
            mayTakeOver
                ? "configuration: \(count) to take over, the sockets stay open"
                : "configuration: \(count) to wait for a restart: sluiced --plan")
        return mayTakeOver
    }

    /// For /status.
    var json: JSON {
        state.withLock { state in
            .object([
                ("file", .string(running.file)), ("reloads", .integer(Int64(reloads))),
                ("lookedAt", state.lookedAt.map { .string($0.iso8601) } ?? .null),
                ("changesPending", .integer(Int64(state.pending))),
                ("complaints", .array(state.complaints.map { .string($0) })),
            ])
        }
    }
}

/// What a reload of the formats would change, for people: which formats, and which of their readings.
struct ReloadPreview {
    let found: FormatLibrary.Reload
    let running: FormatLibrary
    /// Formats that a source has.
    let used: Set<String>
    /// Formats of the start, where a source takes whatever there is.
    let known: Set<String>?

    var json: JSON {
        var rows: [JSON] = []
        for format in found.library.formats.sorted(by: { $0.name < $1.name }) {
            let name = format.name
            if let known, !known.contains(name) {
                // Also one that a reload loaded already: sources choose at the start.
                rows.append(row(name, "new", "read by sources without a list", .restart))
            } else if found.changed.contains(name), !found.kept.contains(name) {
                let old = running.format(named: name)
                let detail = old.map { ReloadPreview.readings($0, format) } ?? ""
                rows.append(
                    row(
                        name, old == nil ? "new" : "replaced",
                        used.contains(name) ? detail : "no source has it", .reload))
            }
        }
        for name in found.kept.sorted() {
            // Which complaint kept it is not said; more than a few are in the daemon's log.
            let own = found.complaints.filter { $0.what.contains("\"\(name)\"") }
            let why = (own.isEmpty ? found.complaints : own).prefix(3).map(\.description)
            rows.append(row(name, "kept", why.joined(separator: "; "), .never))
        }
        return .object([
            ("changes", .array(rows)),
            ("complaints", .array(found.complaints.map { .string($0.description) })),
        ])
    }

    private func row(
        _ name: String, _ change: String, _ detail: String, _ effect: ConfigurationPlan.Effect
    ) -> JSON {
        .object([
            ("format", .string(name)), ("change", .string(change)), ("detail", .string(detail)),
            ("effect", .string(effect.rawValue)),
        ])
    }

    /// `+battery [V], -state, level: m → cm`; formats whose readings the frames name say nothing here.
    private static func readings(_ old: Format, _ new: Format) -> String {
        func units(_ format: Format) -> [(name: String, unit: String)] {
            format.outputs.indices.map {
                let words = format.describe(output: UInt16($0), discriminator: 0)
                return (words.name, words.unit)
            }
        }
        let (before, after) = (units(old), units(new))
        var parts: [String] = []
        for reading in after {
            guard let was = before.first(where: { $0.name == reading.name }) else {
                parts.append(
                    "+\(reading.name)" + (reading.unit.isEmpty ? "" : " [\(reading.unit)]"))
                continue
            }
            if was.unit != reading.unit {
                parts.append("\(reading.name): \(was.unit) → \(reading.unit)")
            }
        }
        for reading in before where !after.contains(where: { $0.name == reading.name }) {
            parts.append("-\(reading.name)")
        }
        return parts.isEmpty ? "the same readings, read differently" : parts.joined(separator: ", ")
    }
}
