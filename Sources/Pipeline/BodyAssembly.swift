// Bodies that come in several frames, until all parts are there: at most so many, of so many bytes in
// all, for so long. Owned by the intake. It decides and counts nothing: what it gives up waits in
// `givenUp` for the intake. Parts may come in any order and more than once; memory follows what came,
// never what was announced. A body that was read is remembered for the same time, so that its parts,
// sent again, are known and get its answer again.

import Formats
import Model

struct BodyAssembly {
    struct Key: Hashable {
        /// Number of source and format in the journal.
        var format: UInt16
        var device: DeviceKey
        /// `FramePart.key`
        var part: UInt64
    }

    /// A part's frame as it is journaled.
    struct Piece {
        var frame: [UInt8]
        var isEnvelope: Bool
        var receivedAt: Timestamp
    }

    struct Body {
        let key: Key
        let source: Int
        let parts: Int
        var due: Instant
        /// By part number.
        var pieces: [Int: Piece] = [:]
        /// What it counts in the limit of all bytes.
        var cost = 0
        /// Set when the body was read; `pieces` is empty from then on.
        var finished: Finished?

        var isComplete: Bool { pieces.count == parts }
        /// The frames in the order of their numbers.
        var inOrder: [Piece] { pieces.sorted { $0.key < $1.key }.map(\.value) }
    }

    struct Finished {
        /// Hash of each part's frame, by its number.
        var frames: [Int: Int]
        /// Number of the part that came last.
        var last: Int
        var answer: [UInt8]
    }

    enum Step {
        /// Kept; others are missing.
        case held
        /// Kept, and all are there. The intake calls `finish` or `take(back:)`.
        case complete
        /// Known. `answer`: what the whole body was answered with, when this part asks for it again.
        case duplicate(answer: [UInt8])
        /// The body would be longer than what may be kept.
        case tooLarge
    }

    static let costOfPiece = 64
    static let costOfHash = 32

    private(set) var bodies: [Body] = []
    private(set) var cost = 0
    /// Bodies that will not be read, for the intake to count and set aside.
    var givenUp: [Body] = []
    private let limits: BodyLimits

    init(limits: BodyLimits) { self.limits = limits }

    /// When the next body's time is over.
    var nextDue: Instant? { bodies.map(\.due).min() }

    /// Takes one part. `age`: at replay, how long ago it came, in milliseconds; it was new then.
    mutating func take(
        _ part: FramePart, of key: Key, source: Int, _ piece: Piece, age: Int64? = nil,
        at now: Instant
    ) -> Step {
        if let place = bodies.firstIndex(where: { $0.key == key }) {
            if age == nil, let answer = repeated(part, piece, in: bodies[place]) {
                return .duplicate(answer: answer)
            }
            if isOther(part, than: bodies[place]) { drop(at: place) }
        }
        let added = piece.frame.count + BodyAssembly.costOfPiece
        // All parts but the last are full.
        let (announced, overflow) = part.count.multipliedReportingOverflow(by: part.parts - 1)
        if part.part < part.parts, overflow || announced > limits.bytes { return .tooLarge }
        guard makeRoom(added, for: key) else {
            if let place = bodies.firstIndex(where: { $0.key == key }) { drop(at: place) }
            return .tooLarge
        }
        let place = place(of: key, source: source, parts: part.parts, age: age ?? 0, at: now)
        bodies[place].pieces[part.part] = piece
        bodies[place].cost += added
        cost += added
        return bodies[place].isComplete ? .complete : .held
    }

    func body(_ key: Key) -> Body? { bodies.first { $0.key == key } }

    /// The body was read; `last` is the part that completed it.
    mutating func finish(_ key: Key, last: Int, answer: [UInt8], at now: Instant) {
        guard let place = bodies.firstIndex(where: { $0.key == key }) else { return }
        var hashes: [Int: Int] = [:]
        for (number, piece) in bodies[place].pieces { hashes[number] = piece.frame.hashValue }
        cost -= bodies[place].cost
        bodies[place].cost = hashes.count * BodyAssembly.costOfHash + answer.count
        cost += bodies[place].cost
        bodies[place].pieces = [:]
        bodies[place].due = now.adding(milliseconds: limits.milliseconds)
        bodies[place].finished = Finished(frames: hashes, last: last, answer: answer)
    }

    /// The part was refused after all.
    mutating func take(back part: Int, of key: Key) {
        guard let place = bodies.firstIndex(where: { $0.key == key }),
            let piece = bodies[place].pieces.removeValue(forKey: part)
        else { return }
        let freed = piece.frame.count + BodyAssembly.costOfPiece
        bodies[place].cost -= freed
        cost -= freed
        if bodies[place].pieces.isEmpty { bodies.remove(at: place) }
    }

    /// Gives up what has waited too long, forgets what was read long enough ago.
    mutating func expire(at now: Instant) {
        for place in bodies.indices.reversed() where bodies[place].due <= now { drop(at: place) }
    }

    /// Forgets a body: at replay, where it is known that it was given up.
    mutating func remove(_ key: Key) {
        guard let place = bodies.firstIndex(where: { $0.key == key }) else { return }
        cost -= bodies[place].cost
        bodies.remove(at: place)
    }

    // MARK: Helpers

    /// The answer to repeat, maybe empty, when this very frame is known.
    private func repeated(_ part: FramePart, _ piece: Piece, in body: Body) -> [UInt8]? {
        guard let finished = body.finished else {
            return body.pieces[part.part]?.frame == piece.frame ? [] : nil
        }
        guard finished.frames[part.part] == piece.frame.hashValue else { return nil }
        // Who sends all again waits behind the last; who sends one again, behind that.
        let asks = part.part == part.parts || part.part == finished.last
        return asks ? finished.answer : []
    }

    /// The part is of another body with the same key.
    private func isOther(_ part: FramePart, than body: Body) -> Bool {
        body.finished != nil || body.parts != part.parts || body.pieces[part.part] != nil
            || part.isOrdered && part.part == 1
    }

    private mutating func place(
        of key: Key, source: Int, parts: Int, age: Int64, at now: Instant
    ) -> Int {
        if let known = bodies.firstIndex(where: { $0.key == key }) { return known }
        let left = limits.milliseconds - max(0, min(age, limits.milliseconds))
        bodies.append(
            Body(key: key, source: source, parts: parts, due: now.adding(milliseconds: left)))
        return bodies.count - 1
    }

    /// Room for `added` bytes and for the body `key`: what was read gives way first, then the oldest.
    private mutating func makeRoom(_ added: Int, for key: Key) -> Bool {
        let isNew = !bodies.contains { $0.key == key }
        while cost + added > limits.bytes || isNew && bodies.count >= limits.bodies {
            let others = bodies.indices.filter { bodies[$0].key != key }
            let first = others.min {
                (bodies[$0].finished == nil ? 1 : 0, bodies[$0].due.nanoseconds)
                    < (bodies[$1].finished == nil ? 1 : 0, bodies[$1].due.nanoseconds)
            }
            guard let first else { return false }
            drop(at: first)
        }
        return true
    }

    private mutating func drop(at place: Int) {
        let body = bodies.remove(at: place)
        cost -= body.cost
        if body.finished == nil { givenUp.append(body) }
    }
}
