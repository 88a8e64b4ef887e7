// Block-wise uploads under way (RFC 7959 Block1), by endpoint and path: each block may carry a new token.
// Bounded in number, in bytes and in time; the one idle longest gives way. Owned by its CoAPServer.

import Model

struct BlockAssembly {
    enum Step {
        /// Go on with the next block: 2.31.
        case more
        /// The last block came; the body is in `body(of:)`.
        case complete(slot: Int)
        /// 4.08
        case incomplete
        /// 4.13
        case tooLarge
        /// 4.00
        case wrong
    }

    struct Key: Hashable {
        var endpoint: Endpoint
        /// Digest of path and query.
        var resource: UInt64
    }

    private struct Upload {
        var key: Key
        var body: [UInt8]
        var touchedAt: Instant
    }

    /// EXCHANGE_LIFETIME
    static let lifetime: Int64 = 247_000

    private var uploads: [Upload] = []
    private var byteCount = 0
    private let limits: (uploads: Int, each: Int, all: Int)

    init(uploads: Int, each: Int, all: Int) { limits = (max(1, uploads), each, all) }

    var count: Int { uploads.count }

    /// Takes one block. `offset` is where it belongs, `size` what its option says.
    mutating func take(
        _ block: Span<UInt8>, of key: Key, offset: Int, size: Int, hasMore: Bool, at now: Instant
    ) -> Step {
        expire(at: now)
        // Every block but the last is full; the last is not longer.
        guard hasMore ? block.count == size : block.count <= size else { return .wrong }
        guard offset + block.count <= limits.each else {
            remove(key)
            return .tooLarge
        }
        if offset == 0 { remove(key) }
        guard let place = place(of: key, isNew: offset == 0, at: now) else { return .incomplete }
        let have = uploads[place].body.count
        if offset + block.count <= have, hasMore { return .more }
        guard offset == have else {
            remove(key)
            return .incomplete
        }
        while byteCount + block.count > limits.all, uploads.count > 1 {
            guard let oldest = oldest(except: key) else { break }
            remove(oldest)
        }
        guard let place = uploads.firstIndex(where: { $0.key == key }) else { return .incomplete }
        guard byteCount + block.count <= limits.all else {
            remove(key)
            return .tooLarge
        }
        for i in block.indices { uploads[place].body.append(block[i]) }
        byteCount += block.count
        uploads[place].touchedAt = now
        return hasMore ? .more : .complete(slot: place)
    }

    func body(of slot: Int) -> [UInt8] { uploads[slot].body }

    mutating func remove(_ key: Key) {
        guard let place = uploads.firstIndex(where: { $0.key == key }) else { return }
        byteCount -= uploads[place].body.count
        uploads.remove(at: place)
    }

    private mutating func place(of key: Key, isNew: Bool, at now: Instant) -> Int? {
        if let known = uploads.firstIndex(where: { $0.key == key }) { return known }
        guard isNew else { return nil }
        if uploads.count >= limits.uploads, let oldest = oldest(except: key) { remove(oldest) }
        uploads.append(Upload(key: key, body: [], touchedAt: now))
        return uploads.count - 1
    }

    private func oldest(except key: Key) -> Key? {
        uploads.filter { $0.key != key }.min { $0.touchedAt < $1.touchedAt }?.key
    }

    private mutating func expire(at now: Instant) {
        let late = uploads.filter {
            now.milliseconds(since: $0.touchedAt) > BlockAssembly.lifetime
        }
        for upload in late { remove(upload.key) }
    }
}
