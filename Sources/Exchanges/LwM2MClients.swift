// The LwM2M clients that are registered, and what is observed of each. A value owned by its CoAPServer. A
// client is found by its location, by the token of an observation and, for what carries neither, by the
// address it spoke from last; whose data it is follows from the registration, never from the address.
//
// Token of an observation, eight bytes: u16 tag of the path | u24 slot | u24 check. The check is random
// for every registration, so a token of an earlier one is recognised as such; the tag still says which
// path it was, so a notification that survived our restart can be attributed once its sender is known.

import Formats
import Model

struct LwM2MClients {
    enum Observation: UInt8 {
        /// The client's object list does not have it.
        case absent
        case wanted
        case observed
        /// The client answered the request with an error or without observing.
        case refused
    }

    struct Watch {
        var state = Observation.absent
        /// Observe value of the newest notification and when it came (RFC 7641 section 3.4).
        var sequence: UInt32?
        var sequenceAt = Instant(nanoseconds: 0)
    }

    /// An observe request that is not yet answered.
    struct Asked {
        var messageID: UInt16
        var watch: Int
        var attempts: Int
        var timeout: Int64
        var due: Instant
    }

    struct Client {
        var name: [UInt8]
        var identity: [UInt8]
        var check: UInt32
        var endpoint: Endpoint
        var lifetime: Int64
        var expiresAt: Instant
        var heardAt: Instant
        /// Sleeps between its messages (binding with Q).
        var isQueued = false
        /// Prefix of its paths.
        var root: [UInt8] = []
        var watches: [Watch]
        var asked: Asked?
        /// Its slot stands in `waiting`.
        var isWaiting = false
        var isLive = true
    }

    /// What a registration or update says.
    struct Registration {
        var name: [UInt8] = []
        var identity: [UInt8] = []
        var lifetime: Int64?
        var isQueued: Bool?
        var objects: ObjectList?
    }

    static let maximumLifetime: Int64 = 10 * 366 * 86_400_000

    private(set) var clients: [Client] = []
    /// Slots with a request on its way, and some whose request is answered: the next timer clears up,
    /// so that a district that registers anew at once costs no search a client.
    private var waiting: [Int] = []
    /// No request is due before.
    private var nextDue: Instant?
    /// Timers look at all clients, so they do not come more often than this.
    private static let restMilliseconds: Int64 = 200
    let observe: [[UInt8]]
    private let tags: [UInt16]
    private let limit: Int
    private var free: [Int] = []
    private var byName: [[UInt8]: Int] = [:]
    private var byEndpoint: [Endpoint: Int] = [:]
    private var random: SplitMix64
    /// No registration ends before.
    private var nextExpiry: Instant?

    init(limit: Int, observe: [[UInt8]], seed: UInt64) {
        self.limit = min(limit, 1 << 24)
        self.observe = observe
        var tags: [UInt16] = []
        for path in observe {
            var digest = Digest(seed: 0)
            digest.add(path.span)
            var tag = UInt16(truncatingIfNeeded: digest.value)
            while tags.contains(tag) { tag &+= 1 }
            tags.append(tag)
        }
        self.tags = tags
        random = SplitMix64(seed: seed)
    }

    var count: Int { byName.count }

    // MARK: Who is it

    func find(endpoint: Endpoint) -> Int? { byEndpoint[endpoint] }

    func find(name: [UInt8]) -> Int? { byName[name] }

    func find(location: ArraySlice<UInt8>) -> Int? {
        guard location.count == 8 else { return nil }
        var bits: UInt64 = 0
        for byte in location {
            guard let digit = LwM2MClients.alphabet.firstIndex(of: byte) else { return nil }
            bits = bits << 6 | UInt64(digit)
        }
        return slot(bits)
    }

    /// The client and the watch that a token names; nil when it is of no registration that holds.
    func find(token: CoAPToken) -> (client: Int, watch: Int)? {
        guard token.count == 8, let client = slot(token.bits & 0xFFFF_FFFF_FFFF),
            let watch = watch(of: token)
        else { return nil }
        return (client, watch)
    }

    /// The path that a token of any registration names.
    func watch(of token: CoAPToken) -> Int? {
        guard token.count == 8 else { return nil }
        return tags.firstIndex(of: UInt16(truncatingIfNeeded: token.bits >> 48))
    }

    func token(_ client: Int, _ watch: Int) -> CoAPToken {
        CoAPToken(bits: UInt64(tags[watch]) << 48 | key(client), count: 8)
    }

    /// Eight characters that name the registration: `/rd/<location>`.
    func location(_ client: Int) -> [UInt8] {
        (0..<8).map { LwM2MClients.alphabet[Int(key(client) >> UInt64(42 - 6 * $0) & 63)] }
    }

    func identity(of client: Int) -> [UInt8] { clients[client].identity }

    private func key(_ client: Int) -> UInt64 {
        UInt64(client) << 24 | UInt64(clients[client].check)
    }

    private func slot(_ bits: UInt64) -> Int? {
        let slot = Int(bits >> 24 & 0xFF_FFFF)
        guard slot < clients.count, clients[slot].isLive,
            UInt64(clients[slot].check) == bits & 0xFF_FFFF
        else { return nil }
        return slot
    }

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    // MARK: Registrations

    /// Registers anew, in place of an older registration of that name; nil: no room.
    mutating func register(_ what: Registration, from: Endpoint, at now: Instant) -> Int? {
        if let old = byName[what.name] { remove(old) }
        guard count < limit else { return nil }
        var client = Client(
            name: what.name, identity: what.identity,
            check: UInt32(truncatingIfNeeded: random.next()) & 0xFF_FFFF, endpoint: from,
            lifetime: 86_400_000, expiresAt: now, heardAt: now,
            watches: Array(repeating: Watch(), count: observe.count))
        let slot = free.popLast() ?? clients.count
        if slot == clients.count {
            clients.append(client)
        } else {
            client.isWaiting = clients[slot].isWaiting
            clients[slot] = client
        }
        byName[what.name] = slot
        update(slot, what, from: from, at: now)
        return slot
    }

    mutating func update(_ slot: Int, _ what: Registration, from: Endpoint, at now: Instant) {
        if let lifetime = what.lifetime { clients[slot].lifetime = lifetime }
        if let isQueued = what.isQueued { clients[slot].isQueued = isQueued }
        if let objects = what.objects {
            clients[slot].root = Array(objects.root.utf8)
            for watch in observe.indices {
                let isThere = LwM2MClients.has(observe[watch], objects)
                if !isThere {
                    clients[slot].watches[watch] = Watch()
                } else if clients[slot].watches[watch].state == .absent {
                    clients[slot].watches[watch].state = .wanted
                }
            }
        }
        let end = now.adding(milliseconds: clients[slot].lifetime)
        clients[slot].expiresAt = end
        if nextExpiry == nil || end < nextExpiry! { nextExpiry = end }
        heard(slot, from: from, at: now)
    }

    mutating func remove(_ slot: Int) {
        guard clients[slot].isLive else { return }
        if byEndpoint[clients[slot].endpoint] == slot { byEndpoint[clients[slot].endpoint] = nil }
        byName[clients[slot].name] = nil
        clients[slot].isLive = false
        clients[slot].asked = nil
        clients[slot].watches = []
        free.append(slot)
    }

    /// The client spoke: from here it is reached now (RFC 4787: mappings move).
    mutating func heard(_ slot: Int, from: Endpoint, at now: Instant) {
        clients[slot].heardAt = now
        guard clients[slot].endpoint != from || byEndpoint[from] != slot else { return }
        if byEndpoint[clients[slot].endpoint] == slot { byEndpoint[clients[slot].endpoint] = nil }
        clients[slot].endpoint = from
        byEndpoint[from] = slot
    }

    /// Whether an object list has the object, and the instance when the path names one.
    private static func has(_ path: [UInt8], _ objects: ObjectList) -> Bool {
        let parts = String(decoding: path, as: UTF8.self).split(separator: "/")
        guard let object = parts.first.flatMap({ UInt16($0) }) else { return false }
        guard parts.count > 1 else { return objects.entries.contains { $0.object == object } }
        guard let instance = UInt16(parts[1]) else { return false }
        return objects.has(object: object, instance: instance)
    }

    // MARK: Observations

    /// The next path to ask the client for, when it is time to: one request at a time (NSTART).
    func wanted(_ slot: Int, awake: Int64, at now: Instant) -> Int? {
        let client = clients[slot]
        guard client.isLive, client.asked == nil else { return nil }
        guard !client.isQueued || now.milliseconds(since: client.heardAt) < awake else {
            return nil
        }
        return client.watches.firstIndex { $0.state == .wanted }
    }

    mutating func ask(_ slot: Int, _ asked: Asked) {
        clients[slot].asked = asked
        if !clients[slot].isWaiting { waiting.append(slot) }
        clients[slot].isWaiting = true
        if nextDue == nil || asked.due < nextDue! { nextDue = asked.due }
    }

    mutating func stopAsking(_ slot: Int) { clients[slot].asked = nil }

    /// Slots whose request is due; the caller asks again or stops asking.
    mutating func takeDue(at now: Instant) -> [Int] {
        guard let next = nextDue, next <= now else { return [] }
        for slot in waiting where clients[slot].asked == nil { clients[slot].isWaiting = false }
        waiting.removeAll { !clients[$0].isWaiting }
        var due: [Int] = []
        nextDue = nil
        for slot in waiting {
            guard let at = clients[slot].asked?.due else { continue }
            if at <= now {
                due.append(slot)
            } else if nextDue == nil || at < nextDue! {
                nextDue = at
            }
        }
        if let next = nextDue {
            nextDue = max(next, now.adding(milliseconds: LwM2MClients.restMilliseconds))
        }
        return due
    }

    mutating func set(_ slot: Int, _ watch: Int, to state: Observation) {
        clients[slot].watches[watch].state = state
    }

    /// False when a newer notification of that path came already (RFC 7641 section 3.4).
    mutating func isNewer(_ slot: Int, _ watch: Int, _ value: UInt32, at now: Instant) -> Bool {
        let known = clients[slot].watches[watch]
        let v2 = value & 0xFF_FFFF
        if let v1 = known.sequence, now.milliseconds(since: known.sequenceAt) <= 128_000 {
            let isNewer = v1 < v2 ? v2 - v1 < 1 << 23 : v1 > v2 && v1 - v2 > 1 << 23
            guard isNewer else { return false }
        }
        clients[slot].watches[watch].sequence = v2
        clients[slot].watches[watch].sequenceAt = now
        return true
    }

    /// An empty acknowledgement: the answer to our request will come by itself.
    mutating func acknowledged(_ messageID: UInt16, from: Endpoint, at now: Instant) {
        guard let slot = asking(messageID, from) else { return }
        heard(slot, from: from, at: now)
        clients[slot].asked?.due = now.adding(milliseconds: CoAPServer.exchangeLifetime)
        clients[slot].asked?.attempts = .max
    }

    /// A reset: the client will not answer that request.
    mutating func refused(_ messageID: UInt16, from: Endpoint) {
        guard let slot = asking(messageID, from), let asked = clients[slot].asked else { return }
        clients[slot].watches[asked.watch].state = .refused
        stopAsking(slot)
    }

    private func asking(_ messageID: UInt16, _ from: Endpoint) -> Int? {
        guard let slot = byEndpoint[from], clients[slot].asked?.messageID == messageID else {
            return nil
        }
        return slot
    }

    // MARK: Time

    mutating func expire(at now: Instant) {
        guard let next = nextExpiry, next <= now else { return }
        nextExpiry = nil
        for slot in clients.indices where clients[slot].isLive {
            let end = clients[slot].expiresAt
            if end <= now {
                remove(slot)
            } else if nextExpiry == nil || end < nextExpiry! {
                nextExpiry = end
            }
        }
        if let next = nextExpiry {
            nextExpiry = max(next, now.adding(milliseconds: 5 * LwM2MClients.restMilliseconds))
        }
    }

    /// When something is due next.
    var due: Instant? {
        guard let due = nextDue, let expiry = nextExpiry else { return nextDue ?? nextExpiry }
        return min(due, expiry)
    }
}
