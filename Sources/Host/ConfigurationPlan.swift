// What a reload (SIGHUP) and a restart would change: the settings of a running daemon against those of
// the files, and what the daemon itself says of the format files. A reload brings both, but for what would
// make another gateway of it. Values only; `sluiced --plan` prints it.

package import Formats
import Model

package struct ConfigurationPlan: Sendable {
    /// When a change takes effect.
    package enum Effect: String, Sendable {
        case reload, restart
        /// The version that runs stays, whatever is done.
        case never
    }

    package struct Change: Hashable, Sendable {
        /// `source udp`, `format door`, `batch.interval`.
        package var subject: String
        /// opened, closed, changed, replaced, new, kept
        package var what: String
        package var detail: String
        package var effect: Effect
    }

    /// Settings that say which gateway this is and where its spool lies: whoever changes them ends one
    /// gateway and begins another, and does it by hand.
    private static let identity = ["gateway", "spool.directory"]

    package private(set) var changes: [Change] = []

    package var needsRestart: Bool { changes.contains { $0.effect == .restart } }
    package var reloadChanges: Bool { changes.contains { $0.effect == .reload } }

    /// `formats`: the daemon's answer about its format files; nil: not asked. `usedBytes`: of its spool.
    package init(
        from old: Settings, to new: Configuration, formats: JSONNode? = nil, usedBytes: Int? = nil
    ) {
        let next = new.settings
        compareSources(old, next)
        compareGateway(old, next)
        if let used = usedBytes, used > new.spool.maximumBytes {
            changes.append(
                Change(
                    subject: "spool", what: "evicted",
                    detail: "it holds \(sizeText(used)), more than the new spool.maximumBytes",
                    effect: .reload))
        }
        guard value(of: "formats", old) == value(of: "formats", next) else { return }
        for row in formats?.array ?? [] {
            guard let name = row["format"]?.string, let what = row["change"]?.string,
                let detail = row["detail"]?.string,
                let effect = row["effect"]?.string.flatMap(Effect.init(rawValue:))
            else { continue }
            changes.append(
                Change(subject: "format \(name)", what: what, detail: detail, effect: effect))
        }
    }

    private func value(of key: String, _ settings: Settings) -> String? {
        settings.all.first { $0.source.isEmpty && $0.key == key }?.value
    }

    private static func names(_ settings: Settings) -> [String] {
        var names: [String] = []
        for setting in settings.all where !setting.source.isEmpty {
            if names.last != setting.source { names.append(setting.source) }
        }
        return names
    }

    private mutating func compareSources(_ old: Settings, _ new: Settings) {
        let (before, after) = (ConfigurationPlan.names(old), ConfigurationPlan.names(new))
        for name in before where !after.contains(name) {
            changes.append(
                Change(
                    subject: "source \(name)", what: "closed",
                    detail: ConfigurationPlan.place(of: name, old), effect: .reload))
        }
        for name in after {
            guard before.contains(name) else {
                changes.append(
                    Change(
                        subject: "source \(name)", what: "opened",
                        detail: ConfigurationPlan.place(of: name, new), effect: .reload))
                continue
            }
            for (key, detail) in ConfigurationPlan.differences(of: name, old, new) {
                changes.append(
                    Change(
                        subject: "source \(name)", what: "changed", detail: "\(key): \(detail)",
                        effect: .reload))
            }
        }
    }

    private mutating func compareGateway(_ old: Settings, _ new: Settings) {
        for (key, detail) in ConfigurationPlan.differences(of: "", old, new) {
            var detail = detail
            switch key {
            case "gateway": detail += "; the store keeps what it has under the old name"
            case "spool.directory": detail += "; what is in the old spool waits there"
            case "formats": detail += "; the formats there are not compared"
            default: break
            }
            changes.append(
                Change(
                    subject: key, what: "changed", detail: detail,
                    effect: ConfigurationPlan.identity.contains(key) ? .restart : .reload))
        }
    }

    /// `"1h" → "2h"`, in the order of the new settings, then what is no longer set.
    private static func differences(
        of source: String, _ old: Settings, _ new: Settings
    ) -> [(key: String, detail: String)] {
        let before = old.all.filter { $0.source == source }
        let after = new.all.filter { $0.source == source }
        var all: [(String, String)] = []
        for setting in after {
            let was = before.first { $0.key == setting.key }?.value
            if was != setting.value {
                all.append((setting.key, "\(was ?? standard(of: setting)) → \(setting.value)"))
            }
        }
        for setting in before where !after.contains(where: { $0.key == setting.key }) {
            all.append((setting.key, "\(setting.value) → \(standard(of: setting))"))
        }
        return all
    }

    /// What holds without a setting: `standard "1h"`.
    private static func standard(of setting: Setting) -> String {
        // Without the numbers in lists: `poll.requests[2].interval`.
        var path = setting.source.isEmpty ? "" : "sources."
        path += setting.key.split(separator: "[").enumerated().map { number, part in
            number == 0 ? part : part.drop { $0 != "]" }.dropFirst()
        }.joined()
        let text = Configuration.keys.first { $0.path == path }?.standard ?? ""
        return text.isEmpty ? "nothing" : "standard \(text)"
    }

    private static func place(of source: String, _ settings: Settings) -> String {
        let keys = ["listen", "connect", "tty"]
        return settings.all.first { $0.source == source && keys.contains($0.key) }?.value ?? ""
    }
}
