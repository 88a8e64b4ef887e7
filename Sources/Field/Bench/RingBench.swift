// `sluice bench ring`: nanoseconds a reading through the ring, in batches of 1, 8 and 64, on one thread
// and between two, beside a plain queue in C that takes one element at a time (Sources/CBench/queue.c).
// Owned by the bench verb; the second thread lives for one measurement.

import Formats
import Glibc
import Host
import Model
import Ring

/// The plain queue, which only the field tool's own program has (CBench/include/queue.h).
package struct QueueYardstick: Sendable {
    var reset: @Sendable (UInt64) -> Void
    var alternate: @Sendable (_ rounds: UInt64, _ batch: UInt64) -> UInt64
    var push: @Sendable (UInt64) -> UInt64
    var pop: @Sendable (UInt64) -> UInt64

    package init(
        reset: @escaping @Sendable (UInt64) -> Void,
        alternate: @escaping @Sendable (UInt64, UInt64) -> UInt64,
        push: @escaping @Sendable (UInt64) -> UInt64, pop: @escaping @Sendable (UInt64) -> UInt64
    ) {
        self.reset = reset
        self.alternate = alternate
        self.push = push
        self.pop = pop
    }
}

enum RingBench {
    static let batches = [1, 8, 64]
    private static let capacity = 4096
    private static let perTransfer = 2_000_000
    private static let transfers = 7

    struct Row {
        var threads: Int
        var batch: Int
        var ring: Double
        /// Nil without the yardstick.
        var queue: Double?
        /// Median of the rounds' ratios.
        var ratio: Double?
    }

    static func run(
        _ invocation: Invocation, _ console: Console, _ queue: QueueYardstick?
    ) throws(UsageError) -> RunStatus {
        guard invocation.operands.count == 1 else {
            throw UsageError("bench ring", "takes no file", "leave it out")
        }
        console.progress("measuring…")
        let rows = batches.map { oneThread($0, queue) } + batches.map { twoThreads($0, queue) }
        if invocation.has("json") {
            console.line(json(rows).text(pretty: true))
        } else {
            write(rows, console)
        }
        return .done
    }

    // MARK: One thread

    private static func oneThread(_ batch: Int, _ queue: QueueYardstick?) -> Row {
        let ring = BenchCase(name: "ring") { count in alternate(rounds: count, batch) }
        guard let queue else {
            let result = Stopwatch.measure([ring], allocations: nil)[0]
            return Row(threads: 1, batch: batch, ring: result.nanoseconds / Double(batch))
        }
        queue.reset(UInt64(capacity))
        let plain = BenchCase(name: "queue") { count in
            _ = queue.alternate(UInt64(count), UInt64(batch))
        }
        let results = Stopwatch.measure([plain, ring], allocations: nil)
        return Row(
            threads: 1, batch: batch, ring: results[1].nanoseconds / Double(batch),
            queue: results[0].nanoseconds / Double(batch), ratio: results[1].ratio)
    }

    /// Publishes and drains a batch, `rounds` times.
    private static func alternate(rounds: Int, _ batch: Int) {
        let ring = Ring(capacity: capacity)
        var producer = ring.takeProducer()
        var consumer = ring.takeConsumer()
        let readings = numbered(batch)
        let one = readings[0]
        var sum: UInt64 = 0
        for _ in 0..<rounds {
            _ = batch == 1 ? producer.publish(one) : producer.publish(readings.span)
            _ = consumer.drain(batch) { sum &+= $0[0].bits }
        }
        precondition(sum == UInt64(rounds), "the ring lost a reading")
    }

    private static func numbered(_ count: Int) -> [Reading] {
        (1...count).map { n in
            Reading(
                stream: StreamID(UInt32(n)), value: .decimal(Int64(n)),
                quality: Quality(), observedAt: Timestamp(milliseconds: 0),
                receivedAt: Timestamp(milliseconds: 0))
        }
    }

    // MARK: Two threads

    private static func twoThreads(_ batch: Int, _ queue: QueueYardstick?) -> Row {
        var times: [Double] = []
        var plain: [Double] = []
        for _ in 0..<transfers {
            if let queue {
                queue.reset(UInt64(capacity))
                plain.append(
                    wallNanoseconds { isProducer in
                        let count = UInt64(perTransfer)
                        _ = isProducer ? queue.push(count) : queue.pop(count)
                    })
            }
            let ring = Ring(capacity: capacity)
            times.append(
                wallNanoseconds { isProducer in
                    if isProducer { produce(ring, batch) } else { consume(ring) }
                })
        }
        var row = Row(threads: 2, batch: batch, ring: Stopwatch.median(times))
        if queue != nil {
            row.queue = Stopwatch.median(plain)
            row.ratio = Stopwatch.median(zip(times, plain).map { $0 / $1 })
        }
        return row
    }

    /// Wall time a reading of both ends at work.
    private static func wallNanoseconds(
        _ end: @escaping @Sendable (_ isProducer: Bool) -> Void
    ) -> Double {
        let start = SendingClock.now
        TwoThreads.run { end($0 == 0) }
        return Double(SendingClock.now - start) / Double(perTransfer)
    }

    private static func produce(_ ring: Ring, _ batch: Int) {
        var producer = ring.takeProducer()
        let readings = numbered(batch)
        let one = readings[0]
        var (sent, spins) = (0, 0)
        while sent < perTransfer {
            let isIn =
                batch == 1 ? producer.publish(one) : producer.publish(readings.span)
            if isIn { sent += batch } else { wait(&spins) }
        }
    }

    private static func consume(_ ring: Ring) {
        var consumer = ring.takeConsumer()
        var (seen, spins) = (0, 0)
        var sum: UInt64 = 0
        while seen < perTransfer {
            let count = consumer.drain(256) { span in for i in span.indices { sum &+= span[i].bits }
            }
            seen += count
            if count == 0 { wait(&spins) }
        }
        precondition(sum > 0, "the ring lost its readings")
    }

    /// Where two ends share one core, waiting for ever would be for a whole time slice.
    private static func wait(_ spins: inout Int) {
        spins += 1
        if spins % 1024 == 0 { sched_yield() }
    }

    // MARK: What is printed

    private static func number(_ value: Double) -> JSON { .literal(Words.fixed(value, 2)) }

    private static func json(_ rows: [Row]) -> JSON {
        let cases = rows.map { row in
            JSON.object([
                ("threads", .integer(Int64(row.threads))), ("batch", .integer(Int64(row.batch))),
                ("nsPerReading", number(row.ring)),
                ("queueNsPerReading", row.queue.map(number) ?? .null),
                ("ratioToQueue", row.ratio.map(number) ?? .null),
            ])
        }
        return .object([("nsPerReading", number(rows[0].ring)), ("cases", .array(cases))])
    }

    private static func write(_ rows: [Row], _ console: Console) {
        var table = Table([
            ("threads", .right), ("a batch", .right), ("ns a reading", .right),
            ("plain queue", .right), ("to it", .right),
        ])
        for row in rows {
            table.add([
                "\(row.threads)", "\(row.batch)", Words.fixed(row.ring, 2),
                row.queue.map { Words.fixed($0, 2) } ?? "not here",
                row.ratio.map { Words.fixed($0, 2) + " ×" } ?? "not here",
            ])
        }
        table.write(to: console)
    }
}
