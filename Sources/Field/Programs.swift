// The three programs and their tables. Main files call `Programs.main`, which is nonisolated:
// closures
// written in a main file would inherit the main actor and crash on other threads (style.md section
// 5).

import Glibc

package enum Programs {
    /// The field tool. For `sluice bench`: `allocations` counts what its thread allocated, `queue` is
    /// the ring's yardstick.
    package static func sluice(
        allocations: (@Sendable () -> UInt64)? = nil, queue: QueueYardstick? = nil,
        sink: (@Sendable (UInt16) -> Int32)? = nil
    ) -> Program {
        Program(
            name: "sluice", summary: "field tool for a Sluice gateway and its store",
            details: [
                "Decodes frames, replays captures, loads a gateway with made-up devices, and looks "
                    + "into a "
                    + "running gateway and its store. `sluice demo` shows the whole path at work "
                    + "without "
                    + "any configuration."
            ],
            section: 1,
            verbs: [
                DemoVerb.verb, DecodeVerb.verb, FormatsVerb.verb, VectorsVerb.verb, ReplayVerb.verb,
                CaptureVerb.verb, LoadVerb.verb,
                QueryVerb.verb,
                AdminVerbs.ledger, TopVerbs.status, TopVerbs.top, DoctorVerb.verb, SpoolVerb.verb,
                DevicesVerb.list,
                DevicesVerb.one, BatchVerb.verb, SinkVerb.verb(sink), NetworkVerb.verb,
                BenchVerb.verb(allocations: allocations, queue: queue),
            ])
    }

    package static let gateway = Program(
        name: "sluiced", summary: "the Sluice gateway daemon", section: 8,
        verbs: [DaemonVerbs.gateway])

    package static let store = Program(
        name: "sluice-store", summary: "the Sluice district store", section: 8,
        verbs: [DaemonVerbs.store])

    /// Both daemons are the same code: the one that the file's name says.
    package static func daemon(calledAs path: String) -> Program {
        path.split(separator: "/").last == "sluice-store" ? store : gateway
    }

    package static let all: [Program] = [sluice(), gateway, store]

    /// Runs a program on the process's own arguments and ends the process.
    package static func main(_ program: Program) -> Never {
        let console = Console.standard()
        let status = program.run(CommandLine.arguments, console: console)
        console.flush()
        exit(status.rawValue)
    }
}
