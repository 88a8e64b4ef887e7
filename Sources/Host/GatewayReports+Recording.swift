// The admin endpoint's routes for recordings and devices. Both tell of single devices and carry raw
// frames, so they are served over the Unix socket only.

import Catalog
import Formats
import Model
import Pipeline

/// Members of a query, `%` undone; nil when one is malformed.
package enum AdminQuery {
    package static func members(_ query: String) -> [String: String]? {
        var members: [String: String] = [:]
        for part in query.split(separator: "&") {
            let halves = part.split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let value = decoded(halves.count > 1 ? halves[1] : "") else { return nil }
            members[String(halves[0])] = value
        }
        return members
    }

    /// Everything but letters, digits and `-._~` as `%XX` (RFC 3986 section 2.1).
    package static func encoded(_ text: String) -> String {
        var out = ""
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
                out.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let hex = String(byte, radix: 16, uppercase: true)
                out += (byte < 16 ? "%0" : "%") + hex
            }
        }
        return out
    }

    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            guard digits.utf8.count == 2, let value = UInt8(digits, radix: 16) else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension GatewayReports {
    /// `/capture/begin?source=&device=&verdict=`, `/capture/fetch?id=`, `/capture/end?id=`
    func serveRecordings(on admin: AdminServer) {
        let intake = intake
        let malformed = AdminResponse(status: 400, body: "the query is malformed\n")
        admin.route("/capture/begin", isPrivate: true) { query, reply in
            guard let members = AdminQuery.members(query) else { return reply(malformed) }
            var filter = RecordingFilter()
            filter.source = members["source"] ?? ""
            filter.device = members["device"] ?? ""
            filter.verdict = members["verdict"] ?? ""
            intake.post(.record(.begin(filter), reply))
        }
        for (route, ask) in [
            ("/capture/fetch", { @Sendable (number: UInt64) in RecordingAsk.fetch(number) }),
            ("/capture/end", { @Sendable (number: UInt64) in RecordingAsk.end(number) }),
        ] {
            admin.route(route, isPrivate: true) { query, reply in
                guard let number = AdminQuery.members(query)?["id"].flatMap({ UInt64($0) })
                else { return reply(malformed) }
                intake.post(.record(ask(number), reply))
            }
        }
    }

    /// `/devices?after=N&limit=N` and `/devices?id=IDENTITY`
    func serveDevices(on admin: AdminServer) {
        let intake = intake
        admin.route("/devices", isPrivate: true) { query, reply in
            guard let members = AdminQuery.members(query) else {
                return reply(AdminResponse(status: 400, body: "the query is malformed\n"))
            }
            if let identity = members["id"] {
                return intake.post(.devices(.one(identity), reply))
            }
            let after = members["after"].flatMap { UInt32($0) } ?? 0
            let limit = members["limit"].flatMap { Int($0) } ?? 1000
            intake.post(.devices(.list(after: after, limit: min(max(1, limit), 1000)), reply))
        }
    }
}

/// What the admin endpoint asks about devices.
enum DevicesAsk: Sendable {
    case list(after: UInt32, limit: Int)
    case one(String)
}

enum DevicesReport {
    static func answer(_ ask: DevicesAsk, _ stage: IntakeStage) -> AdminResponse {
        switch ask {
        case .list(let after, let limit):
            let page = stage.devices(after: DeviceID(after), limit: limit)
            return .json(
                JSON.object([
                    ("now", .string(stage.wall.iso8601)),
                    ("devices", .array(page.map { json($0) })),
                    (
                        "after",
                        page.count == limit
                            ? page.last.map { .unsigned(UInt64($0.device.id.rawValue)) } ?? .null
                            : .null
                    ),
                ]).text() + "\n")
        case .one(let identity):
            let found = stage.device(called: identity)
            guard !found.isEmpty else {
                return AdminResponse(status: 404, body: "no device \(identity)\n")
            }
            return .json(
                JSON.object([
                    ("now", .string(stage.wall.iso8601)),
                    (
                        "devices",
                        .array(
                            found.map { one in
                                json(one.summary, streams: one.streams)
                            })
                    ),
                ]).text() + "\n")
        }
    }

    private static func json(_ summary: DeviceSummary, streams: [Stream]? = nil) -> JSON {
        var members: [(String, JSON)] = [
            ("device", .string(summary.device.identity)),
            ("format", .string(summary.device.format)),
            ("firstSeenAt", .string(summary.device.firstSeenAt.iso8601)),
            ("lastSeenAt", summary.lastSeenAt.map { .string($0.iso8601) } ?? .null),
            ("periodSeconds", summary.periodMilliseconds.map { .integer($0 / 1000) } ?? .null),
        ]
        if let streams {
            members.append(
                (
                    "streams",
                    .array(
                        streams.map { stream in
                            .object([
                                ("stream", .string(stream.name)),
                                ("quantity", .string(stream.quantity)),
                                ("unit", .string(stream.unit)),
                            ])
                        })
                ))
        } else {
            members.append(("streams", .integer(Int64(summary.streams))))
        }
        return .object(members)
    }
}
