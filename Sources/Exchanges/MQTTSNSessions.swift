// The MQTT-SN clients that are connected or asleep: whom an address or a client id means, which
// topics they registered, when they are given up. A value owned by its MQTTSNGateway.

import Model

/// Where a client is: its address, and its node behind a forwarder (encapsulated messages).
struct MQTTSNPlace: Hashable {
    var endpoint: Endpoint
    /// Digest of the wireless node id; 0 without a forwarder.
    var node: UInt64
}

struct MQTTSNSessions {
    struct Named {
        var id: UInt16
        var name: [UInt8]
        var formats: FormatChoice
    }

    struct Session {
        var name: [UInt8]
        var identity: [UInt8]
        var place: MQTTSNPlace
        var topics: [Named] = []
        /// How long it may be silent.
        var silence: Int64
        var expiresAt: Instant
        var isLive = true
    }

    /// Topics one client may register.
    static let topicLimit = 256
    /// A client without keep-alive is given up after a day.
    static let longestSilence: Int64 = 86_400_000

    private(set) var sessions: [Session] = []
    private var byPlace: [MQTTSNPlace: Int] = [:]
    private var byName: [[UInt8]: Int] = [:]
    private var free: [Int] = []
    private(set) var nextExpiry: Instant?
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    var count: Int { byName.count }

    func find(_ place: MQTTSNPlace) -> Int? { byPlace[place] }
    func find(name: [UInt8]) -> Int? { byName[name] }

    /// A session for the client; its topics stay unless it wants a clean one. Nil: no room.
    mutating func open(
        name: [UInt8], identity: [UInt8], at place: MQTTSNPlace, isClean: Bool
    ) -> Int? {
        if let other = byPlace[place], sessions[other].name != name { close(other) }
        if let slot = byName[name] {
            if isClean { sessions[slot].topics.removeAll() }
            move(slot, to: place)
            return slot
        }
        guard count < limit else { return nil }
        let session = Session(
            name: name, identity: identity, place: place,
            silence: MQTTSNSessions.longestSilence, expiresAt: Instant(nanoseconds: 0))
        let slot = free.popLast() ?? sessions.count
        if slot == sessions.count { sessions.append(session) } else { sessions[slot] = session }
        byName[name] = slot
        byPlace[place] = slot
        return slot
    }

    /// The client speaks from there now.
    mutating func move(_ slot: Int, to place: MQTTSNPlace) {
        guard sessions[slot].place != place || byPlace[place] != slot else { return }
        if byPlace[sessions[slot].place] == slot { byPlace[sessions[slot].place] = nil }
        sessions[slot].place = place
        byPlace[place] = slot
    }

    mutating func close(_ slot: Int) {
        guard sessions[slot].isLive else { return }
        if byPlace[sessions[slot].place] == slot { byPlace[sessions[slot].place] = nil }
        byName[sessions[slot].name] = nil
        sessions[slot].isLive = false
        sessions[slot].topics = []
        free.append(slot)
    }

    /// The client spoke; `seconds`: its new keep-alive or sleep, 0 for none. The protocol leaves half
    /// as much again before a client counts as lost.
    mutating func heard(_ slot: Int, seconds: UInt16? = nil, at now: Instant) {
        if let seconds {
            sessions[slot].silence =
                seconds == 0
                ? MQTTSNSessions.longestSilence
                : min(Int64(seconds) * 1500, MQTTSNSessions.longestSilence)
        }
        let end = now.adding(milliseconds: sessions[slot].silence)
        sessions[slot].expiresAt = end
        if nextExpiry == nil || end < nextExpiry! { nextExpiry = end }
    }

    /// Number of a topic, given if need be; nil: the client has too many.
    mutating func register(_ slot: Int, _ name: [UInt8], _ formats: FormatChoice) -> UInt16? {
        if let known = sessions[slot].topics.first(where: { $0.name == name }) { return known.id }
        guard sessions[slot].topics.count < MQTTSNSessions.topicLimit else { return nil }
        // 0 and FFFF are reserved.
        let id = UInt16(sessions[slot].topics.count + 1)
        sessions[slot].topics.append(Named(id: id, name: name, formats: formats))
        return id
    }

    func registered(_ slot: Int, _ id: UInt16) -> Named? {
        let place = Int(id) - 1
        guard sessions[slot].topics.indices.contains(place) else { return nil }
        return sessions[slot].topics[place]
    }

    mutating func expire(at now: Instant) {
        guard let next = nextExpiry, next <= now else { return }
        nextExpiry = nil
        for slot in sessions.indices where sessions[slot].isLive {
            let end = sessions[slot].expiresAt
            if end <= now {
                close(slot)
            } else if nextExpiry == nil || end < nextExpiry! {
                nextExpiry = end
            }
        }
        // All are looked at, so not more often than once a second.
        if let next = nextExpiry { nextExpiry = max(next, now.adding(milliseconds: 1000)) }
    }
}
