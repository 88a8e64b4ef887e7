// One capture as if many populations had sent it: every device becomes N devices, with identities of
// their own, in frames whose check values hold again. Nothing is guessed: a rewritten frame counts only
// when the format accepts it, reads the same number of readings, and names another device. One thread.

package import Formats
import Model

package struct CaptureScaling {
    package private(set) var framesRewritten = 0
    /// Frames without an identity of their own, or whose identity could not be changed; they are sent
    /// as they are.
    package private(set) var framesKept = 0
    private let decoder: CaptureDecoder
    private let copies: Int
    /// Who is who: identities that are taken, and the one that a device has in a copy.
    private var taken: Set<String> = []
    private var owner: [String: String] = [:]

    /// More deliveries than this are not made: they would fill the memory.
    package static let maximumDeliveries = 4_000_000

    package init(_ library: FormatLibrary, keys: DeviceKeys = .none, copies: Int) {
        decoder = CaptureDecoder(library, keys: keys)
        self.copies = copies
    }

    /// The capture with each conversation `copies` times, at the same times.
    package mutating func scaled(_ capture: Capture) -> Capture {
        let rewritten = copiesOfDeliveries(capture)
        var deliveries: [CapturedDelivery] = []
        deliveries.reserveCapacity(capture.deliveries.count * copies)
        let count = capture.conversations.count
        var conversations: [Conversation] = []
        for copy in 0..<copies {
            for conversation in capture.conversations {
                var own = conversation
                // Another device is another endpoint: replay opens a socket for each.
                own.client.low &+= UInt64(copy)
                conversations.append(own)
            }
        }
        for (i, delivery) in capture.deliveries.enumerated() {
            for copy in 0..<copies {
                var own = delivery
                own.conversation += copy * count
                if copy > 0, let bytes = rewritten[copy - 1][i] { own.bytes = bytes }
                deliveries.append(own)
            }
        }
        return Capture(
            deliveries: deliveries, conversations: conversations, counters: capture.counters,
            damage: capture.damage)
    }

    /// For each copy the changed bytes by delivery.
    private mutating func copiesOfDeliveries(_ capture: Capture) -> [[Int: [UInt8]]] {
        var result = [[Int: [UInt8]]](repeating: [:], count: max(0, copies - 1))
        let frames = decoder.frames(of: capture) { $0.isToServer }
        taken = Set(frames.map(\.device).filter { !$0.isEmpty })
        var pieces: [Int: [Int]] = [:]
        for (i, delivery) in capture.deliveries.enumerated()
        where delivery.kind == .bytes && delivery.isToServer {
            pieces[delivery.conversation, default: []].append(i)
        }
        for copy in 0..<max(0, copies - 1) {
            var streams: [Int: [UInt8]] = [:]
            for frame in frames where frame.rejection == nil {
                let conversation = frame.place.conversation
                if !capture.conversations[conversation].isStream {
                    let index = frame.place.offset
                    let bytes = capture.deliveries[index].bytes
                    if let changed = rewrite(bytes, frame, copy + 1) {
                        result[copy][index] = changed
                    }
                    continue
                }
                if streams[conversation] == nil {
                    streams[conversation] = (pieces[conversation] ?? []).flatMap {
                        capture.deliveries[$0].bytes
                    }
                }
                let range = frame.place.offset..<frame.place.offset + frame.count
                let bytes = Array(streams[conversation]?[range] ?? [])
                // Another length would move what follows.
                if let changed = rewrite(bytes, frame, copy + 1), changed.count == bytes.count {
                    streams[conversation]?.replaceSubrange(range, with: changed)
                }
            }
            for (conversation, bytes) in streams {
                var at = 0
                for index in pieces[conversation] ?? [] {
                    let count = capture.deliveries[index].bytes.count
                    result[copy][index] = Array(bytes[at..<at + count])
                    at += count
                }
            }
        }
        return result
    }

    /// The frame with the device's identity in a copy; nil when it has none that could be changed.
    private mutating func rewrite(
        _ bytes: [UInt8], _ captured: CapturedFrame, _ copy: Int
    ) -> [UInt8]? {
        guard !captured.device.isEmpty,
            let (decoder, frame) = self.decoder.accepting(
                bytes, conversation: captured.place.conversation)
        else {
            framesKept += 1
            return nil
        }
        let identity = decoder.identityText()
        let explanation = decoder.explain(bytes, direction: .up)
        var result = DecodedFrame()
        for range in CaptureScaling.places(of: identity, in: explanation.root, bytes) {
            // Where a number is taken the next round of the same copy is tried.
            for round in 0..<4 {
                var changed = bytes
                let field = CaptureScaling.variant(
                    Array(bytes[range]), number: copy + round * copies,
                    of: copies * 4)
                changed.replaceSubrange(range, with: field)
                changed = decoder.format.mended(changed)
                guard
                    (try? decoder.decode(changed.span, direction: .up, into: &result)) != nil,
                    result.readings.count == frame.readings.count
                else { continue }
                let name = decoder.identityText()
                let whose = "\(identity) \(copy)"
                guard name != identity, owner[name] == whose || !taken.contains(name) else {
                    continue
                }
                owner[name] = whose
                taken.insert(name)
                framesRewritten += 1
                return changed
            }
        }
        framesKept += 1
        return nil
    }

    /// Byte ranges that may hold the identity, the likeliest first.
    private static func places(
        of identity: String, in root: FieldNode, _ bytes: [UInt8]
    ) -> [Range<Int>] {
        func plain(_ text: String) -> String {
            let kept = text.lowercased().filter { $0.isLetter || $0.isNumber }
            let cut = kept.drop { $0 == "0" }
            return cut.isEmpty ? kept : String(cut)
        }
        let wanted = plain(identity)
        var found: [(score: Int, range: Range<Int>)] = []
        func visit(_ node: FieldNode) {
            for child in node.children { visit(child) }
            let isGroup = node.value == .object || node.value == .list
            let range = node.bytes.clamped(to: 0..<bytes.count)
            guard !isGroup, !range.isEmpty, range.count <= 64 else { return }
            let texts = [
                plain(FramePrinter.text(node)), plain(FieldNode.hex(bytes[range])),
                plain(FieldNode.hex(bytes[range].reversed())),
                plain(String(decoding: bytes[range], as: UTF8.self)),
            ]
            if texts.contains(wanted) { return found.append((1000, range)) }
            let part = texts.filter { $0.count > 1 && wanted.contains($0) }.map(\.count).max()
            if let part { found.append((part, range)) }
        }
        visit(root)
        return found.sorted { $0.score > $1.score }.map(\.range)
    }

    /// The field as number `number` of `count` has it: digits stay digits, other bytes count as one
    /// binary number; the leading third stays, so that a maker's prefix does.
    static func variant(_ field: [UInt8], number: Int, of count: Int) -> [UInt8] {
        let isText = field.allSatisfy { (0x30...0x39).contains($0) }
        let isBCD = !isText && field.allSatisfy { $0 & 15 <= 9 && $0 >> 4 <= 9 }
        var digits: [UInt8]
        let base: UInt8
        if isText {
            (digits, base) = (field.map { $0 - 0x30 }, 10)
        } else if isBCD {
            (digits, base) = (field.flatMap { [$0 >> 4, $0 & 15] }, 10)
        } else {
            // Letters in a text stay letters that are allowed in an identity.
            let isWord = field.allSatisfy { (0x21...0x7E).contains($0) }
            if isWord { return word(field, number) }
            (digits, base) = (field.flatMap { [$0 >> 4, $0 & 15] }, 16)
        }
        let tail = min(digits.count - digits.count / 3, base == 10 ? 15 : 12)
        var room: UInt64 = 1
        for _ in 0..<tail { room *= UInt64(base) }
        let step = max(1, room / UInt64(max(1, count)))
        var carry = UInt64(number) &* step % room
        for i in digits.indices.reversed().prefix(tail) {
            let sum = UInt64(digits[i]) + carry % UInt64(base)
            digits[i] = UInt8(sum % UInt64(base))
            carry = carry / UInt64(base) + sum / UInt64(base)
        }
        if isText { return digits.map { $0 + 0x30 } }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// Changes the last characters of a word, each within digits or letters of its case.
    private static func word(_ field: [UInt8], _ number: Int) -> [UInt8] {
        var out = field
        var rest = number
        for i in out.indices.reversed() where rest > 0 {
            let range: ClosedRange<UInt8>
            switch out[i] {
            case 0x30...0x39: range = 0x30...0x39
            case 0x41...0x5A: range = 0x41...0x5A
            case 0x61...0x7A: range = 0x61...0x7A
            default: continue
            }
            let sum = Int(out[i] - range.lowerBound) + rest
            out[i] = range.lowerBound + UInt8(sum % range.count)
            rest = sum / range.count
        }
        return out
    }
}
