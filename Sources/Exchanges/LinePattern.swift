// What a transparent DTU puts between the frames of its devices: the packet that registers it, and
// heartbeats. Patterns are few and short; matching compares bytes and looks at nothing else.

import Model

package struct LinePattern: Hashable, Sendable {
    package enum Bytes: String, Sendable, CaseIterable {
        case any, digits, printable
    }

    /// What it begins with.
    package var prefix: [UInt8] = []
    /// What it ends with, behind the first of which it is over; empty: `length` says where.
    package var end: [UInt8] = []
    /// All bytes, `prefix` included; 0 when `end` says where it is over.
    package var length = 0
    /// What stands between prefix and end.
    package var bytes = Bytes.any

    package static let longest = 256

    /// Other bytes hardly look like it.
    package var isTelling: Bool { prefix.count >= 2 || bytes != .any }

    package init() {}

    package enum Match: Hashable, Sendable {
        case no
        /// It may be one when more bytes come.
        case partial
        /// So many bytes, and which of them carry the name.
        case whole(count: Int, name: Range<Int>)
    }

    /// What stands at `at`; ranges count from there.
    package func match(_ stream: Span<UInt8>, at: Int) -> Match {
        let available = stream.count - at
        for (i, byte) in prefix.enumerated() {
            guard i < available else { return .partial }
            guard stream[at + i] == byte else { return .no }
        }
        if length > 0 { return matchFixed(stream, at, available) }
        if end.isEmpty { return .whole(count: prefix.count, name: prefix.count..<prefix.count) }
        var i = prefix.count
        while i < LinePattern.longest {
            guard i < available else { return .partial }
            if ends(stream, at + i, available - i) {
                return .whole(count: i + end.count, name: prefix.count..<i)
            }
            // The end may have come only in part; its first bytes may fit the pattern as well.
            if isPartOfEnd(stream, at + i, available - i) { return .partial }
            guard fits(stream[at + i]) else { return .no }
            i += 1
        }
        return .no
    }

    private func matchFixed(_ stream: Span<UInt8>, _ at: Int, _ available: Int) -> Match {
        let last = length - end.count
        var i = prefix.count
        while i < length {
            guard i < available else { return .partial }
            let byte = stream[at + i]
            if i >= last {
                guard byte == end[i - last] else { return .no }
            } else if !fits(byte) {
                return .no
            }
            i += 1
        }
        return .whole(count: length, name: prefix.count..<max(prefix.count, last))
    }

    private func ends(_ stream: Span<UInt8>, _ at: Int, _ available: Int) -> Bool {
        guard available >= end.count else { return false }
        return end.indices.allSatisfy { stream[at + $0] == end[$0] }
    }

    private func isPartOfEnd(_ stream: Span<UInt8>, _ at: Int, _ available: Int) -> Bool {
        available < end.count && (0..<available).allSatisfy { stream[at + $0] == end[$0] }
    }

    private func fits(_ byte: UInt8) -> Bool {
        switch bytes {
        case .any: true
        case .digits: byte >= 0x30 && byte <= 0x39
        case .printable: byte >= 0x20 && byte < 0x7F
        }
    }

    /// The name in those bytes: as text when it can be part of an identity, else in hex; nil when
    /// there is none or it is too long to stand before a device's own.
    package static func name(_ bytes: Span<UInt8>) -> String? {
        guard bytes.count > 0, bytes.count <= 40 else { return nil }
        var text: [UInt8] = []
        for i in bytes.indices where bytes[i] != 0x20 { text.append(bytes[i]) }
        if !text.isEmpty, text.allSatisfy({ DeviceKey.isAllowed($0) && $0 != 0x3A }) {
            return String(decoding: text, as: UTF8.self)
        }
        guard bytes.count <= 20 else { return nil }
        let digits = Array("0123456789abcdef".utf8)
        var hex: [UInt8] = []
        for i in bytes.indices { hex += [digits[Int(bytes[i] >> 4)], digits[Int(bytes[i] & 15)]] }
        return String(decoding: hex, as: UTF8.self)
    }
}

/// The patterns of a source's lines.
package struct LinePatterns: Hashable, Sendable {
    package var registration: LinePattern?
    package var heartbeats: [LinePattern] = []

    package init() {}

    package var isEmpty: Bool { registration == nil && heartbeats.isEmpty }

    package enum Found: Hashable, Sendable {
        case registration(count: Int, name: Range<Int>)
        case heartbeat(count: Int)
    }

    /// The pattern that stands at `at`, a registration first.
    ///
    /// `isNamed`: the line has registered; then only a registration that can be told from other bytes
    /// is looked for.
    package func find(_ stream: Span<UInt8>, at: Int, isNamed: Bool) -> Found? {
        if let registration, !isNamed || registration.isTelling,
            case .whole(let count, let name) = registration.match(stream, at: at),
            count > 0
        {
            return .registration(count: count, name: name)
        }
        for heartbeat in heartbeats {
            if case .whole(let count, _) = heartbeat.match(stream, at: at), count > 0 {
                return .heartbeat(count: count)
            }
        }
        return nil
    }

    /// The first of `range` where a pattern could begin that more bytes would complete.
    package func partial(
        _ stream: Span<UInt8>, in range: Range<Int>, isNamed: Bool
    ) -> Int? {
        for at in range {
            if let registration, !isNamed || registration.isTelling,
                registration.match(stream, at: at) == .partial
            {
                return at
            }
            for heartbeat in heartbeats where heartbeat.match(stream, at: at) == .partial {
                return at
            }
        }
        return nil
    }
}
