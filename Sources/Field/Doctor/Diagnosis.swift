// From what was looked at to findings: a function without I/O. The words of values (times, sizes, states)
// are in the diagnosis's language.

import Formats
import Host
import Model

package struct Diagnosis {
    let facts: DoctorFacts
    let language: Language

    package init(_ facts: DoctorFacts, _ language: Language = .english) {
        self.facts = facts
        self.language = language
    }

    /// In the order of the areas.
    package var findings: [Finding] {
        let all =
            configuration + daemon + versions + clock + name + store + disk + spool + rights + ports
            + buffers + ledger
        return Area.allCases.flatMap { area in all.filter { $0.area == area } }
    }

    var status: StatusModel? { facts.status }

    func span(milliseconds: Int64) -> String {
        language.span(milliseconds.multipliedReportingOverflow(by: 1_000_000).partialValue)
    }

    func user(_ number: UInt32) -> String { facts.users[number] ?? "\(number)" }

    /// Whom to be to see what is hidden.
    private var daemonUser: String { facts.daemonUser.map(user) ?? "sluice" }

    // MARK: Configuration, daemon, versions

    private var configuration: [Finding] {
        let path = facts.configurationPath
        switch facts.reading {
        case .missing:
            return [
                .problem(
                    .configuration, .configurationMissing, path, do: .doWriteConfiguration,
                    with: [path])
            ]
        case .unreadable:
            return [
                .unknown(
                    .configuration, .configurationUnreadable, path, do: .doRunAsRoot,
                    with: [daemonUser])
            ]
        case .wrong(let complaints): return [wrong(complaints)]
        case .sound(let configuration):
            guard facts.unmet.isEmpty else { return [wrong(facts.unmet)] }
            guard !configuration.sources.isEmpty else {
                return [
                    .problem(.configuration, .configurationNoSources, path, do: .doAddSources)
                ]
            }
            return [
                .ok(.configuration, .configurationSound, path, "\(configuration.sources.count)")
            ]
        }
    }

    private func wrong(_ complaints: [String]) -> Finding {
        .problem(
            .configuration, .configurationWrong, "\(complaints.count)", complaints.first ?? "",
            do: .doCheck, with: [facts.configurationPath])
    }

    private var daemon: [Finding] {
        var found: [Finding] = []
        switch facts.daemon {
        case .stopped:
            found.append(.problem(.daemon, .daemonStopped, facts.socket, do: .doStart))
        case .forbidden:
            found.append(
                .unknown(
                    .daemon, .daemonForbidden, facts.socket, do: .doRunAsRoot, with: [daemonUser]))
        case .hangs:
            found.append(.problem(.daemon, .daemonHangs, facts.socket, do: .doRestartHung))
        case .odd(let why):
            found.append(.problem(.daemon, .daemonOdd, facts.socket, why, do: .doNameSocket))
        case .answers(let status, _):
            let since = status.startedAt.map { facts.wall.milliseconds &- $0.milliseconds } ?? 0
            found.append(
                .ok(.daemon, .daemonAnswers, facts.socket, span(milliseconds: max(0, since))))
            for reason in status.reasons {
                found.append(.problem(.daemon, .daemonUnhealthy, reason, do: .doSeeStatus))
            }
        }
        guard let unit = facts.unit else { return found }
        found.append(
            unit.isActive
                ? .ok(.daemon, .unitState, unit.state)
                : .warning(.daemon, .unitState, unit.state, do: .doSeeUnit))
        if unit.restarts > 0 {
            found.append(.warning(.daemon, .unitRestarts, "\(unit.restarts)", do: .doSeeUnit))
        }
        return found
    }

    private var versions: [Finding] {
        let tool = Program.version
        var found: [Finding] = []
        if let status {
            found.append(
                status.software == tool
                    ? .ok(.versions, .versionsAgree, tool)
                    : .warning(.versions, .versionsDiffer, tool, status.software, do: .doRestart))
            if case .answers(_, let root) = facts.daemon {
                for complaint in root["formats"]?["complaints"]?.array ?? [] {
                    found.append(
                        .warning(
                            .versions, .formatsRefused, complaint.string ?? "", do: .doMendFormats))
                }
            }
        } else {
            found.append(.ok(.versions, .toolVersion, tool))
        }
        switch facts.formats {
        case nil: found.append(.unknown(.versions, .formatsUnread, facts.formatsFolder))
        case .loaded(let count)?:
            found.append(.ok(.versions, .formatsLoaded, "\(count)", facts.formatsFolder))
        case .refused(let complaints)?:
            found.append(
                .problem(
                    .versions, .formatsRefused, complaints.first ?? "", do: .doMendFormats))
        case .missing?:
            found.append(
                .problem(
                    .versions, .formatsMissing, do: .doNameFormats,
                    with: [facts.configurationPath]))
        }
        found.append(.ok(.versions, .kernel, facts.kernel))
        return found
    }

    // MARK: Clock

    /// Before this no gateway of ours existed: as the daemon marks its readings.
    static let clockSetAfter = Timestamp(milliseconds: 1_735_689_600_000)
    static let noticedDrift: Int64 = 10_000
    static let wrongDrift: Int64 = 300_000

    private var clock: [Finding] {
        let shown = String(facts.wall.iso8601.prefix(19)).replacingFirst("T", with: " ")
        var found: [Finding] = [
            facts.wall >= Diagnosis.clockSetAfter
                ? .ok(.clock, .clockSet, shown)
                : .problem(.clock, .clockUnset, shown, do: .doSetClock)
        ]
        switch facts.discipline {
        case nil: found.append(.unknown(.clock, .clockUnknown))
        case let kept? where kept.isSynchronised:
            let milliseconds = Double(kept.maximumErrorMicroseconds) / 1000
            found.append(.ok(.clock, .clockKept, Words.fixed(milliseconds, 0)))
        case _?: found.append(.warning(.clock, .clockFree, do: .doSynchronise))
        }
        if let ahead = status.flatMap({ Int64($0.text("uplink.storeClockAheadMs")) }) {
            // The store's clock minus ours, so ours is as much behind.
            let seconds = Words.fixed(-Double(ahead) / 1000, 1)
            let size = ahead.magnitude
            found.append(
                size <= Diagnosis.noticedDrift.magnitude
                    ? .ok(.clock, .clockAgrees, seconds)
                    : size <= Diagnosis.wrongDrift.magnitude
                        ? .warning(.clock, .clockDrifts, seconds, do: .doCompareClocks)
                        : .problem(.clock, .clockDrifts, seconds, do: .doCompareClocks))
        }
        return found
    }

    // MARK: Store

    private static let stepSeconds = "1.5"

    private var name: [Finding] {
        guard let address = facts.configuration?.store.address else { return [] }
        switch facts.lookup {
        case .numeric: return [.ok(.name, .nameNumeric, address.host)]
        case .found(let endpoints):
            return [.ok(.name, .nameFound, address.host, endpoints.joined(separator: " "))]
        case .missing:
            return [.problem(.name, .nameMissing, address.host, do: .doMendNames)]
        case .silent:
            return [
                .problem(
                    .name, .nameSilent, address.host, Diagnosis.stepSeconds, do: .doMendNames)
            ]
        }
    }

    private var store: [Finding] {
        guard let configuration = facts.configuration else { return [] }
        guard let address = configuration.store.address?.description else {
            return [.warning(.store, .storeNone, do: .doNameStore)]
        }
        var found: [Finding] = []
        switch facts.reach {
        case .untried: found.append(.unknown(.store, .storeUntried, address))
        case .reached(let milliseconds):
            found.append(.ok(.store, .storeReached, address, "\(milliseconds)"))
        case .refused(let why):
            found.append(.problem(.store, .storeRefused, address, why, do: .doMendStore))
        case .silent:
            found.append(
                .problem(.store, .storeSilent, address, Diagnosis.stepSeconds, do: .doMendStore))
        }
        guard let status else { return found }
        let state = status.text("uplink.state")
        let seconds = Int64(clamping: min(status.count("uplink.stateSeconds"), 1 << 33))
        let since = span(milliseconds: seconds * 1000)
        guard state != "streaming" else {
            return found + [.ok(.store, .sessionOpen, since)]
        }
        var isReached = false
        if case .reached = facts.reach { isReached = true }
        let error = status.text("uplink.lastError")
        found.append(
            .problem(
                .store, .sessionClosed, language.words(ofState: state), since, error,
                do: isReached ? .doCompareUplink : .doSeeUplink))
        return found
    }
}
