// The quarantine on the admin endpoint: what is set aside, and its release. Asked by `sluice spool`
// while the daemon runs, because the spool belongs to it. On the admin queue; answers come from the
// spool's and the intake's.

package import Formats
import Model
package import Pipeline
package import Spool

package enum QuarantineReport {
    package static func json(_ entry: QuarantineEntry, withBytes: Bool) -> JSON {
        var members: [(String, JSON)] = [
            ("number", .integer(entry.number)), ("kind", .string(entry.kind.rawValue)),
            ("source", .string(entry.source)), ("reason", .string(entry.reason)),
            ("receivedAt", .string(entry.receivedAt.iso8601)),
            ("readings", .integer(Int64(entry.readings))),
            ("bytes", .integer(Int64(entry.bytes.count))),
            ("isIntact", .boolean(entry.isIntact)),
        ]
        if withBytes { members.append(("hex", .string(hex(entry.bytes)))) }
        return .object(members)
    }

    package static func json(_ outcome: ReleaseOutcome, of number: Int64) -> JSON {
        let (word, why): (String, JSON) =
            switch outcome {
            case .pending(let sequence): ("pending", .string("batch \(sequence)"))
            case .taken: ("taken", .null)
            case .duplicate: ("duplicate", .null)
            case .noSuchEntry: ("noSuchEntry", .null)
            case .refused(let why): ("refused", .string(why))
            }
        return .object([("number", .integer(number)), ("outcome", .string(word)), ("why", why)])
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(
            decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] },
            as: UTF8.self)
    }
}

struct QuarantineRoutes {
    let spool: Mailbox<SpoolWork>

    private static let largestPage = 1000
    private static let largestPageWithBytes = 50

    func serve(on admin: AdminServer) {
        admin.route("/quarantine") { [spool] query, reply in
            let withBytes = QuarantineRoutes.number("bytes", in: query) == 1
            let most =
                withBytes
                ? QuarantineRoutes.largestPageWithBytes : QuarantineRoutes.largestPage
            let limit = Int(QuarantineRoutes.number("limit", in: query) ?? Int64(most))
            let after = QuarantineRoutes.number("after", in: query) ?? 0
            spool.post(
                .quarantined(after: after, limit: min(max(1, limit), most)) { entries in
                    let list = entries.map { QuarantineReport.json($0, withBytes: withBytes) }
                    reply(.json(JSON.object([("entries", .array(list))]).text() + "\n"))
                })
        }
        admin.route("/quarantine/release") { [spool] query, reply in
            guard let number = QuarantineRoutes.number("number", in: query) else {
                return reply(AdminResponse(status: 400, body: "which number?\n"))
            }
            spool.post(
                .release(number) { outcome in
                    reply(.json(QuarantineReport.json(outcome, of: number).text() + "\n"))
                })
        }
    }

    private static func number(_ name: String, in query: String) -> Int64? {
        for pair in query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1)
            if parts.count == 2, parts[0] == name { return Int64(parts[1]) }
        }
        return nil
    }
}
