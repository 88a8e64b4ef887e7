// CoRE link format (RFC 6690) as LwM2M registrations send it: `</3/0>,</3303>;ver=1.1`. The walker
// gives ranges and allocates nothing; `ObjectList` copies what an LwM2M server keeps, on the slow
// path. Invariants: every range lies inside the bytes walked; a step takes at least one byte.

package import Model

/// One link: where its target and its attributes stand.
struct Link {
    /// Between `<` and `>`.
    var target: Range<Int>
    /// Behind `>`, from the first `;` on; may be empty.
    var attributes: Range<Int>
}

struct LinkWalker {
    let cursor: Cursor
    var position: Int
    let end: Int

    init(_ cursor: Cursor, _ range: Range<Int>) {
        self.cursor = cursor
        position = range.lowerBound
        end = range.upperBound
    }

    /// The next link; nil at the end. Throws `.malformed` on anything else than links.
    mutating func next() throws(Rejection) -> Link? {
        skipBlanks()
        guard position < end else { return nil }
        guard cursor.byte(position) == 0x3C else { throw .malformed }
        let from = position &+ 1
        var at = from
        while at < end, let byte = cursor.byte(at), byte != 0x3E { at &+= 1 }
        guard at < end else { throw .malformed }
        let target = from..<at
        at &+= 1
        let attributes = at
        var isQuoted = false
        while at < end, let byte = cursor.byte(at) {
            if byte == 0x22 { isQuoted.toggle() }
            if byte == 0x5C, isQuoted { at &+= 1 }
            if byte == 0x2C, !isQuoted { break }
            at &+= 1
        }
        guard !isQuoted else { throw .malformed }
        at = min(at, end)
        position = at < end ? at &+ 1 : end
        return Link(target: target, attributes: attributes..<at)
    }

    private mutating func skipBlanks() {
        while position < end, let byte = cursor.byte(position),
            byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
        { position &+= 1 }
    }

    /// Value of the attribute `name` of `link`, without quotes; nil when it has none.
    static func attribute(_ name: StaticString, of link: Link, _ cursor: Cursor) -> Range<Int>? {
        var at = link.attributes.lowerBound
        let end = link.attributes.upperBound
        while at < end {
            guard cursor.byte(at) == 0x3B else { return nil }
            let from = at &+ 1
            var isQuoted = false
            var equals: Int?
            at = from
            while at < end, let byte = cursor.byte(at), byte != 0x3B || isQuoted {
                if byte == 0x22 { isQuoted.toggle() }
                if byte == 0x3D, equals == nil { equals = at }
                at &+= 1
            }
            guard cursor.holds(name, from..<(equals ?? at)) else { continue }
            guard let equals else { return at..<at }
            var value = equals &+ 1..<at
            if value.count >= 2, cursor.byte(value.lowerBound) == 0x22,
                cursor.byte(value.upperBound &- 1) == 0x22
            {
                value = value.lowerBound &+ 1..<value.upperBound &- 1
            }
            return value
        }
        return nil
    }
}

/// What an LwM2M client says it has.
package struct ObjectList: Sendable {
    /// An object or instance as its link names it, without the root.
    package struct Entry: Hashable, Sendable {
        package var object: UInt16
        package var instance: UInt16?
        /// Version of the object, as text: `1.1`.
        package var version: String?

        /// `/3303/0`
        package var path: String {
            instance.map { "/\(object)/\($0)" } ?? "/\(object)"
        }
    }

    /// Entries that one registration may list.
    package static let maximum = 512

    /// Prefix of every path, without a slash at its end; empty for the usual root.
    package var root = ""
    /// Content formats that the client accepts, from the root link.
    package var contentFormats: [UInt32] = []
    package var entries: [Entry] = []

    package init() {}

    /// Parses the payload of a registration. Links that are no object are left out. Throws
    /// `.malformed` for what is no link format and `.oversized` for more than `maximum` links.
    package init(_ payload: Span<UInt8>) throws(Rejection) {
        self = try Cursor.over(payload) { (cursor) throws(Rejection) in
            try ObjectList(cursor, 0..<cursor.count)
        }
    }

    package func has(object: UInt16, instance: UInt16) -> Bool {
        entries.contains { $0.object == object && $0.instance == instance }
    }

    init(_ cursor: Cursor, _ range: Range<Int>) throws(Rejection) {
        // The root link may stand anywhere: find it first.
        var walker = LinkWalker(cursor, range)
        var count = 0
        while let link = try walker.next() {
            count &+= 1
            guard count <= ObjectList.maximum else { throw .oversized }
            let type = LinkWalker.attribute("rt", of: link, cursor)
            guard cursor.holds("/", link.target) || cursor.holds("oma.lwm2m", type ?? 0..<0) else {
                continue
            }
            root = String(decoding: cursor.bytes(link.target), as: UTF8.self)
            while root.hasSuffix("/") { root.removeLast() }
            if let formats = LinkWalker.attribute("ct", of: link, cursor) {
                contentFormats = String(decoding: cursor.bytes(formats), as: UTF8.self)
                    .split(separator: " ").compactMap { UInt32($0) }
            }
        }
        walker = LinkWalker(cursor, range)
        while let link = try walker.next() {
            if let place = ObjectList.place(of: link, root: root, cursor) {
                let version = LinkWalker.attribute("ver", of: link, cursor).map {
                    String(decoding: cursor.bytes($0), as: UTF8.self)
                }
                entries.append(
                    Entry(object: place.object, instance: place.instance, version: version))
            }
        }
    }

    /// `/3303/0` behind the root; nil when the target is no object or object instance.
    static func place(
        of link: Link, root: String, _ cursor: Cursor
    ) -> (object: UInt16, instance: UInt16?)? {
        var text = String(decoding: cursor.bytes(link.target), as: UTF8.self)[...]
        guard text.hasPrefix(root) else { return nil }
        text = text.dropFirst(root.count)
        guard text.first == "/" else { return nil }
        let parts = text.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = parts.first, let object = UInt16(first) else {
            return nil
        }
        if parts.count == 1 || parts[1].isEmpty { return (object, nil) }
        guard let instance = UInt16(parts[1]) else { return nil }
        return (object, instance)
    }
}
