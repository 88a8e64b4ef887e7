// From start to orderly end of the two daemons: signals, readiness, watchdog. Called on the main thread,
// which then sleeps until it is over.

import Dispatch
import Glibc
import Model
import Pipeline
import Synchronization

/// How long an orderly end may take before the process ends anyway (the spool survives that).
private let stopLimit = DispatchTimeInterval.seconds(10)

extension GatewayProcess {
    /// Runs a gateway until SIGTERM or SIGINT; `announce` gets each line for a person who watches.
    /// Throws what kept it from starting; otherwise the process ends here, with status 0 when in order.
    package static func run(
        _ configuration: Configuration, software: String, announce: (String) -> Void
    ) throws(StartError) {
        ProcessMemory.beFrugal()
        Signals.ignoreBrokenPipes()
        let end = try EndWish()
        let gateway = try GatewayProcess(configuration, software: software)
        try gateway.start()
        for warning in gateway.warnings { Log.warning(warning) }
        for (source, endpoint) in zip(configuration.sources, gateway.endpoints) {
            if let line = source.lines.place {
                announce("source \(source.name) opens \(line.description)")
                continue
            }
            announce(
                "source \(source.name) listens on "
                    + "\(source.listen.transport.rawValue)://\(endpoint.description)")
        }
        if let http = gateway.httpEndpoint {
            announce("status on http://\(http.description)/status")
        }
        ProcessMemory.forget()
        announce("ready")
        Notify.ready(status: "taking in from \(configuration.sources.count) sources")
        let heart = gateway.startWatchdog()
        forgetAgain(after: 100)
        let (reloader, watch) = (gateway.reloader, gateway.watch)
        end.onHangUp { door in
            Notify.reloading()
            if watch.look() {
                door.ask(.replacement)
            } else {
                reloader.reload { Notify.ready() }
            }
        }
        let isReplaced = end.wait() == .replacement
        heart?.cancel()
        if isReplaced {
            gateway.keepSockets()
        } else {
            Notify.stopping()
        }
        let isOver = DispatchSemaphore(value: 0)
        gateway.stop { isOver.signal() }
        if isOver.wait(timeout: .now() + stopLimit) == .timedOut {
            Log.warning("sluiced: did not end in order within 10 s: the journal will be replayed")
            // Handlers may still run: nothing is torn down under them.
            _exit(1)
        }
        withExtendedLifetime(gateway) {
            gateway.close()
            if isReplaced, !end.isOver {
                Log.warning("sluiced: \(gateway.startAnew().description): it ends instead")
                _exit(1)
            }
            // Handlers of timers may still wait in their queues, with stages that they hold unowned:
            // the process ends with all of them in place.
            exit(0)
        }
    }

    /// Feeds systemd's watchdog when every stage has had its turn, so that one that hangs is noticed.
    private func startWatchdog() -> (any DispatchSourceTimer)? {
        guard let interval = Notify.watchdogInterval else { return nil }
        let pulse = pulse
        return every(interval, on: nil) { pulse { Notify.alive() } }
    }
}

/// What ran once is let go of soon after the start, when the first frames have been through, at twice
/// the time and so on, in the end every ten seconds. The kernel maps 64 KB around each page that runs: a
/// few cold functions hold megabytes.
private func forgetAgain(after milliseconds: Int) {
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(milliseconds)) {
        ProcessMemory.forget()
        forgetAgain(after: min(2 * milliseconds, 10_000))
    }
}

/// Runs `body` at once and then every `milliseconds`.
private func every(
    _ milliseconds: Int64, on queue: DispatchQueue?, _ body: @escaping () -> Void
) -> any DispatchSourceTimer {
    let timer = DispatchSource.makeTimerSource(queue: queue)
    timer.schedule(deadline: .now(), repeating: .milliseconds(Int(milliseconds)))
    timer.setEventHandler(handler: body)
    timer.activate()
    return timer
}

extension StoreProcess {
    package static func run(
        _ configuration: StoreConfiguration, announce: (String) -> Void
    ) throws(StartError) {
        Signals.ignoreBrokenPipes()
        let end = try EndWish()
        let store = try StoreProcess(configuration)
        try store.start()
        announce("listens on \(store.endpoint.description)")
        announce("ready")
        Notify.ready(status: "listening on \(store.endpoint.description)")
        // On the store's queue: a store that hangs is noticed.
        let heart = Notify.watchdogInterval.map { every($0, on: store.queue) { Notify.alive() } }
        end.onHangUp { _ in Log.state("sluice-store: nothing to reload: it reads no formats") }
        end.wait()
        heart?.cancel()
        Notify.stopping()
        store.stop()
    }
}

/// SIGTERM and SIGINT as the wish to end, SIGHUP as the wish to reload. Made before anything is opened,
/// so that a wish that comes early is carried out in order as well.
private struct EndWish {
    private let door = EndDoor()
    private let hangUp = HangUp()
    private let signals: Signals

    init() throws(StartError) {
        let door = door
        let hangUp = hangUp
        do throws(HostError) {
            signals = try Signals(DispatchQueue(label: "sluice.signals")) { signal in
                switch signal {
                case .terminate, .interrupt: door.ask(.end)
                case .hangUp: hangUp.act()
                }
            }
        } catch {
            throw StartError(error.description)
        }
    }

    /// From now on `action` is what SIGHUP does; one that came before is carried out now.
    func onHangUp(_ action: @escaping @Sendable (EndDoor) -> Void) {
        let door = door
        hangUp.set { action(door) }
    }

    /// Sleeps until the process is asked to end or to be replaced.
    @discardableResult
    func wait() -> EndDoor.Wish { withExtendedLifetime(signals) { door.wait() } }

    /// It is to end, whatever else was asked for.
    var isOver: Bool { door.isOver }
}

/// Where wishes to end wait.
private final class EndDoor: Sendable {
    enum Wish { case end, replacement }

    private let called = DispatchSemaphore(value: 0)
    private let wishes = Mutex<[Wish]>([])

    func ask(_ wish: Wish) {
        wishes.withLock { $0.append(wish) }
        called.signal()
    }

    func wait() -> Wish {
        called.wait()
        return isOver ? .end : .replacement
    }

    var isOver: Bool { wishes.withLock { $0.contains(.end) } }
}

/// What SIGHUP does, and whether it came before that was known.
private final class HangUp: Sendable {
    private let state = Mutex<(action: (@Sendable () -> Void)?, isWaiting: Bool)>((nil, false))

    func set(_ action: @escaping @Sendable () -> Void) {
        let isWaiting = state.withLock { state in
            state.action = action
            return state.isWaiting
        }
        if isWaiting { action() }
    }

    func act() {
        let action = state.withLock { state in
            if state.action == nil { state.isWaiting = true }
            return state.action
        }
        action?()
    }
}
