// Reads JSON (RFC 8259) from a frame token by token: no tree, no text, nothing allocated. Shared by
// SenML, LwM2M and Semtech. Strict: grammar, UTF-8, escapes and surrogate pairs are checked; one
// value, nothing behind it but blanks. Invariants: every token takes at least one byte; nesting
// ends at `maximumDepth`.

import Model

/// Text between quotes; `isPlain` when it has no escapes.
struct JSONString {
    var range: Range<Int>
    var isPlain: Bool

    static let empty = JSONString(range: 0..<0, isPlain: true)
}

struct JSONPull {
    enum Token {
        case beginObject, endObject, beginArray, endArray
        case key(JSONString)
        case string(JSONString)
        case number(Value)
        case boolean(Bool)
        case null
        case end
    }

    static let maximumDepth = 32

    private enum State: UInt8 {
        case value, firstElement, element, firstKey, key, afterValue, done
    }

    let cursor: Cursor
    private(set) var position: Int
    let end: Int
    private(set) var depth = 0
    /// Bit n: container n is an object.
    private var objects: UInt64 = 0
    private var state = State.value

    init(_ cursor: Cursor, _ range: Range<Int>) {
        self.cursor = cursor
        position = range.lowerBound
        end = range.upperBound
    }

    // MARK: Tokens

    mutating func next() throws(Rejection) -> Token {
        skipBlanks()
        guard position < end, let byte = cursor.byte(position) else {
            guard state == .done else { throw .truncated }
            return .end
        }
        switch state {
        case .done: throw .malformed
        case .value, .element: return try value(byte)
        case .firstElement:
            if byte == 0x5D { return close(.endArray) }
            return try value(byte)
        case .firstKey:
            if byte == 0x7D { return close(.endObject) }
            return try key(byte)
        case .key: return try key(byte)
        case .afterValue: return try afterValue(byte)
        }
    }

    private mutating func afterValue(_ byte: UInt8) throws(Rejection) -> Token {
        let isObject = objects >> UInt64(depth) & 1 == 1
        if byte == (isObject ? 0x7D : 0x5D) { return close(isObject ? .endObject : .endArray) }
        guard byte == 0x2C else { throw .malformed }
        position &+= 1
        state = isObject ? .key : .element
        return try next()
    }

    private mutating func key(_ byte: UInt8) throws(Rejection) -> Token {
        guard byte == 0x22 else { throw .malformed }
        let key = try string()
        skipBlanks()
        guard position < end else { throw .truncated }
        guard cursor.byte(position) == 0x3A else { throw .malformed }
        position &+= 1
        state = .value
        return .key(key)
    }

    private mutating func value(_ byte: UInt8) throws(Rejection) -> Token {
        switch byte {
        case 0x7B:
            try open(isObject: true)
            return .beginObject
        case 0x5B:
            try open(isObject: false)
            return .beginArray
        default: break
        }
        state = depth == 0 ? .done : .afterValue
        switch byte {
        case 0x22: return .string(try string())
        case 0x74:
            try word("true")
            return .boolean(true)
        case 0x66:
            try word("false")
            return .boolean(false)
        case 0x6E:
            try word("null")
            return .null
        default: return .number(try number())
        }
    }

    private mutating func open(isObject: Bool) throws(Rejection) {
        guard depth < JSONPull.maximumDepth else { throw .tooDeep }
        position &+= 1
        depth &+= 1
        let bit = UInt64(1) << UInt64(depth)
        objects = isObject ? objects | bit : objects & ~bit
        state = isObject ? .firstKey : .firstElement
    }

    private mutating func close(_ token: Token) -> Token {
        position &+= 1
        depth &-= 1
        state = depth == 0 ? .done : .afterValue
        return token
    }

    /// Takes the rest of a value whose first token was `token`: for members that nobody reads.
    mutating func skip(_ token: Token) throws(Rejection) {
        switch token {
        case .beginObject, .beginArray:
            let outer = depth &- 1
            while depth > outer { _ = try next() }
        default: break
        }
    }

    private mutating func skipBlanks() {
        while position < end, let byte = cursor.byte(position),
            byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
        { position &+= 1 }
    }

    private mutating func word(_ text: StaticString) throws(Rejection) {
        guard cursor.begins(with: text, position..<end) else { throw .malformed }
        position &+= text.utf8CodeUnitCount
    }

    // MARK: Ahead

    /// Where the next element of the outermost array stands, when nothing is before it; nil elsewhere.
    @inline(__always)
    var element: Int? {
        guard depth == 1, objects & 2 == 0 else { return nil }
        if state == .firstElement { return position }
        guard state == .afterValue, position < end, cursor.byte(position) == 0x2C else {
            return nil
        }
        return position &+ 1
    }

    /// Goes on behind a value that somebody else has read.
    @inline(__always)
    mutating func pass(to position: Int) {
        self.position = min(position, end)
        state = .afterValue
    }

    /// Takes these characters, given as one number, when they stand next.
    @inline(__always)
    mutating func takeLetters(_ letters: UInt64, width: Int) -> Bool {
        guard position <= end &- width, cursor.big(position, width: width) == letters else {
            return false
        }
        position &+= width
        return true
    }

    /// Takes a number of at most 17 digits without an exponent; nil, and nothing taken, for others and
    /// where something else than `,` or `}` follows.
    @inline(__always)
    mutating func usualNumber() -> Value? {
        var at = position
        var isNegative = false
        if at < end, cursor.byte(at) == 0x2D {
            isNegative = true
            at &+= 1
        }
        let first = at
        var mantissa: Int64 = 0
        var point = -1
        while at < end, let byte = cursor.byte(at) {
            let digit = byte &- 0x30
            if digit <= 9 {
                mantissa = mantissa &* 10 &+ Int64(digit)
            } else if byte == 0x2E, point < 0, at > first {
                point = at
            } else if byte == 0x2C || byte == 0x7D {
                break
            } else {
                return nil
            }
            at &+= 1
            if at &- first > 18 { return nil }
        }
        let fraction = point < 0 ? 0 : at &- point &- 1
        let whole = (point < 0 ? at : point) &- first
        guard at < end, whole >= 1, point < 0 || fraction >= 1, at &- first <= 17,
            whole == 1 || cursor.byte(first) != 0x30
        else { return nil }
        position = at
        // Zero has at most 15 places (see JSONNumber).
        let exponent = Int8(truncatingIfNeeded: mantissa == 0 ? -min(fraction, 15) : -fraction)
        return .decimal(isNegative ? 0 &- mantissa : mantissa, exponent: exponent)
    }

    // MARK: Strings

    private mutating func string() throws(Rejection) -> JSONString {
        let from = position &+ 1
        var at = from
        var isPlain = true
        while at < end, let byte = cursor.byte(at) {
            switch byte {
            case 0x22:
                position = at &+ 1
                return JSONString(range: from..<at, isPlain: isPlain)
            case 0x5C:
                isPlain = false
                guard let count = JSONText.escape(cursor, at, end) else { throw .malformed }
                at &+= count
            case 0..<0x20: throw .malformed
            case 0x20..<0x80: at &+= 1
            default:
                guard let count = UTF8Check.length(cursor, at, end) else { throw .malformed }
                at &+= count
            }
        }
        throw .truncated
    }

    // MARK: Numbers

    /// Digits keep their decimal meaning: up to 18 significant ones exactly, further ones are cut.
    private mutating func number() throws(Rejection) -> Value {
        var number = JSONNumber()
        if cursor.byte(position) == 0x2D {
            number.isNegative = true
            position &+= 1
        }
        let whole = position
        while let digit = digit() { number.take(digit, isFraction: false) }
        guard position > whole else { throw .malformed }
        if position &- whole > 1, cursor.byte(whole) == 0x30 { throw .malformed }
        if position < end, cursor.byte(position) == 0x2E {
            position &+= 1
            let fraction = position
            while let digit = digit() { number.take(digit, isFraction: true) }
            guard position > fraction else { throw .malformed }
        }
        if position < end, let byte = cursor.byte(position), byte | 0x20 == 0x65 {
            position &+= 1
            let sign = position < end ? cursor.byte(position) : nil
            if sign == 0x2B || sign == 0x2D { position &+= 1 }
            let from = position
            var exponent = 0
            while let digit = digit() {
                exponent = min(exponent &* 10 &+ Int(digit), 9_999)
            }
            guard position > from else { throw .malformed }
            number.exponent &+= sign == 0x2D ? 0 &- exponent : exponent
        }
        return number.value
    }

    private mutating func digit() -> UInt8? {
        guard position < end, let byte = cursor.byte(position), byte >= 0x30, byte <= 0x39 else {
            return nil
        }
        position &+= 1
        return byte &- 0x30
    }
}

/// A number of JSON (RFC 8259 section 6) as its digits are read.
struct JSONNumber {
    var isNegative = false
    private var mantissa: Int64 = 0
    /// Power of ten that the mantissa is multiplied by.
    var exponent = 0

    mutating func take(_ digit: UInt8, isFraction: Bool) {
        if mantissa < 100_000_000_000_000_000 {
            mantissa = mantissa &* 10 &+ Int64(digit)
            if isFraction { exponent &-= 1 }
        } else if !isFraction {
            exponent &+= 1
        }
    }

    /// A decimal where it fits one, a double beyond 10^±127; `.none` beyond what doubles hold.
    var value: Value {
        var mantissa = isNegative ? 0 &- mantissa : mantissa
        var exponent = exponent
        if mantissa == 0 {
            return .decimal(0, exponent: Int8(clamping: max(-15, min(0, exponent))))
        }
        // 1e3 is 1000: whole numbers stand without an exponent as long as they fit.
        while exponent > 0, mantissa.magnitude < 100_000_000_000_000_000 {
            mantissa &*= 10
            exponent &-= 1
        }
        if let small = Int8(exactly: exponent) { return .decimal(mantissa, exponent: small) }
        var double = Double(mantissa)
        let step = exponent < 0 ? 1e-22 : 1e22
        var left = min(exponent.magnitude, 1_000)
        while left >= 22 {
            double *= step
            left &-= 22
        }
        while left > 0 {
            double *= exponent < 0 ? 0.1 : 10
            left &-= 1
        }
        return double.isFinite ? .double(double) : .none
    }
}
