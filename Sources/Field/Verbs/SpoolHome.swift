// Where the daemon's spool is and whether the daemon runs, for `sluice spool` without a folder: from its
// configuration, or by default. On the main thread.

import Formats
import Glibc
import Host

struct SpoolHome {
    /// What can be done to a folder without changing it.
    static let looking: Set = ["status", "check", "list", "export", "decode"]

    let socket: String
    private let folder: String
    /// --admin names a daemon whose folder is not known.
    private let isNamed: Bool

    /// Nil after complaining of the configuration that --config names.
    init?(_ invocation: Invocation, _ console: Console) {
        isNamed = invocation.text("admin") != nil && invocation.text("config") == nil
        let given = invocation.text("config")
        let path = given ?? DoctorVerb.standardConfiguration
        var configuration: Configuration?
        if given != nil || Files.isReadable(path) {
            do throws(Complaints) {
                configuration = try Configuration.load(path)
            } catch {
                // A configuration that nobody named is not needed.
                if given != nil {
                    for complaint in error.all {
                        console.complain("sluice: \(complaint.description)")
                    }
                    return nil
                }
            }
        }
        folder = (configuration ?? .default).spool.directory
        socket =
            invocation.text("admin") ?? configuration?.admin.socket ?? AdminVerbs.socket(invocation)
    }

    /// The folder to look into, when no daemon runs.
    func ofStopped() -> String? { !isNamed && SpoolHome.isStopped(socket) ? folder : nil }

    static func isStopped(_ socket: String) -> Bool {
        do throws(HostError) {
            _ = try adminGet(socket: socket, route: "/ledger")
            return false
        } catch {
            return [ENOENT, ECONNREFUSED, ENOTDIR].contains(error.code)
        }
    }
}
