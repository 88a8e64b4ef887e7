// Other people's programs at the other end: Python servers and clients in an environment of their own, and
// libcoap's client. Tests/run prepares both and names the environment in SLUICE_CLIENTS: then what is
// missing is a failure. Without SLUICE_CLIENTS, by hand, tests that miss them say so and are skipped.

import Field
import Glibc
import Host

enum Clients {
    private static let named: String? = {
        // Safety: getenv's text is copied at once; nothing here sets the environment.
        guard let named = unsafe getenv("SLUICE_CLIENTS") else { return nil }
        return unsafe String(cString: named)
    }()

    /// The interpreter that has the packages of Tests/clients/requirements.txt.
    private static let python = (named ?? Place.root + "/.build/clients") + "/bin/python"
    /// libcoap's client without DTLS; Debian's package libcoap3-bin.
    private static let coapClient = "/usr/bin/coap-client-notls"

    static let havePython = named != nil || isProgram(python)
    /// Debian's package chromium.
    private static let browser = "/usr/bin/chromium"

    static let haveBrowser = named != nil || isProgram(browser)
    static let haveLibcoap = named != nil || isProgram(coapClient)
    static let remedy = "the clients are not there: run Tests/run once, which prepares them"

    static func isProgram(_ path: String) -> Bool {
        // Safety: Swift lends a NUL-terminated copy of the path.
        unsafe access(path, X_OK) == 0
    }

    /// Starts a script of Tests/clients; it runs until the result goes.
    static func start(
        _ script: String, _ arguments: [String], in folder: Folder
    ) throws(DistrictError) -> ChildProcess {
        try spawn(
            python, ["\(Place.root)/Tests/clients/\(script)"] + arguments,
            log: "\(folder.path)/\(script).log")
    }

    /// Runs a script of Tests/clients to its end. What it printed; throws unless it ends with 0.
    static func script(
        _ script: String, _ arguments: [String], in folder: Folder
    ) throws(DistrictError) -> String {
        try finish(
            python, ["\(Place.root)/Tests/clients/\(script)"] + arguments,
            log: "\(folder.path)/\(script).log")
    }

    /// Runs libcoap's client; the messages it showed, one a line.
    static func libcoap(
        _ arguments: [String], in folder: Folder
    ) throws(DistrictError) -> [Substring] {
        // A new file each time: what is appended to one could not be told apart.
        let log = "\(folder.path)/coap-client.\(SendingClock.now).log"
        return try finish(coapClient, arguments, log: log).split(separator: "\n")
            .filter { $0.hasPrefix("v:1 ") }
    }

    /// What a browser without a screen makes of a page after so many seconds of its own clock.
    static func browse(
        _ address: String, seconds: Int, in folder: Folder
    ) throws(DistrictError) -> String {
        let profile = "\(folder.path)/browser"
        return try finish(
            browser,
            [
                "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=\(profile)",
                "--virtual-time-budget=\(1000 * seconds)", "--dump-dom", address,
            ], log: "\(folder.path)/browser.\(SendingClock.now).log")
    }

    private static func spawn(
        _ path: String, _ arguments: [String], log: String
    ) throws(DistrictError) -> ChildProcess {
        guard isProgram(path) else {
            throw DistrictError(what: path, why: "is no program", remedy: remedy)
        }
        do throws(SpawnError) {
            return try ChildProcess(name: path, path: path, arguments: arguments, log: log)
        } catch {
            throw DistrictError(what: error.program, why: error.why, remedy: remedy)
        }
    }

    private static func finish(
        _ path: String, _ arguments: [String], log: String
    ) throws(DistrictError) -> String {
        let child = try spawn(path, arguments, log: log)
        func printed() -> String {
            String(decoding: (try? Files.read(log, limit: 1 << 24)) ?? [], as: UTF8.self)
        }
        let status: Int32
        do throws(DistrictError) {
            status = try eventually("the client ends", within: 120) { child.exitCode }
        } catch {
            throw DistrictError(what: error.what, why: error.why, remedy: printed())
        }
        guard status == 0 else {
            throw DistrictError(what: path, why: "ended with \(status)", remedy: printed())
        }
        return printed()
    }
}
