// Compiles `requests`: templates for what a poller sends. Each is tried at load: the format itself must
// be able to read it, so that its answers can be paired.

import Model

extension FormatCompiler {
    private static let partKeys = [
        "hex", "parameter", "type", "order", "add", "transaction", "checksum", "from", "to", "note",
    ]

    /// `requests: { name: { parameters: [ … ], parts: [ … ] } }`
    mutating func requests() -> [FormatRequest] {
        var all: [FormatRequest] = []
        for member in root["requests"]?.members ?? [] {
            check(member.value, ["parameters", "parts", "note"])
            let parameters = (member.value["parameters"]?.array ?? []).compactMap { parameter($0) }
            var parts: [(part: FormatRequest.Part, addend: UInt8)] = []
            for node in member.value["parts"]?.array ?? [] {
                if let part = part(node, parameters) {
                    parts.append((part, UInt8(truncatingIfNeeded: integer(node, "add") ?? 0)))
                }
            }
            if parts.isEmpty { complain(member.value, "a request without parts") }
            all.append(FormatRequest(name: member.key, parameters: parameters, parts: parts))
        }
        return all
    }

    /// `{ name, range: [a, b] | digits: n, standard?, device? }`
    private mutating func parameter(_ node: JSONNode) -> RequestParameter? {
        check(node, ["name", "range", "digits", "standard", "device", "note"])
        guard let name = string(node, "name") else {
            complain(node, "a parameter without name", "write name: \"address\"")
            return nil
        }
        var kind: RequestParameter.Kind
        if let digits = integer(node, "digits") {
            kind = .digits(max(0, digits))
            if !(1...64).contains(digits) || digits % 2 == 1 {
                complain(node, "digits stand two a byte", "write an even number up to 64")
            }
        } else if let ends = node["range"]?.array?.compactMap(\.integer), ends.count == 2,
            ends[0] <= ends[1]
        {
            kind = .integer(Int64(ends[0])...Int64(ends[1]))
        } else {
            complain(
                node, "parameter \"\(name)\" needs range or digits",
                "write range: [1, 247] or digits: 12")
            return nil
        }
        var parameter = RequestParameter(
            name: name, kind: kind, standard: nil, isDevice: flag(node, "device"))
        if let standard = node["standard"] {
            let value = standard.integer.map { ParameterValue.number(Int64($0)) }
            parameter.standard = (value ?? standard.string.map { .text($0) })
                .flatMap { parameter.checked($0) }
            if parameter.standard == nil {
                complain(standard, "\"\(name)\" cannot be this", parameter.wish)
            }
        }
        return parameter
    }

    private mutating func part(
        _ node: JSONNode, _ parameters: [RequestParameter]
    ) -> FormatRequest.Part? {
        check(node, FormatCompiler.partKeys)
        if let text = node["hex"] { return .bytes(hex(text) ?? []) }
        let isLittle = word(node, "order", ["be", "le"]) == "le"
        if let type = string(node, "transaction") {
            guard let kind = integerType(type, node) else { return nil }
            return .transaction(width: kind.width, isLittle: kind.isLittle)
        }
        if string(node, "checksum") != nil { return .checksum(requestChecksum(node)) }
        guard let name = string(node, "parameter") else {
            complain(node, "a request's part needs hex, parameter, transaction or checksum")
            return nil
        }
        guard let number = parameters.firstIndex(where: { $0.name == name }) else {
            complain(
                node, "unknown parameter \"\(name)\"",
                Suggestion.text(name, among: parameters.map(\.name)))
            return nil
        }
        switch parameters[number].kind {
        case .digits: return .digits(parameter: number, isLittle: isLittle)
        case .integer(let range):
            guard let kind = integerType(string(node, "type") ?? "", node) else { return nil }
            let limit = kind.width >= 8 ? Int64.max : Int64(1) << Int64(8 * kind.width) - 1
            if range.lowerBound < 0 || range.upperBound > limit {
                complain(node, "the range of \"\(name)\" does not fit this type")
            }
            return .integer(parameter: number, width: kind.width, isLittle: kind.isLittle)
        }
    }

    private mutating func integerType(_ text: String, _ node: JSONNode) -> WireType? {
        if let kind = WireType(text), !kind.isFloat { return kind }
        complain(
            node, "unknown type \"\(text)\"", Suggestion.text(text, among: WireType.examples))
        return nil
    }

    private mutating func requestChecksum(_ node: JSONNode) -> ChecksumRule {
        let names = ChecksumRule.kinds.map(\.name)
        let name = word(node, "checksum", names)
        return ChecksumRule(
            kind: ChecksumRule.kinds.first { $0.name == name }?.kind ?? .sum8,
            from: integer(node, "from") ?? 0, to: integer(node, "to") ?? 0, at: 0,
            isLittleEndian: word(node, "order", ["le", "be"]) == "le")
    }
}

extension EmbeddedTests {
    /// Complaints about requests that their own format does not read as requests.
    static func tryRequests(_ format: Format, _ node: JSONNode?, file: String) -> [Complaint] {
        var complaints: [Complaint] = []
        let decoder = Decoder(format)
        var frame = DecodedFrame()
        for request in format.requests {
            let bytes = request.bytes(request.parameters.map(\.least), transaction: 1)
            var what: String?
            do throws(Rejection) {
                try decoder.decode(bytes.span, direction: .down, into: &frame)
                if !frame.isRequest { what = "says in no `asks` what it asks" }
            } catch {
                what = "is refused by its own format: \(error.code)"
            }
            guard let what else { continue }
            let place = node?[request.name] ?? node
            complaints.append(
                Complaint(
                    file: file, line: place?.line ?? 1, column: place?.column ?? 1,
                    what: "request \"\(request.name)\" \(what)",
                    suggestion: "its bytes are \(FieldNode.hex(bytes))"))
        }
        return complaints
    }
}
