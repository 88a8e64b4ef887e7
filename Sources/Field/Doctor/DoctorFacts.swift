// What the doctor looks at, as values, so that the diagnosis is a function of them. Gathered in
// `Examination`, judged in `Diagnosis`.

package import Formats
package import Host
package import Model

package struct DoctorFacts: Sendable {
    package enum Reading: Hashable, Sendable {
        case missing
        case unreadable
        case wrong([String])
        case sound(Configuration)
    }

    package enum Daemon: Sendable {
        case stopped
        case forbidden
        case hangs
        case odd(String)
        case answers(StatusModel, JSONNode)
    }

    package enum Lookup: Hashable, Sendable {
        case numeric
        case found([String])
        case missing
        case silent
    }

    package enum Reach: Hashable, Sendable {
        case untried
        case reached(milliseconds: Int64)
        case refused(String)
        case silent
    }

    package enum Formats: Hashable, Sendable {
        case missing
        case loaded(Int)
        case refused([String])
    }

    /// The unit as systemd knows it.
    package struct Unit: Hashable, Sendable {
        package var state: String
        package var isActive: Bool
        package var restarts: Int

        package init(state: String, isActive: Bool, restarts: Int) {
            self.state = state
            self.isActive = isActive
            self.restarts = restarts
        }
    }

    /// A source's port, or the device file of its line.
    package struct Port: Hashable, Sendable {
        package var source: String
        package var place: String
        package var isTTY = false
        /// nil: not known in time.
        package var isThere: Bool?
        /// Who has it, where this user may see that.
        package var owner: String?

        package init(source: String, place: String, isTTY: Bool = false, isThere: Bool?) {
            self.source = source
            self.place = place
            self.isTTY = isTTY
            self.isThere = isThere
        }
    }

    package var configurationPath = ""
    package var reading = Reading.missing
    package var configurationFile = FileFacts.Look.missing
    /// nil: not found out in time.
    package var formats: Formats?
    package var formatsFolder = ""
    /// What the configuration asks of formats that none of these has.
    package var unmet: [String] = []
    package var keyFile: FileFacts.Look?

    package var socket = ""
    package var socketFile = FileFacts.Look.missing
    package var daemon = Daemon.stopped
    package var unit: Unit?

    package var wall = Timestamp(milliseconds: 0)
    package var discipline: ClockDiscipline?
    package var lookup = Lookup.silent
    package var reach = Reach.untried

    package var folder = ""
    /// nil: not found out in time.
    package var folderFile: FileFacts.Look?
    package var disk: DiskFacts?
    /// Of the files in the folder.
    package var spoolBytes: UInt64?
    package var ports: [Port] = []
    package var largestBuffer: Int?
    package var kernel = ""
    /// Names by number, of the users that occur.
    package var users: [UInt32: String] = [:]
    /// Whom the daemon runs as: the socket's owner, else the package's user.
    package var daemonUser: UInt32?
    /// How long all was waited for.
    package var seconds = 0

    package init() {}

    package var configuration: Configuration? {
        if case .sound(let configuration) = reading { configuration } else { nil }
    }
    package var status: StatusModel? {
        if case .answers(let status, _) = daemon { status } else { nil }
    }
}
