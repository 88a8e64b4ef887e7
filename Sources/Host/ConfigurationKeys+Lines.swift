// Keys of lines: what we open ourselves, how a DTU names itself, what is polled.

extension Configuration {
    private static let second: Int64 = 1000
    private static let hour: Int64 = 3_600_000

    static let lineKeys: [Key] =
        [
            Key(
                "sources.connect", .connect, "",
                "tcp://HOST:PORT of a serial gateway or Modbus server that we connect to."),
            Key("sources.tty", .path, "", "A serial line of this machine."),
            Key("sources.baud", .count(300...921_600), "9600", "Speed of the tty."),
            Key(
                "sources.parity", .word(TTY.Parity.allCases.map(\.rawValue)), "\"none\"",
                "Parity of the tty."),
            Key("sources.dataBits", .count(7...8), "8", "Data bits of the tty."),
            Key("sources.stopBits", .count(1...2), "1", "Stop bits of the tty."),
            Key("sources.rs485", .flag, "false", "The driver switches an RS-485 transceiver."),
            Key(
                "sources.pairing", .flag, "false",
                "Both directions of a bus are heard: answers are paired with their requests."),
            Key(
                "sources.registration", .group, "{}",
                "What a DTU sends first; its name stands before addresses of its devices."),
        ] + pattern("sources.registration") + [
            Key(
                "sources.registration.required", .flag, "true",
                "Nothing is understood before it."),
            Key(
                "sources.heartbeats", .groups, "[]",
                "What DTUs send between frames to keep the line open."),
        ] + pattern("sources.heartbeats") + [
            Key("sources.poll", .group, "{}", "What is asked on each line of the source."),
            Key(
                "sources.poll.timeout", .duration(20...60 * second), "\"1s\"",
                "Time for an answer."),
            Key("sources.poll.retries", .count(0...10), "2", "Attempts after the first."),
            Key(
                "sources.poll.gap", .duration(0...10 * second), "\"0s\"",
                "Least silence before a request; on a tty at least 3.5 characters."),
            Key(
                "sources.poll.deadAfter", .count(1...100), "3",
                "Polls in a row without answer after which a device is asked less and less often."),
            Key(
                "sources.poll.backoff", .duration(second...24 * hour), "\"5m\"",
                "Longest time between two attempts at a dead device."),
            Key("sources.poll.requests", .groups, "[]", "The requests."),
            .required(
                "sources.poll.requests.request", .name, "Name of a request of the format."),
            Key(
                "sources.poll.requests.format", .text, "\"\"",
                "The format; empty: the first of the source that has such a request."),
            Key(
                "sources.poll.requests.interval", .duration(20...24 * hour), "\"1m\"",
                "Time from one to the next."),
            Key(
                "sources.poll.requests.parameters", .node, "{}",
                "What the request needs: numbers, digits in quotes, or lists: one request each."),
            Key(
                "sources.poll.requests.lines", .names, "[]",
                "Names of the DTUs behind which the devices are; empty: all."),
        ]

    private static func pattern(_ path: String) -> [Key] {
        [
            Key("\(path).hex", .text, "\"\"", "Bytes that it begins with, in hex."),
            Key("\(path).ascii", .text, "\"\"", "Text that it begins with."),
            Key(
                "\(path).length", .count(1...256), "",
                "Count of all bytes, where no end marks it."),
            Key("\(path).end", .text, "\"\"", "Bytes that it ends with, in hex."),
            Key(
                "\(path).characters", .word(["any", "digits", "printable"]), "\"any\"",
                "What may stand between start and end."),
        ]
    }
}
