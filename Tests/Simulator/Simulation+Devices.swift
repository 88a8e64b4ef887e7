// The devices of a simulation: what they send and repeat, and how it is lost, doubled and spoiled on the
// way.

import Model
import Pipeline
import Store

extension Simulation {
    func planNext(of device: Int) {
        plan(milliseconds: 1 + random.below(2 * mean)) { [unowned self] in
            guard !isCalm else { return }
            sendNew(from: device)
            planNext(of: device)
        }
    }

    func speaksStream(_ device: Int) -> Bool { device % 3 == 2 }

    func sendNew(from device: Int) {
        devices[device].sequence += 1
        let key = Key(device: device, sequence: devices[device].sequence)
        var frame = ReferenceFrame(
            device: 0xA000 + UInt64(device), sequence: key.sequence,
            time: time.trueWall.milliseconds, wantsAnswer: random.chance(0.6))
        if random.chance(0.03) {
            frame.time -= 40 * 86_400_000
            implausible.insert(key)
        } else if random.chance(0.1) {
            // Yesterday's value, delivered now.
            frame.time -= 86_400_000
            if storeSettings.rules.maximumAge != nil { refused.insert(key) }
        }
        sent[key] = frame
        if frame.wantsAnswer { unheard.insert(key) }
        transmit(key)
    }

    func transmit(_ key: Key) {
        guard let frame = sent[key] else { return }
        if speaksStream(key.device) {
            transmitStream(frame.bytes, from: key.device)
        } else {
            transmitDatagrams(frame.bytes, from: key.device)
        }
        guard unheard.contains(key) else { return }
        plan(milliseconds: 500 + random.below(1500)) { [unowned self] in
            if unheard.contains(key) { transmit(key) }
        }
    }

    func transmitDatagrams(_ bytes: [UInt8], from device: Int) {
        var bytes = bytes
        let copies = isCalm ? 1 : random.chance(0.12) ? 0 : random.chance(0.1) ? 2 : 1
        if !isCalm, random.chance(0.05) { bytes[random.below(bytes.count)] ^= 1 << random.below(8) }
        for _ in 0..<copies {
            deliver(bytes, from: device, isTruncated: !isCalm && random.chance(0.01))
        }
        if !isCalm, random.chance(0.04) {
            deliver(random.bytes(random.below(200)), from: device, isTruncated: false)
        }
    }

    func deliver(_ bytes: [UInt8], from device: Int, isTruncated: Bool) {
        plan(milliseconds: random.below(60)) { [unowned self] in
            gateway?.receive(
                datagram: bytes, from: Endpoint.ipv4(UInt32(device), port: 9),
                isTruncated: isTruncated)
        }
    }

    func transmitStream(_ bytes: [UInt8], from device: Int) {
        guard let gateway else { return }
        var bytes = bytes
        if devices[device].connection == nil {
            connectionNumber += 1
            devices[device].connection = ConnectionID(connectionNumber)
            owners[ConnectionID(connectionNumber)] = device
        }
        guard let id = devices[device].connection else { return }
        if !isCalm {
            if random.chance(0.05) { bytes[random.below(64)] ^= 1 << random.below(8) }
            if random.chance(0.1) { bytes = random.bytes(random.below(40)) + bytes }
            if random.chance(0.08) {
                gateway.receive(stream: Array(bytes.prefix(random.below(64))), on: id)
                gateway.connectionEnded(id)
                devices[device].connection = nil
                return
            }
        }
        let cut = random.below(bytes.count)
        gateway.receive(stream: Array(bytes[..<cut]), on: id)
        gateway.receive(stream: Array(bytes[cut...]), on: id)
    }

    func answer(_ bytes: [UInt8], to recipient: Recipient) {
        let device: Int
        switch recipient {
        case .datagram(_, let endpoint): device = Int(endpoint.low & 0xFFFF)
        case .connection(let id): device = owners[id] ?? -1
        }
        let sequence = bytes.dropFirst(4).prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let key = Key(device: device, sequence: sequence)
        guard let frame = sent[key], frame.wantsAnswer, frame.answer == bytes else {
            return fault("an answer to nobody: \(bytes)")
        }
        answered.insert(key)
        guard isCalm || !random.chance(0.2) else { return }
        plan(milliseconds: random.below(60)) { [unowned self] in unheard.remove(key) }
    }
}
