// Frames as text: what engineers paste from a serial tool, a platform's web page or a log. A line is an
// optional time, an optional direction, an optional ADDRESS:PORT, then hex; what follows # or // is
// a comment. Lines that hold no frame are counted and passed over. Pure functions over the file's bytes.

import Model

struct Transcript {
    /// Nil when no line holds a frame: then it is no transcript.
    static func read(
        _ bytes: [UInt8], file: String, isStream: Bool, serverPort: UInt16?
    ) -> Capture? {
        guard !bytes.prefix(4096).contains(0) else { return nil }
        var transcript = Transcript(isStream: isStream, serverPort: serverPort ?? 9645)
        var number = 0
        for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            transcript.take(String(decoding: line, as: UTF8.self), number)
        }
        guard !transcript.deliveries.isEmpty else { return nil }
        return Capture(
            deliveries: transcript.deliveries, conversations: transcript.conversations,
            counters: CaptureCounters(
                frames: transcript.deliveries.count, linesPassedOver: transcript.passedOver),
            damage: nil)
    }

    private let isStream: Bool
    private let server: Endpoint
    private var deliveries: [CapturedDelivery] = []
    private var conversations: [Conversation] = []
    private var numbers: [Endpoint: Int] = [:]
    private var passedOver = 0
    private var lastTime: Int64 = 0
    /// Days to add to times without a date, as midnights pass.
    private var midnights: Int64 = 0
    private var lastTimeOfDay: Int64?

    /// Stands for the device where a line names none.
    private static let nobody = Endpoint.ipv4(0xC000_0201, port: 40_000)
    private static let day: Int64 = 86_400_000_000_000

    private init(isStream: Bool, serverPort: UInt16) {
        self.isStream = isStream
        server = .ipv4(0xC000_0264, port: serverPort)
    }

    private mutating func take(_ text: String, _ number: Int) {
        var direction: Bool?
        var words = Transcript.words(text, &direction)
        guard !words.isEmpty else { return }
        let time = takeTime(&words)
        var client = Transcript.nobody
        while let word = words.first, Hex.bytes(words.joined(separator: " ")) == nil {
            if let isToServer = Transcript.directions[word.lowercased()] {
                direction = isToServer
            } else if let endpoint = Transcript.endpoint(word) {
                client = endpoint
            } else if Hex.bytes(word) != nil {
                break
            }
            words.removeFirst()
        }
        guard let bytes = Hex.bytes(words.joined(separator: " ")), !bytes.isEmpty else {
            passedOver += 1
            return
        }
        lastTime = time ?? lastTime
        add(bytes, client, isToServer: direction ?? true, number)
    }

    private mutating func add(
        _ bytes: [UInt8], _ client: Endpoint, isToServer: Bool, _ number: Int
    ) {
        let conversation: Int
        if let known = numbers[client] {
            conversation = known
        } else {
            conversation = conversations.count
            numbers[client] = conversation
            conversations.append(
                Conversation(isStream: isStream, client: client, server: server))
        }
        deliveries.append(
            CapturedDelivery(
                kind: isStream ? .bytes : .datagram, time: lastTime, number: number,
                conversation: conversation, isToServer: isToServer, bytes: bytes))
    }

    // MARK: Words

    /// Words that say which way a frame went, seen from the gateway's end of the line.
    private static let directions: [String: Bool] = [
        "rx": true, "recv": true, "received": true, "in": true, "up": true, "uplink": true,
        "tx": false, "send": false, "sent": false, "out": false, "down": false,
        "downlink": false,
    ]

    /// Splits a line; brackets and arrows go, the arrows and Chinese words for directions are noted.
    private static func words(_ text: String, _ direction: inout Bool?) -> [String] {
        var plain = ""
        for scalar in text.prefix(while: { $0 != "#" && $0 != "|" }).unicodeScalars {
            switch scalar {
            case "收", "上", "←", "<":
                direction = direction ?? true
                plain += " "
            case "发", "下", "→", ">":
                direction = direction ?? false
                plain += " "
            case "[", "]", "(", ")", "\t", "\r": plain += " "
            default: plain.unicodeScalars.append(scalar.isASCII ? scalar : " ")
            }
        }
        var words: [String] = []
        for word in plain.split(separator: " ") {
            if word.hasPrefix("//") || word.hasPrefix(";") { break }
            // `RX:` and `->`, but not the colons of 68:61.
            let bare = word.last == ":" || word.last == "-" ? word.dropLast() : word
            if !bare.isEmpty { words.append(String(bare)) }
        }
        return words
    }

    /// `10.0.0.7:5000`
    private static func endpoint(_ word: String) -> Endpoint? {
        let halves = word.split(separator: ":")
        let parts = (halves.first ?? "").split(separator: ".").map { UInt8($0) }
        guard halves.count == 2, parts.count == 4, let port = UInt16(halves[1]) else { return nil }
        var address: UInt32 = 0
        for part in parts {
            guard let part else { return nil }
            address = address << 8 | UInt32(part)
        }
        return .ipv4(address, port: port)
    }

    // MARK: Times

    /// Takes a time off the front; nil when none stands there.
    private mutating func takeTime(_ words: inout [String]) -> Int64? {
        guard words.count > 1 else { return nil }
        let first = words[0].replacingAll("/", with: "-")
        if let day = Transcript.date(first),
            let time = Transcript.timeOfDay(words[1])
        {
            words.removeFirst(2)
            return day + time
        }
        if let t = first.firstIndex(of: "T"), let day = Transcript.date(String(first[..<t])),
            let time = Transcript.timeOfDay(String(first[first.index(after: t)...]))
        {
            words.removeFirst()
            return day + time
        }
        if let time = Transcript.timeOfDay(words[0]) {
            words.removeFirst()
            if let last = lastTimeOfDay, time < last - Transcript.day / 2 {
                midnights += Transcript.day
            }
            lastTimeOfDay = time
            return midnights + time
        }
        if let time = Transcript.unix(words[0]) {
            words.removeFirst()
            return time
        }
        return nil
    }

    /// Nanoseconds since 1970 of `2026-11-21`.
    private static func date(_ text: String) -> Int64? {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 3, let year = parts[0], let month = parts[1], let day = parts[2],
            (1970...2200).contains(year),
            let time = Timestamp(
                year: year, month: month, day: day, hour: 0, minute: 0, second: 0)
        else { return nil }
        return time.milliseconds * 1_000_000
    }

    /// Nanoseconds of `10:00:00`, `10:00:00.123`, `10:00:00,123Z`.
    private static func timeOfDay(_ text: String) -> Int64? {
        let bare = text.hasSuffix("Z") ? text.dropLast() : text[...]
        let halves = bare.split(
            maxSplits: 1, omittingEmptySubsequences: false, whereSeparator: { ".,".contains($0) })
        let parts = (halves.first ?? "").split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, parts.allSatisfy({ $0.count <= 2 }),
            let hour = Int64(parts[0]), (0..<24).contains(hour),
            let minute = Int64(parts[1]), (0..<60).contains(minute),
            let second = Int64(parts[2]), (0...60).contains(second)
        else { return nil }
        guard let fraction = halves.count == 2 ? fraction(halves[1]) : 0 else { return nil }
        return (hour * 3600 + minute * 60 + second) * 1_000_000_000 + fraction
    }

    /// `1732183200.5` and milliseconds of 13 digits; 10 digits alone are five bytes.
    private static func unix(_ text: String) -> Int64? {
        let halves = text.split(separator: ".", omittingEmptySubsequences: false)
        guard let whole = Int64(halves[0]), whole >= 0 else { return nil }
        // Behind the year 2262 it is no time: nanoseconds of 64 bits end there.
        if halves.count == 1, text.count == 13 {
            let (time, isTooLate) = whole.multipliedReportingOverflow(by: 1_000_000)
            return isTooLate ? nil : time
        }
        guard halves.count == 2, halves[0].count == 10, let fraction = fraction(halves[1]) else {
            return nil
        }
        let (time, isTooLate) = whole.multipliedReportingOverflow(by: 1_000_000_000)
        return isTooLate || time > .max - fraction ? nil : time + fraction
    }

    /// Nanoseconds of the digits behind the point.
    private static func fraction(_ digits: Substring) -> Int64? {
        guard (1...9).contains(digits.count), var value = Int64(digits), value >= 0 else {
            return nil
        }
        for _ in digits.count..<9 { value *= 10 }
        return value
    }
}

extension String {
    func replacingAll(_ character: Character, with other: Character) -> String {
        String(map { $0 == character ? other : $0 })
    }
}
