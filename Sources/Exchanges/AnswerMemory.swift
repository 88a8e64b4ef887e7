// Which messages came lately and what they were answered, so that a retransmission gets the same
// bytes again (RFC 7252 section 4.5). A ring of slots, the oldest overwritten first, with a table
// by endpoint and message id. Owned by its CoAPServer.
//
// A message counts as sent again only when its bytes are the same: a device that restarts and
// begins its message ids anew must not lose what it says. Answers longer than a slot are not kept;
// they belong to requests that may be answered anew (GET).

import Model

struct AnswerMemory {
    struct Key: Hashable {
        var endpoint: Endpoint
        var messageID: UInt16
    }

    /// Longest answer kept: 4 bytes of header, 8 of token, options and a short reason.
    static let answerBytes = 64

    private struct Slot {
        var key: Key
        var digest: UInt64
        var until: Instant
        var count: UInt8
    }

    private var slots: [Slot] = []
    private var answers: [UInt8] = []
    private var table: [Key: Int32] = [:]
    private var next = 0
    private let capacity: Int

    init(capacity: Int) {
        precondition(capacity > 0 && capacity <= 1 << 20)
        self.capacity = capacity
    }

    /// The slot of the same message when it came within its lifetime.
    func find(_ key: Key, digest: UInt64, at now: Instant) -> Int? {
        guard let place = table[key] else { return nil }
        let slot = slots[Int(place)]
        return slot.digest == digest && now < slot.until ? Int(place) : nil
    }

    /// A slot for a new message, without an answer.
    mutating func insert(_ key: Key, digest: UInt64, until: Instant) -> Int {
        let slot = Slot(key: key, digest: digest, until: until, count: 0)
        let place: Int
        if slots.count < capacity {
            if slots.isEmpty { table.reserveCapacity(min(capacity, 1024)) }
            place = slots.count
            slots.append(slot)
            answers.append(contentsOf: repeatElement(0, count: AnswerMemory.answerBytes))
        } else {
            place = next
            next = (next &+ 1) % capacity
            let old = slots[place].key
            if table[old] == Int32(place) { table[old] = nil }
            slots[place] = slot
        }
        table[key] = Int32(place)
        return place
    }

    /// Forgets a message that was not taken in for want of room: its repetition is tried anew.
    mutating func forget(_ place: Int) {
        let key = slots[place].key
        if table[key] == Int32(place) { table[key] = nil }
    }

    mutating func keep(_ answer: ArraySlice<UInt8>, at place: Int) {
        guard answer.count <= AnswerMemory.answerBytes else { return }
        var at = place &* AnswerMemory.answerBytes
        for byte in answer {
            answers[at] = byte
            at &+= 1
        }
        slots[place].count = UInt8(answer.count)
    }

    /// Appends the kept answer; false when there is none.
    func append(_ place: Int, to bytes: inout [UInt8]) -> Bool {
        let count = Int(slots[place].count)
        guard count > 0 else { return false }
        let start = place &* AnswerMemory.answerBytes
        bytes.append(contentsOf: answers[start..<start &+ count])
        return true
    }
}

/// A 64-bit digest with a secret start: FNV-1a over the bytes, then mixed. The secret keeps a
/// stranger from computing two messages that look the same.
struct Digest {
    private(set) var state: UInt64

    init(seed: UInt64) { state = 0xCBF2_9CE4_8422_2325 ^ seed }

    mutating func add(_ bytes: Span<UInt8>) {
        for i in bytes.indices { state = (state ^ UInt64(bytes[i])) &* 0x0000_0100_0000_01B3 }
    }

    mutating func add(_ word: UInt64) {
        state = (state ^ word) &* 0x9E37_79B9_7F4A_7C15
        state ^= state >> 29
    }

    var value: UInt64 {
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    /// Endpoint and message id as one number without a secret: equal on every run, never 0.
    static func messageKey(_ endpoint: Endpoint, _ id: UInt64) -> UInt64 {
        var digest = Digest(seed: 0)
        digest.add(endpoint.high)
        digest.add(endpoint.low)
        digest.add(UInt64(endpoint.port) << 32 | UInt64(endpoint.scope))
        digest.add(id)
        return digest.value | 1
    }
}
