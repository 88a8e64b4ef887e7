// The tables of `sluiced` and `sluice-store`: flags, checks of the configuration, then the process
// itself.
// The process bodies live in Host; `DaemonBodies` is the only place that calls them.

import Formats
import Host
import Model

enum DaemonVerbs {
    static let gateway = Verb(
        "", "the Sluice gateway daemon",
        details: [
            "Takes in frames of sensors and meters over UDP and TCP, decodes and journals them, "
                + "and "
                + "hands compressed batches to the district store.",
            "SIGTERM ends it in order. SIGHUP reads formats and configuration again. New versions of "
                + "formats take over between two frames. With other settings the daemon begins anew in "
                + "the same process: its sockets stay open, so that no datagram is lost; connections are "
                + "closed and come back. What is wrong is said, and what runs goes on. Another gateway "
                + "name or spool directory needs a restart; --plan says what takes what.",
        ],
        flags: [
            .value("config", "FILE", "configuration (JSON5)", default: "/etc/sluice/sluiced.json5"),
            .toggle("check", "check the configuration and the formats, and end"),
            .toggle("plan", "say what a reload and a restart would change, and end"),
            .value(
                "against", "FILE", "with --plan: compare with this configuration, not the daemon"),
            .value(
                "admin", "SOCKET", "with --plan: the daemon's admin socket",
                default: "as configured"),
            .toggle(
                "exit-code",
                "with --plan: status 3 for a reload that changes something, 4 for a restart"),
            .toggle("json", "with --plan: print one JSON object"),
            .toggle("defaults", "print a commented configuration with every key, and end"),
            .toggle(
                "man-config", "print sluiced.conf(5), the manual of the configuration, and end"),
        ],
        examples: [
            Example("check before a restart", "sluiced --config sluiced.json5 --check"),
            Example("what would change?", "sluiced --plan"),
        ]
    ) { invocation, console throws(UsageError) in
        if invocation.has("defaults") {
            console.write(Configuration.defaultText())
            return .done
        }
        if invocation.has("man-config") {
            console.write(ConfigurationPage.gateway)
            return .done
        }
        let path = invocation.text("config") ?? "/etc/sluice/sluiced.json5"
        var configuration: Configuration
        do throws(Complaints) {
            configuration = try Configuration.load(path)
        } catch {
            return complain(error, "sluiced", console)
        }
        if configuration.formats.isEmpty {
            guard let found = Places.daemonFormats() else {
                console.complain(
                    "sluiced: \(path): formats: no folder of formats found: write formats: \"DIR\"")
                return .foundWrong
            }
            configuration.formats = found
        }
        if invocation.has("check") { return check(configuration, path, console) }
        if invocation.has("plan") {
            return try DaemonPlan(configuration, path, invocation, console).run()
        }
        return DaemonBodies.runGateway(configuration, console)
    }

    static let store = Verb(
        "", "the Sluice district store",
        details: [
            "Receives batches of gateways, commits them to one SQLite database and answers. Either "
                + "--config, or --listen with --data."
        ],
        flags: [
            .value("config", "FILE", "configuration (JSON5)"),
            .value("listen", "HOST:PORT", "where gateways connect"),
            .value("data", "DIR", "folder of the database"),
            .toggle("check", "check the configuration, and end"),
            .toggle("defaults", "print a commented configuration with every key, and end"),
            .toggle(
                "man-config", "print sluice-store.conf(5), the manual of the configuration, and end"
            ),
        ],
        examples: [
            Example("a store for this machine", "sluice-store --listen 127.0.0.1:9100 --data data")
        ]
    ) { invocation, console throws(UsageError) in
        if invocation.has("defaults") {
            console.write(StoreConfiguration.defaultText())
            return .done
        }
        if invocation.has("man-config") {
            console.write(ConfigurationPage.store)
            return .done
        }
        var configuration = StoreConfiguration.default
        if let path = invocation.text("config") {
            do throws(Complaints) {
                configuration = try StoreConfiguration.load(path)
            } catch {
                return complain(error, "sluice-store", console)
            }
        } else if invocation.text("listen") == nil || invocation.text("data") == nil {
            throw UsageError(
                "sluice-store", "needs a configuration",
                "add --config FILE, or --listen HOST:PORT and --data DIR")
        } else {
            // Two flags are the whole configuration: no folder of a service is needed.
            configuration.admin.socket = ""
        }
        if let listen = invocation.text("listen") {
            guard let endpoint = HostPort(listen)?.endpoint else {
                throw UsageError(
                    "--listen \(listen)", "is no address and port",
                    "write for example 127.0.0.1:9100")
            }
            configuration.listen = endpoint
        }
        if let data = invocation.text("data") { configuration.data = data }
        if !configuration.listen.isLoopback, !configuration.isExposed {
            throw UsageError(
                "--listen \(configuration.listen.description)",
                "others than this machine could reach it",
                "set `exposed: true` in a configuration file if that is meant")
        }
        if invocation.has("check") {
            console.line("sluice-store: the configuration is sound")
            return .done
        }
        return DaemonBodies.runStore(configuration, console)
    }

    private static func check(
        _ configuration: Configuration, _ path: String, _ console: Console
    ) -> RunStatus {
        let library: FormatLibrary
        do throws(Complaints) {
            library = try configuration.check()
        } catch {
            return complain(error, "sluiced", console)
        }
        console.line(
            "sluiced: \(path) is sound: \(Words.count(configuration.sources.count, "source")), "
                + Words.count(library.formats.count, "format"))
        return .done
    }

    static func complain(
        _ complaints: Complaints, _ program: String, _ console: Console
    ) -> RunStatus {
        for complaint in complaints.all { console.complain("\(program): \(complaint.description)") }
        return .foundWrong
    }
}

/// The one call site of each process body.
enum DaemonBodies {
    static func runGateway(_ configuration: Configuration, _ console: Console) -> RunStatus {
        run("sluiced", console) { announce throws(StartError) in
            try GatewayProcess.run(configuration, software: Program.version, announce: announce)
        }
    }

    static func runStore(_ configuration: StoreConfiguration, _ console: Console) -> RunStatus {
        run("sluice-store", console) { announce throws(StartError) in
            try StoreProcess.run(configuration, announce: announce)
        }
    }

    private static func run(
        _ program: String, _ console: Console,
        _ body: ((String) -> Void) throws(StartError) -> Void
    ) -> RunStatus {
        do throws(StartError) {
            try body { line in
                console.line("\(program): \(line)")
                // The process runs on for months after this line.
                console.flush()
            }
            return .done
        } catch {
            for line in error.description.split(separator: "\n") {
                console.complain("\(program): \(line)")
            }
            return .foundWrong
        }
    }
}
