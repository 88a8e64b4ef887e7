// When processes are killed during a load run: at even parts of the frames, gateway and store
// apart.

struct KillSchedule {
    enum Victim { case gateway, store }

    struct Step {
        var frame: Int
        var victim: Victim
    }

    let steps: [Step]

    /// `kills` times at k/(kills + 1) of the frames; the store's moments are a little later, so
    /// that
    /// it is not always killed together with the gateway.
    init(frames: Int, _ kills: (gateway: Int, store: Int)) {
        var steps: [Step] = []
        for k in 0..<kills.gateway {
            steps.append(Step(frame: frames * (k + 1) / (kills.gateway + 1), victim: .gateway))
        }
        for k in 0..<kills.store {
            let frame = frames * (2 * k + 1) / (2 * kills.store) + frames / 50
            steps.append(Step(frame: min(frames, frame), victim: .store))
        }
        self.steps = steps.sorted { $0.frame < $1.frame }
    }
}
