// Expressions of the format language: integer arithmetic over captured fields, compiled to flat
// instructions. No calls, no loops, no text: `count * 2 + 5`, `up && function >= 0x80`,
// `di1 == 0xFF ? 64 : 1`. Precedence as in Go and Swift: `* / % & << >>` bind stronger than
// `+ - | ^`, those stronger than comparisons, then `&&`, `||` and `?:`.

/// The result of an expression.
enum Operand: Equatable {
    case number(Int64)
    case slot(UInt16)
}

struct ExpressionFault: Error {
    var what: String
    var suggestion: String
}

struct ExpressionCompiler {
    private enum Token: Equatable {
        case number(Int64)
        case name(String)
        case mark(String)
    }

    private var tokens: [Token] = []
    private var at = 0
    private let constants: [String: Int64]

    static func compile(
        _ text: String, constants: [String: Int64], into builder: inout ProgramBuilder
    ) throws(ExpressionFault) -> Operand {
        var compiler = ExpressionCompiler(constants: constants)
        try compiler.scan(text)
        let result = try compiler.ternary(&builder, depth: 0)
        guard compiler.at == compiler.tokens.count else {
            throw ExpressionFault(what: "cannot read \"\(text)\" to its end", suggestion: "")
        }
        return result
    }

    /// Compiles a condition to jumps that are taken when it does not hold; returns their places for
    /// landing. `a && b && c` stops at the first that fails.
    static func compileCondition(
        _ text: String, constants: [String: Int64], into builder: inout ProgramBuilder
    ) throws(ExpressionFault) -> [Int] {
        var compiler = ExpressionCompiler(constants: constants)
        try compiler.scan(text)
        var jumps: [Int] = []
        if compiler.isChain {
            repeat {
                jumps.append(
                    compiler.jump(try compiler.binary(&builder, level: 2, depth: 0), &builder))
            } while compiler.take("&&")
        } else {
            jumps.append(compiler.jump(try compiler.ternary(&builder, depth: 0), &builder))
        }
        guard compiler.at == compiler.tokens.count else {
            throw ExpressionFault(what: "cannot read \"\(text)\" to its end", suggestion: "")
        }
        return jumps
    }

    /// Only `&&` stands outside parentheses, no `||` and no `?:`.
    private var isChain: Bool {
        var depth = 0
        for token in tokens {
            if token == .mark("(") { depth += 1 }
            if token == .mark(")") { depth -= 1 }
            if depth == 0, token == .mark("||") || token == .mark("?") { return false }
        }
        return true
    }

    /// The comparison and the jump become one instruction.
    private func jump(_ condition: Operand, _ b: inout ProgramBuilder) -> Int {
        let slot = slot(condition, &b)
        let isFused = b.replaceLast { last in
            guard last.code == .arithmetic, last.a == slot,
                last.x >= Operator.equal.rawValue
            else { return nil }
            var jump = last
            jump.code = .jumpUnless
            jump.a = SlotFile.none
            return jump
        }
        if isFused { return Int(b.here) - 1 }
        return b.add(Op(code: .jumpIfZero, a: slot))
    }

    private init(constants: [String: Int64]) { self.constants = constants }

    // MARK: Words

    private mutating func scan(_ text: String) throws(ExpressionFault) {
        let c = Array(text.utf8)
        var i = 0
        while i < c.count {
            if c[i] == 0x20 {
                i += 1
                continue
            }
            var end = i
            while end < c.count, ExpressionCompiler.isWord(c[end]) { end += 1 }
            if end > i {
                let word = String(decoding: c[i..<end], as: UTF8.self)
                tokens.append(try ExpressionCompiler.token(word))
                i = end
                continue
            }
            let two = String(decoding: c[i..<min(i + 2, c.count)], as: UTF8.self)
            if ["&&", "||", "==", "!=", "<=", ">=", "<<", ">>"].contains(two) {
                tokens.append(.mark(two))
                i += 2
                continue
            }
            let one = String(decoding: c[i..<i + 1], as: UTF8.self)
            guard "+-*/%&|^<>()?:!".contains(one) else {
                throw ExpressionFault(what: "unexpected \"\(one)\" in \"\(text)\"", suggestion: "")
            }
            tokens.append(.mark(one))
            i += 1
        }
        if tokens.count > 200 {
            throw ExpressionFault(what: "expression of more than 200 words", suggestion: "use let")
        }
    }

    private static func isWord(_ c: UInt8) -> Bool {
        switch c {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F: true
        default: false
        }
    }

    private static func token(_ word: String) throws(ExpressionFault) -> Token {
        guard let first = word.first, first.isNumber else { return .name(word) }
        let number =
            word.lowercased().hasPrefix("0x") ? Int64(word.dropFirst(2), radix: 16) : Int64(word)
        guard let number else {
            throw ExpressionFault(
                what: "\"\(word)\" is no number", suggestion: "write 10 or 0x0A")
        }
        return .number(number)
    }

    private mutating func take(_ mark: String) -> Bool {
        guard at < tokens.count, tokens[at] == .mark(mark) else { return false }
        at += 1
        return true
    }

    // MARK: Grammar

    private mutating func ternary(
        _ b: inout ProgramBuilder, depth: Int
    ) throws(ExpressionFault) -> Operand {
        guard depth < 16 else {
            throw ExpressionFault(
                what: "expression nested more than 16 deep", suggestion: "use let")
        }
        let condition = try binary(&b, level: 0, depth: depth)
        guard take("?") else { return condition }
        let result = b.temporary()
        let jump = b.add(Op(code: .jumpIfZero, a: slot(condition, &b)))
        store(try ternary(&b, depth: depth + 1), in: result, &b)
        let over = b.add(Op(code: .jump))
        guard take(":") else {
            throw ExpressionFault(what: "no ':' after '?'", suggestion: "write a ? b : c")
        }
        b.land(jump)
        store(try ternary(&b, depth: depth + 1), in: result, &b)
        b.land(over)
        return .slot(result)
    }

    private static let levels: [[(String, Operator?)]] = [
        [("||", nil)], [("&&", nil)],
        [
            ("==", .equal), ("!=", .unequal), ("<=", .lessEqual), (">=", .greaterEqual),
            ("<", .less), (">", .greater),
        ],
        [("+", .add), ("-", .subtract), ("|", .or), ("^", .xor)],
        [
            ("*", .multiply), ("/", .divide), ("%", .remainder), ("&", .and),
            ("<<", .shiftLeft), (">>", .shiftRight),
        ],
    ]

    private mutating func binary(
        _ b: inout ProgramBuilder, level: Int, depth: Int
    ) throws(ExpressionFault) -> Operand {
        guard level < ExpressionCompiler.levels.count else { return try unary(&b, depth: depth) }
        var left = try binary(&b, level: level + 1, depth: depth)
        search: while true {
            for (mark, op) in ExpressionCompiler.levels[level] where take(mark) {
                if let op {
                    let right = try binary(&b, level: level + 1, depth: depth)
                    left = try combine(op, left, right, &b)
                } else {
                    // Both sides are pure, so && and || need no jumps.
                    let l = try truth(left, &b)
                    let r = try truth(try binary(&b, level: level + 1, depth: depth), &b)
                    left = try combine(mark == "&&" ? .and : .or, l, r, &b)
                }
                continue search
            }
            return left
        }
    }

    private mutating func unary(
        _ b: inout ProgramBuilder, depth: Int
    ) throws(ExpressionFault) -> Operand {
        if take("-") { return try combine(.subtract, .number(0), try unary(&b, depth: depth), &b) }
        if take("!") { return try combine(.equal, try unary(&b, depth: depth), .number(0), &b) }
        if take("(") {
            let inner = try ternary(&b, depth: depth + 1)
            guard take(")") else { throw ExpressionFault(what: "'(' without ')'", suggestion: "") }
            return inner
        }
        guard at < tokens.count else {
            throw ExpressionFault(what: "the expression ends too early", suggestion: "")
        }
        at += 1
        switch tokens[at - 1] {
        case .number(let n): return .number(n)
        case .mark(let m): throw ExpressionFault(what: "unexpected \"\(m)\"", suggestion: "")
        case .name(let name): return try named(name, &b)
        }
    }

    private func named(
        _ name: String, _ b: inout ProgramBuilder
    ) throws(ExpressionFault) -> Operand {
        if let binding = b.binding(name) { return .slot(binding.slot) }
        if let constant = constants[name] { return .number(constant) }
        if let builtin = Builtin.allCases.first(where: { $0.word == name }) {
            let slot = b.temporary()
            b.add(Op(code: .builtin, x: builtin.rawValue, a: slot))
            return .slot(slot)
        }
        let known = b.names + constants.keys.sorted() + Builtin.allCases.map(\.word)
        throw ExpressionFault(
            what: "unknown field \"\(name)\"", suggestion: Suggestion.text(name, among: known))
    }

    // MARK: Instructions

    private func combine(
        _ op: Operator, _ left: Operand, _ right: Operand, _ b: inout ProgramBuilder
    ) throws(ExpressionFault) -> Operand {
        if case .number(let l) = left, case .number(let r) = right {
            guard let result = op.apply(l, r) else {
                throw ExpressionFault(what: "the constant part overflows", suggestion: "")
            }
            return .number(result)
        }
        let result = b.temporary()
        let from = slot(left, &b)
        var instruction = Op(code: .arithmetic, x: op.rawValue, a: result, b: from)
        switch right {
        case .number(let n): instruction.imm = n
        case .slot(let s):
            instruction.flags = .register
            instruction.meta = Int32(s)
        }
        b.add(instruction)
        if op.rawValue >= Operator.equal.rawValue { b.markTruth(result) }
        if op == .and || op == .or, b.isTruth(from), case .slot(let s) = right, b.isTruth(s) {
            b.markTruth(result)
        }
        return .slot(result)
    }

    private func truth(
        _ operand: Operand, _ b: inout ProgramBuilder
    ) throws(ExpressionFault) -> Operand {
        if case .slot(let s) = operand, b.isTruth(s) { return operand }
        return try combine(.unequal, operand, .number(0), &b)
    }

    private func slot(_ operand: Operand, _ b: inout ProgramBuilder) -> UInt16 {
        switch operand {
        case .slot(let s): return s
        case .number(let n):
            let slot = b.temporary()
            b.add(Op(code: .constant, a: slot, imm: n))
            return slot
        }
    }

    private func store(_ operand: Operand, in slot: UInt16, _ b: inout ProgramBuilder) {
        switch operand {
        case .number(let n): b.add(Op(code: .constant, a: slot, imm: n))
        case .slot(let s): b.add(Op(code: .copy, a: slot, b: s))
        }
    }
}
