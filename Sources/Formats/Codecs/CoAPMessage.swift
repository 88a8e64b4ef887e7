// One CoAP message over UDP (RFC 7252 section 3): parsed in one pass to ranges of the bytes it came
// in, nothing copied, nothing allocated. A value: whoever parsed it owns it and keeps the bytes
// beside it. The format `coap` explains with it, the CoAP and LwM2M exchanges decide with it.
//
// Invariant: every range lies inside the bytes that were parsed.

package import Model

/// Code of a message: class in the upper three bits, detail in the lower five (RFC 7252 section 3).
package struct CoAPCode: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// `CoAPCode(4, 15)` is 4.15.
    package init(_ class: UInt8, _ detail: UInt8) { rawValue = `class` << 5 | detail & 31 }

    package var group: UInt8 { rawValue >> 5 }
    package var detail: UInt8 { rawValue & 31 }
    package var isRequest: Bool { group == 0 && detail != 0 }
    package var isResponse: Bool { group >= 2 && group <= 5 }

    /// `2.05`
    package var text: String { "\(group).\(detail < 10 ? "0" : "")\(detail)" }

    package static let empty = CoAPCode(0, 0)
    package static let get = CoAPCode(0, 1)
    package static let post = CoAPCode(0, 2)
    package static let put = CoAPCode(0, 3)
    package static let delete = CoAPCode(0, 4)
    package static let created = CoAPCode(2, 1)
    package static let deleted = CoAPCode(2, 2)
    package static let valid = CoAPCode(2, 3)
    package static let changed = CoAPCode(2, 4)
    package static let content = CoAPCode(2, 5)
    package static let `continue` = CoAPCode(2, 31)
    package static let badRequest = CoAPCode(4, 0)
    package static let badOption = CoAPCode(4, 2)
    package static let forbidden = CoAPCode(4, 3)
    package static let notFound = CoAPCode(4, 4)
    package static let methodNotAllowed = CoAPCode(4, 5)
    package static let requestEntityIncomplete = CoAPCode(4, 8)
    package static let preconditionFailed = CoAPCode(4, 12)
    package static let requestEntityTooLarge = CoAPCode(4, 13)
    package static let unsupportedContentFormat = CoAPCode(4, 15)
    package static let internalServerError = CoAPCode(5, 0)
    package static let serviceUnavailable = CoAPCode(5, 3)
}

/// Option numbers (RFC 7252, 7641, 7959, 7967, 8768).
package enum CoAPOptionNumber {
    package static let ifMatch: UInt32 = 1
    package static let uriHost: UInt32 = 3
    package static let etag: UInt32 = 4
    package static let ifNoneMatch: UInt32 = 5
    package static let observe: UInt32 = 6
    package static let uriPort: UInt32 = 7
    package static let locationPath: UInt32 = 8
    package static let uriPath: UInt32 = 11
    package static let contentFormat: UInt32 = 12
    package static let maxAge: UInt32 = 14
    package static let uriQuery: UInt32 = 15
    package static let hopLimit: UInt32 = 16
    package static let accept: UInt32 = 17
    package static let locationQuery: UInt32 = 20
    package static let block2: UInt32 = 23
    package static let block1: UInt32 = 27
    package static let size2: UInt32 = 28
    package static let proxyUri: UInt32 = 35
    package static let proxyScheme: UInt32 = 39
    package static let size1: UInt32 = 60
    package static let noResponse: UInt32 = 258

    /// Odd numbers must be understood (RFC 7252 section 5.4.1).
    package static func isCritical(_ number: UInt32) -> Bool { number & 1 == 1 }
}

/// Value of a Block1 or Block2 option (RFC 7959 section 2.2).
package struct CoAPBlock: Hashable, Sendable {
    package var number: UInt32
    package var hasMore: Bool
    /// Size exponent 0...6: the block is `1 << (sizeExponent + 4)` bytes; 7 is reserved.
    package var sizeExponent: UInt8

    package init(number: UInt32, hasMore: Bool, sizeExponent: UInt8) {
        self.number = number
        self.hasMore = hasMore
        self.sizeExponent = sizeExponent
    }

    package init(value: UInt32) {
        self.init(
            number: value >> 4, hasMore: value & 8 != 0,
            sizeExponent: UInt8(truncatingIfNeeded: value & 7))
    }

    package var size: Int { 1 << (Int(sizeExponent) + 4) }
    package var value: UInt32 {
        number << 4 | (hasMore ? 8 : 0) | UInt32(sizeExponent & 7)
    }
}

/// A token of at most eight bytes, comparable without its message.
package struct CoAPToken: Hashable, Sendable {
    /// The bytes, most significant first, in the low end.
    package var bits: UInt64
    package var count: UInt8

    package init(bits: UInt64, count: UInt8) {
        self.bits = bits
        self.count = min(count, 8)
    }

    package static let none = CoAPToken(bits: 0, count: 0)
}

/// One option: its number and where its value stands.
package struct CoAPOption: Hashable, Sendable {
    package var number: UInt32
    package var value: Range<Int>
}

package struct CoAPMessage: Sendable {
    package enum Kind: UInt8, Sendable {
        case confirmable = 0
        case nonConfirmable = 1
        case acknowledgement = 2
        case reset = 3

        /// `CON`
        package var text: String {
            switch self {
            case .confirmable: "CON"
            case .nonConfirmable: "NON"
            case .acknowledgement: "ACK"
            case .reset: "RST"
            }
        }
    }

    /// The first four bytes: what a refusal of a malformed message needs (RST, same message id).
    package struct Header: Sendable {
        package var kind: Kind
        package var code: CoAPCode
        package var messageID: UInt16

        /// Nil when there are fewer than four bytes or the version is not 1.
        package init?(_ datagram: Span<UInt8>) {
            guard datagram.count >= 4, datagram[0] >> 6 == 1 else { return nil }
            kind = Kind(rawValue: datagram[0] >> 4 & 3) ?? .reset
            code = CoAPCode(rawValue: datagram[1])
            messageID = UInt16(datagram[2]) << 8 | UInt16(datagram[3])
        }
    }

    package var kind = Kind.confirmable
    package var code = CoAPCode.empty
    package var messageID: UInt16 = 0
    package var token = 0..<0
    package var tokenValue = CoAPToken.none
    /// All options, encoded, without the payload marker.
    package var options = 0..<0
    /// Empty when there is none.
    package var payload = 0..<0

    // What most decisions need, gathered in the same pass; the first occurrence counts.
    package var contentFormat: UInt32?
    package var accept: UInt32?
    package var observe: UInt32?
    package var block1: CoAPBlock?
    package var block2: CoAPBlock?
    package var size1: UInt32?
    package var noResponse: UInt32?
    /// The first critical option whose number is not in `CoAPOptionNumber`.
    package var unknownCritical: UInt32?
    package var pathSegments = 0
    package var queryCount = 0

    /// Ping (CON), acknowledgement or reset without content.
    package var isEmpty: Bool { code == .empty }

    /// Parses one datagram. Throws `.badVersion`, `.truncated` (an option or the token is cut) or
    /// `.malformed` (RFC 7252 section 3: token length 9–15, nibble 15, marker without payload, bytes
    /// behind an empty message).
    package init(_ datagram: Span<UInt8>) throws(Rejection) {
        self = try Cursor.over(datagram) { (cursor) throws(Rejection) in
            try CoAPMessage(cursor, 0..<cursor.count)
        }
    }

    /// Calls `body` for each option in order until it returns false. `datagram` are the bytes that were
    /// parsed.
    package func forEachOption(
        in datagram: Span<UInt8>, _ body: (CoAPOption) -> Bool
    ) {
        Cursor.over(datagram) { cursor in
            var place = OptionPlace(self)
            while let option = place.next(cursor) {
                if !body(option) { return }
            }
        }
    }

    /// Unsigned value of an option of at most four bytes (RFC 7252 section 3.2); nil when longer.
    package static func number(_ value: Range<Int>, in datagram: Span<UInt8>) -> UInt32? {
        guard value.count <= 4, value.lowerBound >= 0, value.upperBound <= datagram.count else {
            return nil
        }
        var number: UInt32 = 0
        for i in value { number = number << 8 | UInt32(datagram[i]) }
        return number
    }
}

// MARK: Parsing

extension CoAPMessage {
    /// Where reading options stands.
    struct OptionPlace {
        var position: Int
        let end: Int
        var number: UInt32 = 0

        init(_ message: CoAPMessage) {
            position = message.options.lowerBound
            end = message.options.upperBound
        }

        init(from position: Int, to end: Int) {
            self.position = position
            self.end = end
        }

        /// The next option of options that were parsed before; nil at their end.
        mutating func next(_ cursor: Cursor) -> CoAPOption? {
            do throws(Rejection) { return try step(cursor) } catch { return nil }
        }

        /// The next option; nil at the payload marker (not taken) or the end.
        mutating func step(_ cursor: Cursor) throws(Rejection) -> CoAPOption? {
            guard position < end, let first = cursor.byte(position), first != 0xFF else {
                return nil
            }
            position &+= 1
            let delta = try extended(first >> 4, cursor)
            let length = Int(try extended(first & 15, cursor))
            let (sum, overflow) = number.addingReportingOverflow(delta)
            guard !overflow, sum <= 0xFFFF else { throw .malformed }
            number = sum
            guard length <= end &- position else { throw .truncated }
            let value = position..<position &+ length
            position &+= length
            return CoAPOption(number: number, value: value)
        }

        private mutating func extended(
            _ nibble: UInt8, _ cursor: Cursor
        ) throws(Rejection) -> UInt32 {
            switch nibble {
            case 13:
                guard position < end, let byte = cursor.byte(position) else { throw .truncated }
                position &+= 1
                return UInt32(byte) &+ 13
            case 14:
                guard position &+ 2 <= end, let word = cursor.big(position, width: 2) else {
                    throw .truncated
                }
                position &+= 2
                return UInt32(truncatingIfNeeded: word) &+ 269
            case 15: throw .malformed
            default: return UInt32(nibble)
            }
        }
    }

    /// Parses the message that is exactly `range` of `cursor`.
    init(_ cursor: Cursor, _ range: Range<Int>) throws(Rejection) {
        let start = range.lowerBound
        let end = range.upperBound
        guard let first = cursor.byte(start), !range.isEmpty else { throw .truncated }
        guard first >> 6 == 1 else { throw .badVersion }
        guard range.count >= 4, let code = cursor.byte(start &+ 1),
            let identifier = cursor.big(start &+ 2, width: 2)
        else { throw .truncated }
        kind = Kind(rawValue: first >> 4 & 3) ?? .reset
        self.code = CoAPCode(rawValue: code)
        messageID = UInt16(truncatingIfNeeded: identifier)
        let tokenCount = Int(first & 15)
        guard tokenCount <= 8 else { throw .malformed }
        if code == 0 {
            guard tokenCount == 0, range.count == 4 else { throw .malformed }
        }
        let tokenStart = start &+ 4
        guard tokenCount <= end &- tokenStart else { throw .truncated }
        token = tokenStart..<tokenStart &+ tokenCount
        if tokenCount > 0, let bits = cursor.big(tokenStart, width: tokenCount) {
            tokenValue = CoAPToken(bits: bits, count: UInt8(truncatingIfNeeded: tokenCount))
        }
        var place = OptionPlace(from: token.upperBound, to: end)
        while let option = try place.step(cursor) { note(option, cursor) }
        options = token.upperBound..<place.position
        if place.position < end {
            payload = place.position &+ 1..<end
            guard !payload.isEmpty else { throw .malformed }
        } else {
            payload = end..<end
        }
    }

    static func number(_ value: Range<Int>, _ cursor: Cursor) -> UInt32? {
        guard value.count <= 4 else { return nil }
        if value.isEmpty { return 0 }
        return cursor.big(value.lowerBound, width: value.count).map {
            UInt32(truncatingIfNeeded: $0)
        }
    }

    private mutating func note(_ option: CoAPOption, _ cursor: Cursor) {
        let number = CoAPMessage.number(option.value, cursor)
        switch option.number {
        case CoAPOptionNumber.contentFormat: if contentFormat == nil { contentFormat = number }
        case CoAPOptionNumber.accept: if accept == nil { accept = number }
        case CoAPOptionNumber.observe: if observe == nil { observe = number }
        case CoAPOptionNumber.block1: if block1 == nil { block1 = number.map(CoAPBlock.init) }
        case CoAPOptionNumber.block2: if block2 == nil { block2 = number.map(CoAPBlock.init) }
        case CoAPOptionNumber.size1: if size1 == nil { size1 = number }
        case CoAPOptionNumber.noResponse: if noResponse == nil { noResponse = number }
        case CoAPOptionNumber.uriPath: pathSegments &+= 1
        case CoAPOptionNumber.uriQuery: queryCount &+= 1
        case 1, 3, 4, 5, 7, 8, 14, 16, 20, 28, 35, 39: break
        default:
            if CoAPOptionNumber.isCritical(option.number), unknownCritical == nil {
                unknownCritical = option.number
            }
        }
    }
}
