// Who of a population sends which frame, when it is due and which time its readings carry. Arithmetic only:
// everything follows from a frame's number, both ways, so that an audit keeps nothing of what was sent.
//
//   steady  all devices in turn, the times of one device follow the rate
//   minute  sensors: in turn, a minute apart
//   daily   meters that sleep: each wakes and sends 24 hourly values at once
//   alarms  24 devices at once, then quiet
//   mixed   of 240 frames 144 minute, 72 daily, 24 alarms, each of devices of its own

package enum LoadShape: String, CaseIterable, Sendable {
    case steady, minute, daily, alarms, mixed
}

struct Traffic: Sendable {
    static let burst = 24
    private static let block = 240

    /// Devices that behave alike, and which of them is the first.
    struct Part: Sendable {
        var shape: LoadShape
        var first: Int
        var count: Int
        /// Frames of one device in a run, at least.
        var rounds: Int
    }

    let shape: LoadShape
    let parts: [Part]

    /// `frames`: of the whole run; `devices` of mixed are 3 at least.
    init(_ shape: LoadShape, devices: Int, frames: Int) {
        self.shape = shape
        guard shape == .mixed else {
            let rounds = frames / max(1, devices) + 2 * Traffic.burst
            parts = [Part(shape: shape, first: 0, count: devices, rounds: rounds)]
            return
        }
        precondition(devices >= 3, "three kinds of devices need three")
        let minute = max(1, devices * 6 / 10)
        let daily = max(1, min(devices - minute - 1, devices * 3 / 10))
        let alarms = devices - minute - daily
        let blocks = frames / Traffic.block + 1
        func rounds(_ perBlock: Int, _ count: Int) -> Int {
            blocks * perBlock / count + 2 * Traffic.burst
        }
        parts = [
            Part(shape: .minute, first: 0, count: minute, rounds: rounds(144, minute)),
            Part(shape: .daily, first: minute, count: daily, rounds: rounds(72, daily)),
            Part(
                shape: .alarms, first: minute + daily, count: alarms, rounds: rounds(24, alarms)),
        ]
    }

    func part(of device: Int) -> Part {
        parts.last { $0.first <= device } ?? parts[0]
    }

    /// The device of a frame, and the how manyeth of that device it is.
    func place(_ index: Int) -> (device: Int, round: Int) {
        guard shape == .mixed else { return Traffic.place(index, parts[0]) }
        let (block, at) = index.quotientAndRemainder(dividingBy: Traffic.block)
        let (quarter, step) = at.quotientAndRemainder(dividingBy: 60)
        if step < 36 { return Traffic.place(block * 144 + quarter * 36 + step, parts[0]) }
        if quarter < 3 { return Traffic.place(block * 72 + quarter * 24 + step - 36, parts[1]) }
        return Traffic.place(block * 24 + step - 36, parts[2])
    }

    private static func place(_ index: Int, _ part: Part) -> (device: Int, round: Int) {
        guard part.shape == .daily else {
            return (part.first + index % part.count, index / part.count)
        }
        let wake = index / burst
        return (part.first + wake % part.count, wake / part.count * burst + index % burst)
    }

    /// The frame of a device's round.
    func index(device: Int, round: Int) -> Int {
        let part = part(of: device)
        let number = device - part.first
        let own =
            part.shape == .daily
            ? (round / Traffic.burst * part.count + number) * Traffic.burst
                + round % Traffic.burst
            : round * part.count + number
        guard shape == .mixed else { return own }
        switch part.shape {
        case .minute:
            return own / 144 * Traffic.block + own % 144 / 36 * 60 + own % 36
        case .daily: return own / 72 * Traffic.block + own % 72 / 24 * 60 + 36 + own % 24
        case .alarms, .steady, .mixed: return own / 24 * Traffic.block + 180 + 36 + own % 24
        }
    }

    /// How many frames of an even stream would have been sent before this one is due; never falls.
    func due(_ index: Int) -> Double {
        switch shape {
        case .steady, .minute: return Double(index)
        case .daily, .alarms: return Double(index / Traffic.burst * Traffic.burst)
        case .mixed:
            let step = index % 60
            return Double(index - step) + (step < 36 ? Double(step) * 60 / 36 : 60)
        }
    }

    /// Milliseconds between two times of a device; in backward shapes they end near the start of
    /// the run, so that none is older than four weeks.
    func step(_ part: Part, granularity: Int64) -> Int64 {
        let usual: Int64 =
            switch part.shape {
            case .daily: 3_600_000
            case .minute, .mixed: 60_000
            case .alarms, .steady: 7000
            }
        let most = 28 * 86_400_000 / Int64(max(1, part.rounds))
        return max(granularity, min(usual, most / granularity * granularity))
    }
}
