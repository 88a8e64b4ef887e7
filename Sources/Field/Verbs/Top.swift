// `sluice status` and `sluice top`: the daemon's state in one screen, once or live. On the main thread;
// `top` holds the terminal and gives it back on every way out.

import Formats
import Host
import Model

enum TopVerbs {
    private static let adminFlag = Flag.value(
        "admin", "SOCKET", "the daemon's admin socket", default: "/run/sluice/admin.sock")
    private static let silentFlag = Flag.value(
        "silent", "DURATION", "name devices that were not heard for longer", default: "25h")

    static let status = Verb(
        "status", "prints the running daemon's state in one screen",
        details: [
            "Sources with their rates and kernel drops, refusals by reason, devices that are silent, "
                + "buckets, journal, spool, uplink and ledger. Rates are averages since the "
                + "daemon's start; `sluice top` shows those of the moment. The exit status is 1 "
                + "when the daemon cannot be asked or is not healthy."
        ],
        flags: [.toggle("json", "print the daemon's JSON"), silentFlag, adminFlag],
        examples: [Example("is all well", "sluice status")]
    ) { invocation, console throws(UsageError) in
        let socket = AdminVerbs.socket(invocation)
        let silent = try invocation.duration("silent", default: 25 * 3_600_000)
        guard let body = AdminVerbs.ask("/status", socket, console) else { return .foundWrong }
        guard let root = try? JSONNode.parse(Array(body.utf8), file: "status"),
            root.members != nil
        else {
            console.complain(console.language(.noJSON, "status"))
            return .foundWrong
        }
        if invocation.has("json") {
            console.line(body.trimmingBlanks)
        } else {
            var model = StatusModel(root)
            model.devices = DevicesVerb.all(socket) ?? []
            var page = StatusScreen()
            page.columns = console.width
            page.language = console.language
            page.silentMilliseconds = silent
            for line in page.lines(model) { console.line(styled(line, console)) }
        }
        return root["isHealthy"]?.boolean == true ? .done : .foundWrong
    }

    static let top = Verb(
        "top", "shows the running daemon's state live",
        details: [
            "Refreshes what `sluice status` prints, with the rates of the moment. Keys: q leaves, s "
                + "sorts, r turns the order round, / filters, d shows the devices, h explains all "
                + "keys."
        ],
        flags: [
            .value("every", "DURATION", "between two refreshes", default: "1s"), silentFlag,
            adminFlag,
        ],
        examples: [Example("watch", "sluice top --every 2s")]
    ) { invocation, console throws(UsageError) in
        let socket = AdminVerbs.socket(invocation)
        let every = try invocation.duration("every", default: 1000)
        let silent = try invocation.duration("silent", default: 25 * 3_600_000)
        // What is wrong is said before the terminal changes.
        guard AdminVerbs.ask("/status", socket, console) != nil else { return .foundWrong }
        Interrupts.block()
        guard let terminal = Terminal() else {
            throw UsageError("top", "needs a terminal", "use `sluice status` in a pipe")
        }
        var run = TopRun(
            socket: socket, interval: min(max(100, every), 3_600_000), silent: silent,
            console: console)
        run.run(terminal)
        terminal.close()
        return .done
    }

    static func styled(_ line: StatusScreen.Line, _ console: Console) -> String {
        switch line.style {
        case .plain: line.text
        case .heading: console.bold(line.text)
        case .good: console.green(line.text)
        case .bad: console.red(line.text)
        case .dim: console.dim(line.text)
        }
    }
}

/// What the keys change, apart from the terminal and the clock.
package struct TopKeys: Sendable {
    package var page = StatusScreen()
    package var isTyping = false
    package var isPaused = false
    package var isOver = false
    package var intervalMilliseconds: Int64

    package init(intervalMilliseconds: Int64 = 1000) {
        self.intervalMilliseconds = intervalMilliseconds
    }

    package mutating func take(_ key: Terminal.Key) {
        if key == .interrupt {
            isOver = true
            return
        }
        if isTyping { return type(key) }
        if page.view == .help {
            page.view = .sources
            return
        }
        switch key {
        case .character("q"), .character("Q"): isOver = true
        case .character("s"):
            let all = StatusScreen.Order.allCases
            let at = all.firstIndex(of: page.order) ?? 0
            page.order = all[(at + 1) % all.count]
        case .character("r"): page.isReversed.toggle()
        case .character("/"):
            isTyping = true
            page.filter = ""
        case .escape: page.filter = ""
        case .character("d"):
            page.view = page.view == .devices ? .sources : .devices
            page.scroll = 0
        case .character("h"), .character("?"): page.view = .help
        case .character(" "): isPaused.toggle()
        case .character("+"): intervalMilliseconds = max(100, intervalMilliseconds / 2)
        case .character("-"): intervalMilliseconds = min(60_000, intervalMilliseconds * 2)
        case .up, .character("k"): page.scroll = max(0, page.scroll - 1)
        case .down, .character("j"): page.scroll += 1
        case .pageUp: page.scroll = max(0, page.scroll - 10)
        case .pageDown: page.scroll += 10
        case .character, .enter, .backspace, .interrupt: break
        }
    }

    private mutating func type(_ key: Terminal.Key) {
        switch key {
        case .enter: isTyping = false
        case .escape:
            isTyping = false
            page.filter = ""
        case .backspace: page.filter = String(page.filter.dropLast())
        case .character(let character):
            if page.filter.count < 64 { page.filter.append(character) }
        case .up, .down, .pageUp, .pageDown, .interrupt: break
        }
    }

    package var prompt: String {
        let language = page.language
        if isTyping { return language(.promptTyping, page.filter) }
        var words = [
            language(.promptQuit),
            language(page.isReversed ? .promptTurned : .promptSort, page.order.words(language)),
        ]
        words.append(
            page.filter.isEmpty ? language(.promptFilter) : language(.promptFiltered, page.filter))
        words += [
            language(page.view == .devices ? .promptSources : .promptDevices),
            language(.promptHelp),
        ]
        if isPaused { words.append(language(.promptPaused)) }
        return words.joined(separator: "   ")
    }
}

private struct TopRun {
    private let socket: String
    private let console: Console
    private var keys: TopKeys
    private var model: StatusModel?
    private var trouble: String?

    init(socket: String, interval: Int64, silent: Int64, console: Console) {
        self.socket = socket
        self.console = console
        keys = TopKeys(intervalMilliseconds: interval)
        keys.page.silentMilliseconds = silent
        keys.page.language = console.language
    }

    mutating func run(_ terminal: borrowing Terminal) {
        var refreshAt = SendingClock.now
        var devicesAt = SendingClock.now
        var shown: Terminal.Size?
        while !keys.isOver {
            let now = SendingClock.now
            var isNew = shown != terminal.size
            if now >= refreshAt, !keys.isPaused {
                refresh()
                isNew = true
                refreshAt = SendingClock.now + keys.intervalMilliseconds * 1_000_000
            }
            // Devices change slowly, and there may be many.
            if now >= devicesAt, !keys.isPaused, model != nil {
                if let devices = DevicesVerb.all(socket) { model?.devices = devices }
                isNew = true
                devicesAt = SendingClock.now + 15_000_000_000
            }
            if isNew {
                shown = terminal.size
                show(terminal)
            }
            let left = max(0, (refreshAt - SendingClock.now) / 1_000_000)
            let wait = keys.isPaused ? 100 : min(100, left + 1)
            guard let pressed = terminal.keys(milliseconds: Int32(wait)) else { return }
            for key in pressed { keys.take(key) }
            if !pressed.isEmpty { shown = nil }
            if Interrupts.wait(milliseconds: 0) { return }
        }
    }

    private mutating func refresh() {
        do throws(HostError) {
            let answer = try adminGet(socket: socket, route: "/status", timeout: 2000)
            guard answer.status == 200,
                let root = try? JSONNode.parse(Array(answer.body.utf8), file: "status")
            else {
                trouble = console.language(.answered, socket, "\(answer.status)")
                return
            }
            let devices = model?.devices ?? []
            model = StatusModel(root, since: model)
            model?.devices = devices
            trouble = nil
        } catch {
            trouble = error.description
        }
    }

    private func show(_ terminal: borrowing Terminal) {
        var page = keys.page
        let size = terminal.size
        page.columns = size.columns
        page.rows = size.rows
        page.prompt = trouble ?? keys.prompt
        guard let model else {
            terminal.show([StatusScreen.clipped(trouble ?? console.language(.asking), size.columns)]
            )
            return
        }
        terminal.show(page.lines(model).map { TopVerbs.styled($0, console) })
    }
}
