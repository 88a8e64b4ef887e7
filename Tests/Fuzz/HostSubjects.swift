// Readers of Host and Field under the fuzzer: who reaches the admin port, captures of other people,
// configuration files.

import Field
import Formats
import Host
import Model

extension Subject {
    static var hostReaders: [Reader] {
        [
            Reader(name: "admin-request", make: adminRequests),
            Reader(name: "capture", make: captures),
            Reader(name: "configuration", make: configurations),
        ]
    }

    private static func adminRequests() -> Subject {
        Subject { bytes in
            let all = AdminRequest.parse(bytes)
            // A server sees a request come in pieces: what is decided early stays.
            let part = AdminRequest.parse(Array(bytes.prefix(bytes.count / 2)))
            law(part == .incomplete || part == all, "a request that changes: \(part), \(all)")
            if case .request(let request) = all {
                law(request.path.hasPrefix("/"), "a path without a root")
            }
        }
    }

    private static func captures() -> Subject {
        Subject { bytes in
            for port: UInt16? in [nil, 502] {
                let capture = Capture(bytes, file: "fuzz", serverPort: port)
                var carried = 0
                for delivery in capture.deliveries {
                    law(
                        capture.conversations.indices.contains(delivery.conversation),
                        "a delivery of no conversation")
                    carried += delivery.bytes.count
                }
                law(carried <= bytes.count + 65_536, "\(carried) bytes of \(bytes.count)")
            }
        }
    }

    private static func configurations() -> Subject {
        Subject { bytes in
            // Complaints have a place in the text, and say something.
            do throws(Complaints) {
                let configuration = try Configuration.parse(bytes, file: "fuzz")
                for source in configuration.sources {
                    let faults = source.lineSettings(library.formats).faults
                    if !faults.isEmpty { check(Complaints(all: faults)) }
                }
            } catch { check(error) }
            do throws(Complaints) {
                _ = try StoreConfiguration.parse(bytes, file: "fuzz")
            } catch { check(error) }
        }
    }

    private static func check(_ complaints: Complaints) {
        law(!complaints.all.isEmpty, "refused without a complaint")
        for complaint in complaints.all {
            law(!complaint.what.isEmpty && complaint.line >= 1, "a complaint without a place")
        }
    }
}
