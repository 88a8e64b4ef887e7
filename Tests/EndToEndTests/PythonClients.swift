// Other people's programs at the other end: Python servers and clients in an environment of their own.
// Tests/run makes it in .build/clients from Tests/clients/requirements.txt; SLUICE_CLIENTS names another.

import Field
import Glibc
import Host

enum PythonClients {
    /// Folder of the environment.
    static let folder: String = {
        // Safety: getenv's text is copied at once; nothing here sets the environment.
        if let named = unsafe getenv("SLUICE_CLIENTS") { return unsafe String(cString: named) }
        return Place.root + "/.build/clients"
    }()

    /// The interpreter that has the packages.
    static var python: String { folder + "/bin/python" }

    /// False where nobody has made the environment: tests that need it then say so and are skipped.
    // Safety: Swift lends a NUL-terminated copy of the path.
    static let areThere = unsafe access(python, X_OK) == 0

    /// Runs a script of Tests/clients until the result goes; its output is in `log` of the folder.
    static func start(
        _ script: String, _ arguments: [String], in folder: Folder
    ) throws(DistrictError) -> ChildProcess {
        do throws(SpawnError) {
            return try ChildProcess(
                name: script, path: python,
                arguments: ["\(Place.root)/Tests/clients/\(script)"] + arguments,
                log: "\(folder.path)/\(script).log")
        } catch {
            throw DistrictError(
                what: error.program, why: error.why, remedy: "run Tests/run, which prepares it")
        }
    }
}
