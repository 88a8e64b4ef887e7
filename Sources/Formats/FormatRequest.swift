// Requests that a format can make: what a poller sends to a device that says nothing by itself. Bytes
// come from a template and checked parameters. Made when a plan is read and once a poll, never on the
// path of received frames.

import Model

/// A parameter's value as the configuration gives it.
package enum ParameterValue: Hashable, Sendable {
    case number(Int64)
    case text(String)

    package var text: String {
        switch self {
        case .number(let n): String(n)
        case .text(let t): t
        }
    }
}

/// One value that a request needs.
package struct RequestParameter: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case integer(ClosedRange<Int64>)
        /// So many hex digits, as they are printed on a meter.
        case digits(Int)
    }

    package var name: String
    package var kind: Kind
    package var standard: ParameterValue?
    /// It tells the devices of a line apart.
    package var isDevice: Bool

    /// The value, checked; nil when it is none that this parameter can have.
    func checked(_ value: ParameterValue) -> ParameterValue? {
        switch (kind, value) {
        case (.integer(let range), .number(let n)): return range.contains(n) ? value : nil
        case (.digits(let count), .text(let text)):
            let isHex = text.utf8.count == count && text.allSatisfy(\.isHexDigit)
            return isHex ? value : nil
        // Digits without quotes lose only leading zeros.
        case (.digits(let count), .number(let n)):
            let text = String(n)
            guard n >= 0, text.utf8.count <= count else { return nil }
            return .text(String(repeating: "0", count: count - text.utf8.count) + text)
        case (.integer, .text): return nil
        }
    }

    /// What may be written, for people.
    package var wish: String {
        switch kind {
        case .integer(let range): "write a number from \(range.lowerBound) to \(range.upperBound)"
        case .digits(let count): "write \(count) digits in quotes"
        }
    }

    /// The least value, for trying the template.
    var least: ParameterValue {
        switch kind {
        case .integer(let range): .number(range.lowerBound)
        case .digits(let count): .text(String(repeating: "1", count: count))
        }
    }
}

/// What is wrong with the parameters of a request.
package struct RequestFault: Error, Hashable, Sendable {
    package var parameter: String
    package var what: String
    package var suggestion: String

    package init(parameter: String, what: String, suggestion: String) {
        self.parameter = parameter
        self.what = what
        self.suggestion = suggestion
    }
}

package struct FormatRequest: Sendable {
    enum Part: Sendable {
        case bytes([UInt8])
        case integer(parameter: Int, width: Int, isLittle: Bool)
        /// Two digits a byte.
        case digits(parameter: Int, isLittle: Bool)
        case transaction(width: Int, isLittle: Bool)
        case checksum(ChecksumRule)
    }

    package let name: String
    package let parameters: [RequestParameter]
    /// Each part and what is added to its bytes.
    let parts: [(part: Part, addend: UInt8)]

    /// The answer carries the request's number back: it cannot be taken for another's.
    package var hasTransaction: Bool {
        parts.contains { if case .transaction = $0.part { true } else { false } }
    }

    /// Length of its bytes.
    package var byteCount: Int {
        parts.reduce(0) { sum, entry in
            switch entry.part {
            case .bytes(let bytes): sum + bytes.count
            case .integer(_, let width, _), .transaction(let width, _): sum + width
            case .digits(let parameter, _):
                if case .digits(let count) = parameters[parameter].kind {
                    sum + count / 2
                } else {
                    sum
                }
            case .checksum(let rule): sum + rule.width
            }
        }
    }

    /// Puts values into the order of `parameters`, with those that may be left out.
    package func arguments(
        _ values: [(name: String, value: ParameterValue)]
    ) throws(RequestFault) -> [ParameterValue] {
        for (given, _) in values where !parameters.contains(where: { $0.name == given }) {
            throw RequestFault(
                parameter: given, what: "request \(name) has no parameter \"\(given)\"",
                suggestion: Suggestion.text(given, among: parameters.map(\.name)))
        }
        var arguments: [ParameterValue] = []
        for parameter in parameters {
            guard
                let value = values.first(where: { $0.name == parameter.name })?.value
                    ?? parameter.standard
            else {
                throw RequestFault(
                    parameter: parameter.name,
                    what: "request \(name) needs \"\(parameter.name)\"", suggestion: parameter.wish)
            }
            guard let checked = parameter.checked(value) else {
                throw RequestFault(
                    parameter: parameter.name,
                    what: "\"\(parameter.name)\" cannot be \(value.text)",
                    suggestion: parameter.wish)
            }
            arguments.append(checked)
        }
        return arguments
    }

    /// The words that tell the device apart: `1`, `202312345678`.
    package func device(_ arguments: [ParameterValue]) -> String {
        zip(parameters, arguments).filter { $0.0.isDevice }.map { $0.1.text }
            .joined(separator: ":")
    }

    /// The request's bytes. `arguments` are what `arguments(_:)` gave.
    package func bytes(_ arguments: [ParameterValue], transaction: UInt16) -> [UInt8] {
        var out: [UInt8] = []
        for (part, addend) in parts {
            let start = out.count
            switch part {
            case .bytes(let bytes): out += bytes
            case .integer(let parameter, let width, let isLittle):
                guard case .number(let n) = arguments[parameter] else { continue }
                FormatRequest.append(
                    UInt64(bitPattern: n), width: width, isLittle: isLittle, to: &out)
            case .digits(let parameter, let isLittle):
                let pairs = HexText.bytes(arguments[parameter].text) ?? []
                out += isLittle ? pairs.reversed() : pairs
            case .transaction(let width, let isLittle):
                FormatRequest.append(
                    UInt64(transaction), width: width, isLittle: isLittle, to: &out)
            case .checksum(let rule): out += FormatRequest.checksum(rule, over: out)
            }
            guard addend != 0 else { continue }
            for i in start..<out.count { out[i] &+= addend }
        }
        return out
    }

    private static func append(
        _ value: UInt64, width: Int, isLittle: Bool, to out: inout [UInt8]
    ) {
        for i in 0..<width {
            let shift = UInt64(8 * (isLittle ? i : width - 1 - i))
            out.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    private static func checksum(_ rule: ChecksumRule, over bytes: [UInt8]) -> [UInt8] {
        Cursor.over(bytes.span) { cursor in
            let high = rule.to > 0 ? rule.to : bytes.count + rule.to
            return rule.wire(cursor, min(rule.from, high)..<high) ?? []
        }
    }
}

extension Format {
    package func request(named name: String) -> FormatRequest? {
        requests.first { $0.name == name }
    }
}
