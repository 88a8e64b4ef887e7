// What can be asked of a store and what it answers: the same filter and row whether the store's
// folder is opened or the store is asked over the network. Values only.

package import Model

/// Which readings are wanted; nil: any. Texts are compared exactly.
package struct QueryFilter: Hashable, Sendable {
    package var gateway: String?
    /// The identity printed on the device.
    package var device: String?
    /// The stream's name within its device.
    package var stream: String?
    /// Observed at or after.
    package var from: Timestamp?
    /// Observed before.
    package var to: Timestamp?
    /// Most rows in all.
    package var limit: Int

    package init(
        gateway: String? = nil, device: String? = nil, stream: String? = nil,
        from: Timestamp? = nil, to: Timestamp? = nil, limit: Int = 1000
    ) {
        self.gateway = gateway
        self.device = device
        self.stream = stream
        self.from = from
        self.to = to
        self.limit = limit
    }
}

/// Place of a row in the order (stream, observed, row) in which a store answers.
package struct RowPosition: Hashable, Comparable, Sendable {
    /// The store's number of the stream.
    package var stream: UInt64
    package var observedAt: Timestamp
    package var row: UInt64

    package init(stream: UInt64, observedAt: Timestamp, row: UInt64) {
        self.stream = stream
        self.observedAt = observedAt
        self.row = row
    }

    package static func < (a: RowPosition, b: RowPosition) -> Bool {
        (a.stream, a.observedAt, a.row) < (b.stream, b.observedAt, b.row)
    }
}

/// One reading in a store with its names.
package struct StoredReading: Hashable, Sendable {
    package var gateway: String
    package var device: String
    package var stream: String
    package var quantity: String
    package var unit: String
    package var position: RowPosition
    package var receivedAt: Timestamp
    package var value: Value
    package var quality: Quality
    package var batchSequence: UInt64
    package var revision: UInt32

    package init(
        gateway: String, device: String, stream: String, quantity: String, unit: String,
        position: RowPosition, receivedAt: Timestamp, value: Value, quality: Quality,
        batchSequence: UInt64, revision: UInt32
    ) {
        self.gateway = gateway
        self.device = device
        self.stream = stream
        self.quantity = quantity
        self.unit = unit
        self.position = position
        self.receivedAt = receivedAt
        self.value = value
        self.quality = quality
        self.batchSequence = batchSequence
        self.revision = revision
    }

    package var observedAt: Timestamp { position.observedAt }
}

/// A filter on the wire, with the place to go on from.
package struct Query: Hashable, Sendable {
    package var token: UInt32
    package var filter: QueryFilter
    package var after: RowPosition?

    package init(token: UInt32, filter: QueryFilter, after: RowPosition?) {
        self.token = token
        self.filter = filter
        self.after = after
    }
}

/// A part of the answer to a query.
package struct Rows: Hashable, Sendable {
    package var token: UInt32
    /// More may follow after the last row: ask again from there.
    package var hasMore: Bool
    /// The last frame of this answer.
    package var isEnd: Bool
    package var rows: [StoredReading]

    package init(token: UInt32, hasMore: Bool, isEnd: Bool, rows: [StoredReading]) {
        self.token = token
        self.hasMore = hasMore
        self.isEnd = isEnd
        self.rows = rows
    }
}

/// A reader's side of one query over the network, without sockets: send `opening` once connected,
/// give every received byte to `receive`, send what it returns, until `isDone`.
package struct QueryClient {
    package enum Failure: Error, Hashable, Sendable {
        case wire(WireError)
        /// The store ended the conversation.
        case goodbye(Goodbye)
        /// A frame that does not belong here.
        case unexpected
    }

    package private(set) var isDone = false
    /// Rows still wanted by the filter's limit.
    private var wanted: Int
    private let filter: QueryFilter
    private let name: String
    private let software: String
    private var reader = FrameReader(side: .peer)
    private var token: UInt32 = 0

    package init(filter: QueryFilter, name: String, software: String) {
        self.filter = filter
        self.name = name
        self.software = software
        wanted = max(0, filter.limit)
    }

    /// The first bytes to send.
    package var opening: [UInt8] {
        UplinkFrame.hello(
            Hello(
                role: .reader, incarnation: Incarnation(high: 0, low: 0), name: name,
                software: software)
        ).encoded()
    }

    /// New rows in the store's order, and bytes to send to the store.
    package mutating func receive(
        _ bytes: [UInt8]
    ) throws(Failure) -> (rows: [StoredReading], send: [UInt8]) {
        reader.append(bytes)
        var rows: [StoredReading] = []
        var send: [UInt8] = []
        while !isDone {
            let frame: UplinkFrame?
            do throws(WireError) { frame = try reader.next() } catch { throw .wire(error) }
            switch frame {
            case nil: return (rows, send)
            case .welcome: send += ask(after: nil)
            case .rows(let part) where part.token == token && token > 0:
                let taken = part.rows.prefix(wanted)
                rows += taken
                wanted -= taken.count
                guard part.isEnd else { continue }
                if part.hasMore, wanted > 0, let last = part.rows.last {
                    send += ask(after: last.position)
                } else {
                    isDone = true
                    send += UplinkFrame.goodbye(Goodbye(.closing, "")).encoded()
                }
            case .goodbye(let reason): throw .goodbye(reason)
            default: throw .unexpected
            }
        }
        return (rows, send)
    }

    private mutating func ask(after: RowPosition?) -> [UInt8] {
        token += 1
        var part = filter
        part.limit = min(wanted, UplinkProtocol.rowsPerQuery)
        return UplinkFrame.query(Query(token: token, filter: part, after: after)).encoded()
    }
}
