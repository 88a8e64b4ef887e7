// What a load run is told and what it found, with the JSON keys that measurements read
// (contracts.md). Values only.

import Formats

package struct LoadPlan: Sendable {
    package var target: Target
    package var frames = 100_000
    /// Number of the first frame: runs that follow one another go on with other frames.
    package var firstFrame = 0
    /// The rate that the devices' own times follow; nil for `rate`.
    package var populationRate: Double??
    /// Frames a second; nil as fast as the sockets take them.
    package var rate: Double? = 20_000
    package var devices = 1000
    package var connections = 1
    package var seed: UInt64 = 1
    /// Frames that are lost on the way: never handed to the socket.
    package var loss = 0.0
    package var duplicate = 0.0
    package var reorder = 0.0
    /// Share of frames that come late, and how late.
    package var delay = 0.0
    package var delayMilliseconds: Int64 = 5000
    /// Share of frames before which the device's mapping moves: its socket becomes another.
    package var rebind = 0.0
    /// Share of frames that ask for an answer and are repeated until they get it.
    package var answers = 0.0
    package var retryMilliseconds: Int64 = 1000
    package var tries = 60
    /// Frames handed over together, at the due time of the last of them.
    package var burst = 1
    package var shape = LoadShape.steady
    package var format = LoadFormat.reference
    /// How long a device listens after it sent; nil for always.
    package var awakeMilliseconds: Int64?
    /// Device time of the first frames, ms since 1970.
    package var startMilliseconds: Int64 = 0

    package init(target: Target) { self.target = target }

    func to(_ target: Target) -> LoadPlan {
        var other = self
        other.target = target
        return other
    }

    var population: Population {
        Population(
            devices: devices, startMilliseconds: startMilliseconds, rate: populationRate ?? rate,
            seed: seed, shape: shape, frames: firstFrame + frames,
            granularity: format.granularity)
    }
}

package struct LoadSummary: Sendable {
    /// Distinct frames that devices sent, lost ones included.
    package var framesSent = 0
    /// Datagrams that the kernel took, repetitions included.
    package var datagramsSent = 0
    package var framesLost = 0
    package var framesDuplicated = 0
    package var framesReordered = 0
    package var framesDelayed = 0
    /// Sockets that were replaced.
    package var rebinds = 0
    package var framesRepeated = 0
    package var framesAsking = 0
    package var framesAnswered = 0
    package var answersUnexpected = 0
    /// Answers that came when the device slept again.
    package var answersUnheard = 0
    /// Bytes of the frames that were handed to the kernel.
    package var bytesSent = 0
    /// Asked for an answer and gave up.
    package var framesUnanswered = 0
    /// The kernel said that nobody listens (the gateway was down).
    package var datagramsRefused = 0
    package var latencies = Latencies()
    package var wallSeconds = 0.0
    package var senderCpuSeconds = 0.0

    package init() {}
}

/// What the gateway and the store say at the end.
package struct LoadOutcome: Sendable {
    package var framesReceived: UInt64?
    package var framesDecoded: UInt64?
    package var framesDuplicate: UInt64?
    package var framesRejected: UInt64?
    package var readingsDecoded: UInt64?
    package var readingsHeld: UInt64?
    package var unaccounted: UInt64?
    package var kernelDrops: UInt64?
    package var uplinkBytes: UInt64?
    package var readingsInStore: Int?
    package var duplicatesInStore: Int?
    package var framesInStore: Int?
    /// In the store without a frame of this run that carried them.
    package var readingsStrange: Int?
    /// How many there are when every frame arrived, where the format says it.
    package var readingsExpected: Int?
    /// One of the strange ones, and one that should be there.
    package var strangeExample: String?
    package var answeredMissing: Int?
    package var answeredTwice: Int?
    package var gatewayCpuSeconds: Double?
    package var gatewayPeakRssKb: Int?
    package var gatewayKills = 0
    package var storeKills = 0
    /// Of a bare poll + recvmmsg receiver that got as many frames at the same rate, where asked for.
    package var sinkCpuNsPerFrame: Double?
    /// Datagrams that were sent and are in no counter, where nothing on the way may lose them.
    package var datagramsMissing: Int?
    package var isThinned = false
    /// The highest rates without loss, of the gateway and of a bare sink, where they were searched for.
    package var search: (gateway: RateFigures, sink: RateFigures)?

    package init() {}
}

extension LoadOutcome {
    /// The contract's keys first, then what explains them.
    func json(_ sent: LoadSummary) -> JSON {
        func count(_ value: UInt64?) -> JSON { value.map { .unsigned($0) } ?? .null }
        func count(_ value: Int?) -> JSON { value.map { .integer(Int64($0)) } ?? .null }
        func number(_ value: Double?, _ places: Int) -> JSON {
            value.map { .literal(Words.fixed($0, places)) } ?? .null
        }
        var members: [(String, JSON)] = [
            ("framesSent", count(sent.framesSent)), ("framesAnswered", count(sent.framesAnswered)),
            ("framesReceived", count(framesReceived)), ("readingsDecoded", count(readingsDecoded)),
            ("readingsInStore", count(readingsInStore)),
            ("duplicatesInStore", count(duplicatesInStore)), ("unaccounted", count(unaccounted)),
            ("kernelDrops", count(kernelDrops)),
            ("gatewayCpuSeconds", number(gatewayCpuSeconds, 3)),
            ("gatewayCpuNsPerFrame", number(cpuNsPerFrame, 0)),
            ("gatewayPeakRssKb", count(gatewayPeakRssKb)), ("uplinkBytes", count(uplinkBytes)),
            ("uplinkBytesPerReading", number(uplinkBytesPerReading, 3)),
            ("answerLatencyMs", sent.latencies.json), ("wallSeconds", number(sent.wallSeconds, 3)),
            ("datagramsSent", count(sent.datagramsSent)),
            ("datagramsRefused", count(sent.datagramsRefused)),
            ("framesLost", count(sent.framesLost)),
            ("framesDuplicated", count(sent.framesDuplicated)),
            ("framesReordered", count(sent.framesReordered)),
            ("framesRepeated", count(sent.framesRepeated)),
            ("framesAsking", count(sent.framesAsking)),
            ("framesUnanswered", count(sent.framesUnanswered)),
            ("answersUnexpected", count(sent.answersUnexpected)),
            ("answersUnheard", count(sent.answersUnheard)),
            ("framesDecoded", count(framesDecoded)), ("framesDuplicate", count(framesDuplicate)),
            ("framesRejected", count(framesRejected)), ("readingsHeld", count(readingsHeld)),
            ("framesInStore", count(framesInStore)),
            ("readingsStrange", count(readingsStrange)),
            ("readingsExpected", count(readingsExpected)),
            ("strangeExample", strangeExample.map { .string($0) } ?? .null),
            ("answeredMissing", count(answeredMissing)),
            ("answeredTwice", count(answeredTwice)), ("gatewayKills", count(gatewayKills)),
            ("storeKills", count(storeKills)),
            ("senderCpuSeconds", number(sent.senderCpuSeconds, 3)),
            ("framesDelayed", count(sent.framesDelayed)), ("rebinds", count(sent.rebinds)),
            ("datagramsMissing", count(datagramsMissing)),
            ("hasNamespaces", .boolean(isThinned)),
        ]
        if let sinkCpuNsPerFrame {
            members += [
                ("bareSinkCpuNsPerFrame", number(sinkCpuNsPerFrame, 0)),
                ("cpuRatioToBareSink", number(cpuRatio, 2)),
            ]
        }
        if let search {
            members += [
                ("losslessFramesPerSecond", number(search.gateway.framesPerSecond, 0)),
                ("bareSinkFramesPerSecond", number(search.sink.framesPerSecond, 0)),
                ("ratioToBareSink", number(ratioToBareSink, 3)),
                ("search", search.gateway.json), ("bareSinkSearch", search.sink.json),
            ]
        }
        return .object(members)
    }

    /// The gateway's highest rate without loss as a part of the bare sink's.
    var ratioToBareSink: Double? {
        guard let search, search.sink.framesPerSecond > 0 else { return nil }
        return search.gateway.framesPerSecond / search.sink.framesPerSecond
    }

    var cpuNsPerFrame: Double? {
        guard let cpu = gatewayCpuSeconds, let frames = framesReceived, frames > 0 else {
            return nil
        }
        return cpu * 1e9 / Double(frames)
    }

    /// The gateway's CPU time a frame as so many times the bare sink's.
    var cpuRatio: Double? {
        guard let frame = cpuNsPerFrame, let sink = sinkCpuNsPerFrame, sink > 0 else { return nil }
        return frame / sink
    }

    var uplinkBytesPerReading: Double? {
        guard let bytes = uplinkBytes, let readings = readingsInStore, readings > 0 else {
            return nil
        }
        return Double(bytes) / Double(readings)
    }

    /// Drops that a gateway of our own counted beyond what was sent.
    private func excessDrops(_ sent: LoadSummary) -> Int? {
        guard gatewayCpuSeconds != nil else { return nil }
        return kernelDrops.map { max(0, Int(clamping: $0) - sent.datagramsSent) }
    }

    /// What is wrong, in words; empty when all is as it must be.
    func complaints(_ sent: LoadSummary, _ language: Language = .english) -> [String] {
        func clamped(_ value: UInt64?) -> Int? { value.map { Int(clamping: $0) } }
        let all: [(value: Int?, phrase: Phrase)] = [
            (clamped(unaccounted), .wrongUnaccounted), (clamped(readingsHeld), .wrongHeld),
            (duplicatesInStore, .wrongTwice), (readingsStrange, .wrongStrange),
            (answeredMissing, .wrongMissing), (answeredTwice, .wrongAnsweredTwice),
            (sent.framesUnanswered, .wrongUnanswered), (datagramsMissing, .wrongLost),
            (excessDrops(sent), .wrongDrops),
        ]
        return all.compactMap { value, phrase in
            guard let value, value != 0 else { return nil }
            return language(phrase, Words.grouped(value))
        }
    }
}
