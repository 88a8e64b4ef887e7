// The part of HTTP/1.1 (RFC 9112) that the admin endpoint understands, and its client for the
// tools.

import CLinux
import Glibc
import Model

/// A request line and its headers.
package struct AdminRequest: Hashable {
    package enum Parsed: Hashable {
        /// More bytes are needed.
        case incomplete
        case request(AdminRequest)
        /// The status to refuse it with.
        case refused(Int)
    }

    package static let maximumBytes = 8192

    package var method: String
    package var path: String
    package var query: String
    /// Value of the Host header, empty when there is none.
    var host: String

    package static func parse(_ bytes: [UInt8]) -> Parsed {
        guard let end = endOfHead(bytes) else {
            return bytes.count > maximumBytes ? .refused(431) : .incomplete
        }
        guard end <= maximumBytes else { return .refused(431) }
        var lines: [Substring] = []
        for line in bytes[..<end].split(separator: 0x0A, omittingEmptySubsequences: false) {
            let text = line.last == 0x0D ? line.dropLast() : line
            guard text.allSatisfy({ $0 >= 0x20 && $0 < 0x7F || $0 == 0x09 }) else {
                return .refused(400)
            }
            lines.append(String(decoding: text, as: UTF8.self)[...])
        }
        let words = lines[0].split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2].hasPrefix("HTTP/1."), words[1].hasPrefix("/") else {
            return .refused(400)
        }
        guard words[0] == "GET" || words[0] == "HEAD" else { return .refused(405) }
        let target = words[1].split(
            separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var hosts: [String] = []
        for line in lines.dropFirst() where !line.isEmpty {
            guard let colon = line.firstIndex(of: ":"), colon > line.startIndex else {
                return .refused(400)
            }
            if line[..<colon].lowercased() == "host" {
                hosts.append(line[colon...].dropFirst().filter { $0 != " " && $0 != "\t" })
            }
        }
        guard hosts.count < 2 else { return .refused(400) }
        return .request(
            AdminRequest(
                method: String(words[0]), path: String(target[0]),
                query: target.count > 1 ? String(target[1]) : "", host: hosts.first ?? ""))
    }

    /// Offset of the empty line.
    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        var lineStart = 0
        for i in bytes.indices.prefix(maximumBytes + 4) where bytes[i] == 0x0A {
            let length = i - lineStart
            if lineStart > 0, length == 0 || (length == 1 && bytes[lineStart] == 0x0D) {
                return lineStart
            }
            lineStart = i + 1
        }
        return nil
    }

    var isForLoopback: Bool {
        if host.isEmpty { return true }
        let bare = HostPort(host)?.host ?? host.filter { $0 != "[" && $0 != "]" }
        return Endpoint(host: bare, port: 0)?.isLoopback ?? false
    }

    static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 410: "Gone"
        case 421: "Misdirected Request"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 503: "Service Unavailable"
        default: "Status"
        }
    }
}

/// Asks the daemon behind a Unix socket; blocks for at most `timeout` milliseconds between two
/// parts of the answer. For the command-line tools. `route` is a path with its query: `/ledger`.
package func adminGet(
    socket: String, route: String, timeout: Int = 10_000
) throws(HostError) -> (
    status: Int, body: String
) {
    let what = "ask the daemon at \(socket)"
    // Safety: Swift lends a NUL-terminated copy of `socket`.
    let result = unsafe sluice_unix_connect(socket)
    if result == -ENOENT || result == -ECONNREFUSED {
        var error = HostError(
            what, why: "nobody listens there",
            advice: "start sluiced, or name its socket with --admin")
        error.code = -result
        throw error
    }
    let connection = try Descriptor(result, what)
    _ = sluice_blocking(connection.number, UInt32(max(1, timeout)))
    let request = Array("GET \(route) HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)
    let sent = connection.send(request, from: 0)
    guard sent == request.count else {
        throw HostError(what, result: sent < 0 ? Int32(sent) : -EIO)
    }
    var answer: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 65_536)
    while answer.count < 64 << 20 {
        let count = connection.read(into: &part, at: 0)
        if count == 0 { break }
        if count == -Int(EAGAIN) {
            var error = HostError(what, why: "no answer in \(timeout) ms")
            error.code = ETIMEDOUT
            throw error
        }
        guard count > 0 else { throw HostError(what, result: Int32(count)) }
        answer += part[..<count]
    }
    return try splitAnswer(answer, what)
}

private func splitAnswer(_ answer: [UInt8], _ what: String) throws(HostError) -> (Int, String) {
    let end: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A]
    let at = answer.indices.prefix(65_536).first { answer[$0...].starts(with: end) }
    guard let at else { throw HostError(what, why: "the answer is cut or is no HTTP") }
    let head = String(decoding: answer[..<at], as: UTF8.self)
    guard head.hasPrefix("HTTP/1.1 "), let status = Int(head.dropFirst(9).prefix(3)) else {
        throw HostError(what, why: "the answer is no HTTP")
    }
    let body = answer[(at + 4)...]
    let length = head.split(whereSeparator: \.isNewline).first { $0.hasPrefix("Content-Length: ") }
    if let length, Int(length.dropFirst(16)) != body.count {
        throw HostError(what, why: "the answer is cut")
    }
    return (status, String(decoding: body, as: UTF8.self))
}
