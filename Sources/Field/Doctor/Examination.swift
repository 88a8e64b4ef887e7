// Looks at a gateway without changing anything: every question that may hang is asked on a thread of its
// own, all at the same time, and waited for until one deadline. So the doctor ends within five seconds
// whatever hangs. On the main thread.

import Formats
import Glibc
import Host
import Model

package struct Examination {
    /// All of it, in milliseconds.
    static let patience: Int64 = 3_500
    /// A name's and a connection's part of it.
    private static let step: Int64 = 1_500

    let configurationPath: String
    /// What --admin named; nil: as the configuration says.
    let admin: String?
    private let begun = SendingClock.now

    package init(configurationPath: String, admin: String?) {
        self.configurationPath = configurationPath
        self.admin = admin
    }

    package func facts() -> DoctorFacts {
        var facts = DoctorFacts()
        facts.configurationPath = configurationPath
        facts.seconds = Int(Examination.patience / 1000)
        let path = configurationPath
        let read = Pending { Examination.read(path) }
        let ports = Pending { BoundPorts.now() }
        let unit = Pending { Examination.unit() }
        if let found = read.value(until: deadline(1_000)) {
            (facts.reading, facts.configurationFile) = (found.reading, found.file)
            facts.formatsFolder = found.formatsFolder
        }
        let settings = facts.configuration ?? .default
        facts.socket = admin ?? settings.admin.socket
        facts.folder = settings.spool.directory

        let socket = facts.socket
        let daemon = Pending { (Examination.ask(socket), FileFacts.of(socket)) }
        let store = settings.store.address
        let way = Pending { store.map { Examination.way(to: $0) } }
        let folder = facts.folder
        let disk = Pending { Examination.disk(folder) }
        let formatsFolder = facts.formatsFolder
        let configuration = facts.configuration
        let formats = Pending { Examination.formats(formatsFolder, for: configuration) }
        let keys = settings.keys
        let keyFile = Pending { keys.isEmpty ? nil : FileFacts.of(keys) }

        facts.wall = Timestamp(milliseconds: SendingClock.wallMilliseconds)
        facts.discipline = ClockDiscipline.now()
        facts.kernel = System.kernel
        facts.largestBuffer = System.text("/proc/sys/net/core/rmem_max").flatMap {
            Int($0.trimmedLine)
        }
        let end = deadline(Examination.patience)
        facts.ports = Examination.ports(settings, ports.value(until: end), until: end)
        (facts.daemon, facts.socketFile) = daemon.value(until: end) ?? (.hangs, .forbidden)
        if let found = way.value(until: end) ?? nil { (facts.lookup, facts.reach) = found }
        if let found = disk.value(until: end) {
            (facts.folderFile, facts.disk, facts.spoolBytes) = found
        }
        if let found = formats.value(until: end) { (facts.formats, facts.unmet) = found }
        facts.keyFile = keyFile.value(until: end) ?? nil
        facts.unit = unit.value(until: end) ?? nil
        facts.daemonUser =
            facts.socketFile.facts?.user ?? System.userNumber("sluice")
        for file in [facts.folderFile ?? .missing, facts.socketFile, facts.configurationFile] {
            if let user = file.facts?.user { facts.users[user] = System.userName(user) }
        }
        if let user = facts.daemonUser { facts.users[user] = System.userName(user) }
        return facts
    }

    private func deadline(_ milliseconds: Int64) -> Int64 { begun + milliseconds * 1_000_000 }

    // MARK: Questions; each on its own thread

    private static func read(
        _ path: String
    ) -> (reading: DoctorFacts.Reading, file: FileFacts.Look, formatsFolder: String) {
        let file = FileFacts.of(path)
        switch file {
        case .missing: return (.missing, file, Places.daemonFormats() ?? "")
        case .forbidden: return (.unreadable, file, Places.daemonFormats() ?? "")
        case .there: break
        }
        if !Files.isReadable(path) { return (.unreadable, file, Places.daemonFormats() ?? "") }
        do throws(Complaints) {
            let configuration = try Configuration.load(path)
            let folder = configuration.formats
            return (
                .sound(configuration), file,
                folder.isEmpty ? Places.daemonFormats() ?? "" : Files.resolved(folder)
            )
        } catch {
            return (.wrong(error.all.map(\.description)), file, Places.daemonFormats() ?? "")
        }
    }

    private static func ask(_ socket: String) -> DoctorFacts.Daemon {
        do throws(HostError) {
            let answer = try adminGet(socket: socket, route: "/status", timeout: 2_500)
            guard answer.status == 200,
                let root = try? JSONNode.parse(Array(answer.body.utf8), file: "status"),
                root["ledger"]?.members != nil
            else { return .odd("HTTP \(answer.status)") }
            return .answers(StatusModel(root), root)
        } catch {
            switch error.code {
            case ENOENT, ECONNREFUSED, ENOTDIR: return .stopped
            case EACCES, EPERM: return .forbidden
            case ETIMEDOUT, EAGAIN: return .hangs
            default: return .odd(error.why)
            }
        }
    }

    private static func way(to store: HostPort) -> (DoctorFacts.Lookup, DoctorFacts.Reach) {
        if let endpoint = store.endpoint { return (.numeric, reach(endpoint)) }
        let asked = Pending { () -> Endpoint? in
            do throws(SendingError) {
                return try Endpoint.resolve(host: store.host, port: store.port)
            } catch { return nil }
        }
        guard let answer = asked.value(until: SendingClock.now + step * 1_000_000) else {
            return (.silent, .untried)
        }
        guard let endpoint = answer else { return (.missing, .untried) }
        return (.found([endpoint.description]), reach(endpoint))
    }

    private static func reach(_ endpoint: Endpoint) -> DoctorFacts.Reach {
        let start = SendingClock.now
        do throws(SendingError) {
            let sender = try StreamSender(to: endpoint)
            let poller = try Poller()
            try poller.add(sender, token: 0)
            let end = start + step * 1_000_000
            while !poller.wait(nanoseconds: max(0, end - SendingClock.now)).contains(
                where: \.isWritable)
            {
                if SendingClock.now >= end { return .silent }
            }
            if let error = sender.connectError() { return .refused(Files.words(error.code)) }
            return .reached(milliseconds: (SendingClock.now - start) / 1_000_000)
        } catch {
            return .refused(Files.words(error.code))
        }
    }

    private static func disk(_ folder: String) -> (FileFacts.Look, DiskFacts?, UInt64?) {
        let look = FileFacts.of(folder)
        // A folder that is not there yet will be where its nearest parent is.
        var place = folder
        while FileFacts.of(place) == .missing, let slash = place.lastIndex(of: "/"), place != "/" {
            place = slash == place.startIndex ? "/" : String(place[..<slash])
        }
        guard look.facts != nil, Files.isReadable(folder) else {
            return (look, DiskFacts.of(place), nil)
        }
        let bytes = Files.names(in: folder).reduce(UInt64(0)) {
            $0 &+ Files.size("\(folder)/\($1)")
        }
        return (look, DiskFacts.of(place), bytes)
    }

    private static func formats(
        _ folder: String, for configuration: Configuration?
    ) -> (DoctorFacts.Formats, unmet: [String]) {
        guard !folder.isEmpty, Files.isFolder(folder) else { return (.missing, []) }
        do throws(Complaints) {
            let library = try FormatLibrary(directory: folder)
            let unmet = configuration?.complaints(about: library).map(\.description) ?? []
            let count = library.formats.count
            return (count == 0 ? .missing : .loaded(count), unmet)
        } catch {
            return (.refused(error.all.map(\.description)), [])
        }
    }

    private static func unit() -> DoctorFacts.Unit? {
        guard Files.isFolder("/run/systemd/system") else { return nil }
        let text = Command.output(
            "/usr/bin/systemctl",
            ["show", "sluiced", "-p", "LoadState,ActiveState,SubState,Result,NRestarts"],
            milliseconds: 2_000)
        return text.flatMap { DoctorFacts.Unit(systemctl: $0) }
    }

    private static func ports(
        _ settings: Configuration, _ bound: BoundPorts?, until end: Int64
    ) -> [DoctorFacts.Port] {
        settings.sources.map { source in
            if let place = source.lines.place {
                guard case .tty(let tty) = place else {
                    return DoctorFacts.Port(
                        source: source.name, place: place.description, isThere: nil)
                }
                return DoctorFacts.Port(
                    source: source.name, place: tty.path, isTTY: true,
                    isThere: Files.exists(tty.path))
            }
            let row = bound?.row(
                isStream: source.listen.transport == .tcp, at: source.listen.endpoint)
            var port = DoctorFacts.Port(
                source: source.name, place: source.listen.description,
                isThere: bound == nil || source.listen.endpoint.port == 0 ? nil : row != nil)
            if let row {
                port.owner = Pending { BoundPorts.owner(of: row.inode) }.value(until: end) ?? nil
            }
            return port
        }
    }
}

extension DoctorFacts.Unit {
    /// What `systemctl show` prints; nil where there is no such unit.
    package init?(systemctl text: String) {
        var values: [Substring: Substring] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { values[parts[0]] = parts[1] }
        }
        guard values["LoadState"] == "loaded", let active = values["ActiveState"] else {
            return nil
        }
        let result = values["Result"].map { $0 == "success" ? "" : ", \($0)" } ?? ""
        self.init(
            state: "\(active) (\(values["SubState"] ?? "?"))\(result)",
            isActive: active == "active",
            restarts: values["NRestarts"].flatMap { Int($0) } ?? 0)
    }
}

/// A program of the machine that is asked something.
enum Command {
    /// What it wrote to both outputs, at most 1 MB; nil when it is not there, failed, or took longer.
    static func output(_ path: String, _ arguments: [String], milliseconds: Int64) -> String? {
        guard Files.exists(path), let folder = try? Files.makeTemporaryFolder("sluice-doctor")
        else {
            return nil
        }
        defer { Files.removeTree(folder) }
        let limit = SendingClock.now + milliseconds * 1_000_000
        guard
            let child = try? ChildProcess(
                name: path, path: path, arguments: arguments, log: folder + "/out")
        else { return nil }
        while child.isRunning {
            guard SendingClock.now < limit else {
                child.stop(SIGKILL)
                return nil
            }
            SendingClock.sleep(milliseconds: 5)
        }
        guard child.exitCode == 0, let bytes = try? Files.read(folder + "/out", limit: 1 << 20)
        else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
