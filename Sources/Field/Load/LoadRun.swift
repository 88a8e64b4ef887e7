// Plays a population of devices over UDP or TCP: open loop (a slow gateway does not slow the devices),
// frames
// made ahead in one slab and sent with sendmmsg, answers matched, asked-for answers repeated for
// with
// the same bytes. One thread. Latency counts from when a frame was due, not from when it was sent,
// so
// that waiting is not hidden (coordinated omission).

package import Host
import Model

package struct LoadRun: ~Copyable {
    private struct Pending {
        var frame: [UInt8]
        var dueAt: Int64
        var device: Int
        var tries: Int
        var sentAt: Int64
    }

    private let plan: LoadPlan
    private let population: Population
    private var sockets: [LoadSocket]
    private let poller: Poller
    private var random: SplitMix64
    private var summary = LoadSummary()
    private var frame: [UInt8]
    private var slab: [UInt8]
    private var slabCount = 0
    /// Bytes of each frame in the slab.
    private var slabSize = 0
    private var slabSocket = 0
    /// Frames that ask and are not answered, by sequence.
    private var pending: [UInt32: Pending] = [:]
    private var retries = RetryWheel(now: 0)
    /// A frame held back so that the next one overtakes it.
    private var held: (frame: [UInt8], device: Int)?
    /// Frames that are under way for long, in the order in which they arrive.
    private var late: [(frame: [UInt8], device: Int, dueAt: Int64)] = []
    private var answer = [UInt8](repeating: 0, count: 2048)
    /// Sequences of the answered frames.
    package private(set) var answered: [UInt32] = []
    /// How far the run is; kills and progress hang on it.
    package private(set) var framesDone = 0

    private static let slabFrames = 128
    private static let slabBytes = 1 << 16

    package init(_ plan: LoadPlan) throws(SendingError) {
        // Everything that can fail first: a noncopyable value cannot be left half made.
        let poller = try Poller()
        var sockets: [LoadSocket] = []
        for i in 0..<plan.connections {
            sockets.append(try LoadRun.socket(plan.target, poller, UInt32(i)))
        }
        self.plan = plan
        self.poller = poller
        self.sockets = sockets
        random = SplitMix64(seed: plan.seed)
        frame = [UInt8](repeating: 0, count: ReferenceFrame.size)
        slab = [UInt8](repeating: 0, count: LoadRun.slabBytes)
        population = plan.population
    }

    private static func socket(
        _ target: Target, _ poller: borrowing Poller, _ token: UInt32
    ) throws(SendingError) -> LoadSocket {
        target.isStream
            ? try StreamSocket(target, poller, token: token)
            : try DatagramSocket(target, poller, token: token)
    }

    /// Sends everything and waits for the answers that are still out. `everyTurn` is called between
    /// bursts with the number of frames sent so far.
    package mutating func play(
        _ everyTurn: (Int) throws(DistrictError) -> Void
    ) throws(DistrictError) -> LoadSummary {
        SendingClock.sharpen()
        let cpuBefore = LoadRun.cpuSeconds
        let start = SendingClock.now
        retries = RetryWheel(now: start)
        let burst = plan.rate == nil ? LoadRun.slabFrames : max(1, plan.burst)
        while framesDone < plan.frames {
            let count = min(burst, plan.frames - framesDone)
            let due = dueTime(framesDone + count - 1, start)
            waitUntil(due)
            for _ in 0..<count { emit(dueAt: plan.rate == nil ? due : dueTime(framesDone, start)) }
            flush()
            try everyTurn(framesDone)
        }
        releaseHeld()
        flush()
        while !pending.isEmpty || !late.isEmpty || !sockets.allSatisfy(\.isFlushed) {
            turn(waiting: 5_000_000)
            try everyTurn(framesDone)
        }
        // The refusal of a socket's last datagram has no later send to tell it.
        for socket in sockets where socket.pendingError() != nil { summary.datagramsRefused += 1 }
        summary.wallSeconds = Double(SendingClock.now - start) / 1e9
        summary.senderCpuSeconds = LoadRun.cpuSeconds - cpuBefore
        summary.framesAnswered = answered.count
        return summary
    }

    private static var cpuSeconds: Double { Double(ProcessUsage.now().cpuMicroseconds) / 1e6 }

    private func dueTime(_ index: Int, _ start: Int64) -> Int64 {
        guard let rate = plan.rate else { return SendingClock.now }
        // Of the whole run's frames, so that bursts stay whole; counted from this part's first.
        let first = population.traffic.due(plan.firstFrame)
        let due = population.traffic.due(plan.firstFrame + index) - first
        return start + Int64(due / rate * 1e9)
    }

    /// Waits for the time, doing in between what has to be done.
    private mutating func waitUntil(_ due: Int64) {
        if plan.answers == 0, plan.delay == 0, !plan.target.isStream {
            if due > SendingClock.now { SendingClock.sleep(until: due) }
            return
        }
        repeat {
            turn(waiting: max(0, due - SendingClock.now))
        } while SendingClock.now < due
    }

    /// Reads answers, repeats what is late.
    private mutating func turn(waiting nanoseconds: Int64) {
        let limit = late.first.map { max(0, $0.dueAt - SendingClock.now) } ?? nanoseconds
        for ready in poller.wait(nanoseconds: min(nanoseconds, limit)) {
            let socket = sockets[Int(ready.token)]
            if ready.isWritable { socket.isWritable(poller) }
            guard ready.isReadable else { continue }
            // More than one read of a stream can hold: what stays behind would wake nobody.
            for _ in 0..<8192 {
                guard let count = socket.receive(into: &answer) else { break }
                takeAnswer(count)
            }
        }
        let now = SendingClock.now
        for sequence in retries.due(now) { repeatFrame(sequence, now) }
        while let first = late.first, first.dueAt <= now {
            late.removeFirst()
            enqueue(first.frame, first.device)
        }
        for socket in sockets where socket.needsCare { socket.isWritable(poller) }
        flush()
    }

    private mutating func takeAnswer(_ count: Int) {
        guard let sequence = plan.format.answered(by: answer, count: count),
            let waiting = pending[sequence]
        else {
            // A second answer to a frame that was sent twice is no mistake.
            summary.answersUnexpected += 1
            return
        }
        let now = SendingClock.now
        if let awake = plan.awakeMilliseconds, now - waiting.sentAt > awake * 1_000_000 {
            // The radio is off: the device repeats when it wakes.
            summary.answersUnheard += 1
            return
        }
        pending[sequence] = nil
        summary.latencies.add(now - waiting.dueAt)
        answered.append(sequence)
    }

    private mutating func repeatFrame(_ sequence: UInt32, _ now: Int64) {
        guard var waiting = pending[sequence] else { return }
        guard waiting.tries < plan.tries else {
            pending[sequence] = nil
            summary.framesUnanswered += 1
            return
        }
        waiting.tries += 1
        waiting.sentAt = now
        pending[sequence] = waiting
        summary.framesRepeated += 1
        schedule(sequence, now, tries: waiting.tries)
        deliver(waiting.frame, waiting.device)
    }

    /// Twice as long after each try, up to four times, and never all devices at once: a
    /// population that repeats in step would flood a gateway that comes back.
    private mutating func schedule(_ sequence: UInt32, _ now: Int64, tries: Int) {
        let factor = Double(1 << min(2, tries - 1))
        let jitter = 0.75 + Double(random.next() >> 11) * 0x1p-54
        let delay = Double(plan.retryMilliseconds) * 1e6 * factor * jitter
        retries.add(sequence, at: now + Int64(min(delay, 1e15)))
    }

    // MARK: Sending

    private mutating func emit(dueAt: Int64) {
        let index = plan.firstFrame + framesDone
        let device = population.device(index)
        let sequence = population.sequence(index)
        let asks = plan.answers >= 1 || random.chance(plan.answers)
        if plan.format == .reference {
            ReferenceFrame.write(into: &frame, index: index, asks: asks, of: population)
        } else {
            frame = plan.format.frame(
                index, asks: asks, of: population,
                socketShare: (plan.devices + plan.connections - 1) / plan.connections)
        }
        if plan.rebind > 0, random.chance(plan.rebind) { rebind(device) }
        framesDone += 1
        summary.framesSent += 1
        if asks {
            summary.framesAsking += 1
            pending[sequence] = Pending(
                frame: frame, dueAt: dueAt, device: device, tries: 1, sentAt: SendingClock.now)
            schedule(sequence, SendingClock.now, tries: 1)
        }
        if held == nil, random.chance(plan.reorder) {
            held = (frame, device)
            summary.framesReordered += 1
            return
        }
        deliver(frame, device)
        releaseHeld()
    }

    private mutating func releaseHeld() {
        guard let late = held else { return }
        held = nil
        deliver(late.frame, late.device)
    }

    /// Over the made-up radio: lost, once or twice.
    private mutating func deliver(_ bytes: [UInt8], _ device: Int) {
        if random.chance(plan.loss) {
            summary.framesLost += 1
            return
        }
        if plan.delay > 0, random.chance(plan.delay) {
            summary.framesDelayed += 1
            late.append((bytes, device, SendingClock.now + plan.delayMilliseconds * 1_000_000))
            return
        }
        enqueue(bytes, device)
        if random.chance(plan.duplicate) {
            summary.framesDuplicated += 1
            enqueue(bytes, device)
        }
    }

    /// The network gives the device's socket another port, as a NAT does after silence: answers that are
    /// under way to the old one are lost.
    private mutating func rebind(_ device: Int) {
        flush()
        let number = device * plan.connections / plan.devices
        guard let other = try? LoadRun.socket(plan.target, poller, UInt32(number)) else { return }
        sockets[number] = other
        summary.rebinds += 1
    }

    private mutating func enqueue(_ bytes: [UInt8], _ device: Int) {
        // Blocks of devices share a socket, so that neighbours leave in one call.
        let socket = device * plan.connections / plan.devices
        let isFull =
            slabCount == LoadRun.slabFrames || (slabCount + 1) * bytes.count > LoadRun.slabBytes
        if socket != slabSocket || bytes.count != slabSize || isFull { flush() }
        slabSocket = socket
        slabSize = bytes.count
        let base = slabCount * slabSize
        for i in 0..<slabSize { slab[base + i] = bytes[i] }
        slabCount += 1
    }

    private mutating func flush() {
        var sent = 0
        var refusals = 0
        while sent < slabCount {
            let result = sockets[slabSocket].send(
                slab, from: sent * slabSize, size: slabSize, count: slabCount - sent)
            if result > 0 {
                sent += result
                summary.datagramsSent += result
                summary.bytesSent += result * slabSize
            } else if result == -111 {
                // ECONNREFUSED tells of an earlier datagram; after two in a row go on.
                summary.datagramsRefused += 1
                refusals += 1
                if refusals > 2 { sent += 1 }
            } else if result == -11 || result == -105 {
                // EAGAIN, ENOBUFS: the kernel's buffer is full for a moment.
                SendingClock.sleep(until: SendingClock.now + 100_000)
                sockets[slabSocket].isWritable(poller)
            } else {
                summary.datagramsRefused += 1
                sent += 1
            }
        }
        slabCount = 0
    }
}
