// What must not leave the gateway: keys, secrets, comments that may hold either, and addresses of others.
// A configuration is not cut but written anew from what our own table knows; every secret that is found
// on the way is struck out of all other texts as well. Values only.

package import Formats
import Host
import Model

package struct Redaction: Sendable {
    static let struckOut = "***"

    /// Texts that are struck out wherever they occur.
    private var secrets: Set<String> = []
    /// Hosts that the configuration names: no strangers.
    private var hosts: Set<String> = []

    package init() {}

    // MARK: Configuration

    /// The configuration with what may be secret struck out; nil when it is no JSON5, of which nothing can
    /// be told apart.
    package mutating func configuration(_ text: [UInt8]) -> JSON? {
        guard let root = try? JSONNode.parse(text, file: "configuration") else { return nil }
        return redacted(root, path: "")
    }

    private mutating func redacted(_ node: JSONNode, path: String) -> JSON {
        switch node.content {
        case .null: return .null
        case .boolean(let value): return .boolean(value)
        case .number(let text):
            guard Configuration.knows(path) else { return struck(text) }
            return node.integer.map { .integer(Int64($0)) } ?? .double(node.double ?? 0)
        case .string(let text): return string(text, path)
        case .array(let elements):
            return .array(elements.map { redacted($0, path: path) })
        case .object(let members):
            return .object(
                members.map { member in
                    let inner = path.isEmpty ? member.key : "\(path).\(member.key)"
                    let isNamed = Configuration.knows(inner) || Configuration.isMapping(path)
                    let name = isNamed && !isSuspicious(member.key) ? member.key : Self.struckOut
                    if name == Self.struckOut { insert(member.key) }
                    return (name, redacted(member.value, path: inner))
                })
        }
    }

    private mutating func string(_ text: String, _ path: String) -> JSON {
        guard Configuration.fits(text, at: path), !isSuspicious(text) else { return struck(text) }
        if let host = text.split(separator: "/").last.flatMap({ HostPort(String($0)) })?.host {
            hosts.insert(host)
        }
        return .string(text)
    }

    private mutating func struck(_ text: String) -> JSON {
        // Short numbers are everywhere, and tell nobody anything.
        if text.utf8.count >= 6 || Double(text) == nil { insert(text) }
        return .string(Self.struckOut)
    }

    private mutating func insert(_ secret: String) {
        secrets.formUnion([secret, secret.lowercased(), secret.uppercased()])
    }

    /// Looks like a key, or like a name and a password before an address.
    private func isSuspicious(_ text: String) -> Bool {
        if text.contains("@") { return true }
        let words = text.split { !$0.isLetter && !$0.isNumber }
        let isHex = words.contains { $0.utf8.count >= 16 && $0.allSatisfy(\.isHexDigit) }
        // Blocks of hex with something between them.
        let digits = text.filter(\.isHexDigit)
        let isParted = digits.utf8.count >= 24 && digits.utf8.count * 4 > text.utf8.count * 3
        return isHex || isParted
    }

    // MARK: Other texts

    /// Each text in a key file, so that it is struck out wherever else it was written.
    package mutating func takeSecrets(of keyFile: [UInt8]) {
        guard let root = try? JSONNode.parse(keyFile, file: "keys") else { return }
        for line in Flattened.lines(root) { insert(line.value) }
    }

    /// Without secrets that are known, without what complaints quote, and without strangers' addresses.
    package func text(_ text: String, isLog: Bool = false) -> String {
        var text = text
        // The longest first, so that none is left of one that holds another.
        for secret in secrets.sorted(by: { $0.utf8.count > $1.utf8.count })
        where secret.utf8.count >= 4 {
            text = text.replacing(secret, with: Self.struckOut)
        }
        return addresses(isLog ? Redaction.withoutQuotes(text) : text)
    }

    /// What stands in double quotes is what somebody wrote: `***`.
    package static func withoutQuotes(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
            return parts.enumerated().map {
                $0.offset.isMultiple(of: 2) ? String($0.element) : struckOut
            }.joined(separator: "\"")
        }.joined(separator: "\n")
    }

    /// Numeric addresses that are neither this machine's loopback nor named in the configuration.
    private func addresses(_ text: String) -> String {
        var out = ""
        var word = ""
        func isPart(_ c: Character) -> Bool { c.isHexDigit || c == "." || c == ":" }
        func finish() {
            out += masked(word)
            word = ""
        }
        for character in text {
            if isPart(character) {
                word.append(character)
            } else {
                finish()
                out.append(character)
            }
        }
        finish()
        return out
    }

    private func masked(_ word: String) -> String {
        guard word.utf8.count >= 2, word.contains(".") || word.contains(":") else { return word }
        // What follows an address: a port, or the full stop of a sentence.
        var tail = ""
        var host = word
        while let last = host.last, last == ":" || last == "." {
            tail = String(host.removeLast()) + tail
        }
        if host.contains("."), let colon = host.lastIndex(of: ":") {
            tail = String(host[colon...]) + tail
            host = String(host[..<colon])
        }
        guard let endpoint = Endpoint(host: host, port: 0), !endpoint.isLoopback,
            !hosts.contains(host), host != "0.0.0.0", host != "::"
        else { return word }
        return "x.x.x.x" + tail
    }
}
