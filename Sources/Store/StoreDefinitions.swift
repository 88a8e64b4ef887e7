// How devices and streams of a gateway's catalog get their rows. Owned by the Store, called within its
// transactions: a gateway that begins anew sends all it has, so the statements are prepared once. See
// protocols/uplink.md, entries.

import Model
internal import SQLite
import Uplink

/// Why definitions were not taken.
enum DefinitionFault: Error {
    case sqlite(SQLiteError)
    case goodbye(Goodbye)
}

final class StoreDefinitions {
    private let insertDevice: Statement
    private let insertStream: Statement
    private let insertDeviceNumber: Statement
    private let insertStreamNumber: Statement

    init(_ database: borrowing Database) throws(SQLiteError) {
        insertDevice = try database.prepare(
            """
            INSERT INTO devices(gateway, identity, format, first_seen_at) VALUES(?, ?, ?, ?)
            ON CONFLICT(gateway, identity) DO UPDATE SET format = excluded.format RETURNING id
            """)
        insertStream = try database.prepare(
            """
            INSERT INTO streams(device, name, quantity, unit, priority) VALUES(?, ?, ?, ?, ?)
            ON CONFLICT(device, name) DO UPDATE SET quantity = excluded.quantity,
                unit = excluded.unit, priority = excluded.priority RETURNING id
            """)
        insertDeviceNumber = try database.prepare("INSERT INTO device_numbers VALUES(?, ?, ?)")
        insertStreamNumber = try database.prepare("INSERT INTO stream_numbers VALUES(?, ?, ?)")
    }

    /// Rows for the gateway and its incarnation, when they are not there.
    static func register(
        _ state: IncarnationState, software: String, now: Timestamp,
        in database: borrowing Database
    ) throws(SQLiteError) {
        let gateway = try database.prepare(
            """
            INSERT INTO gateways(name, software, first_seen_at, last_seen_at) VALUES(?1, ?2, ?3, ?3)
            ON CONFLICT(name) DO UPDATE SET software = ?2, last_seen_at = ?3 RETURNING id
            """)
        try gateway.bind(state.gateway, at: 1)
        try gateway.bind(software, at: 2)
        try gateway.bind(now.milliseconds, at: 3)
        guard try gateway.step() else { return }
        let gatewayID = gateway.int64(0)
        try gateway.run()
        state.gatewayID = gatewayID
        guard state.id == nil else { return }
        let incarnation = try database.prepare(
            "INSERT INTO incarnations(gateway, incarnation, first_seen_at) VALUES(?, ?, ?)")
        try incarnation.bind(gatewayID, at: 1)
        try incarnation.bind(state.incarnation.bytes, at: 2)
        try incarnation.bind(now.milliseconds, at: 3)
        try incarnation.run()
        state.id = database.lastInsertRowID
    }

    func take(
        _ entries: [CatalogEntry], _ state: IncarnationState, limit: Int
    ) throws(DefinitionFault) {
        for entry in entries {
            guard state.devices.count < limit, state.streams.count < limit else {
                throw .goodbye(Goodbye(.refused, "more than \(limit) definitions"))
            }
            switch entry {
            case .device(let device): try take(device, state)
            case .stream(let stream): try take(stream, state)
            }
        }
    }

    private func take(
        _ device: Device, _ state: IncarnationState
    ) throws(DefinitionFault) {
        let number = device.id.rawValue
        let known = state.devices[number]
        let row: Int64
        do throws(SQLiteError) {
            try insertDevice.bind(state.gatewayID ?? 0, at: 1)
            try insertDevice.bind(device.identity, at: 2)
            try insertDevice.bind(device.format, at: 3)
            try insertDevice.bind(device.firstSeenAt.milliseconds, at: 4)
            row = try StoreDefinitions.row(insertDevice)
            if known == nil { try link(insertDeviceNumber, number, row, state) }
        } catch { throw .sqlite(error) }
        guard known == nil || known == row else {
            throw .goodbye(Goodbye(.conflict, "device \(number) is another here"))
        }
        state.devices.set(row, for: number)
    }

    private func take(
        _ stream: Stream, _ state: IncarnationState
    ) throws(DefinitionFault) {
        let number = stream.id.rawValue
        guard let device = state.devices[stream.device.rawValue] else {
            throw .goodbye(
                Goodbye(
                    .malformed, "stream \(number) of an undefined device \(stream.device.rawValue)")
            )
        }
        let known = state.streams[number]
        let row: Int64
        do throws(SQLiteError) {
            try insertStream.bind(device, at: 1)
            try insertStream.bind(stream.name, at: 2)
            try insertStream.bind(stream.quantity, at: 3)
            try insertStream.bind(stream.unit, at: 4)
            try insertStream.bind(Int64(stream.priority.rawValue), at: 5)
            row = try StoreDefinitions.row(insertStream)
            if known == nil { try link(insertStreamNumber, number, row, state) }
        } catch { throw .sqlite(error) }
        guard known == nil || known == row else {
            throw .goodbye(Goodbye(.conflict, "stream \(number) is another here"))
        }
        state.streams.set(row, for: number)
    }

    /// Runs an insertion that answers the number of its row.
    private static func row(_ insert: borrowing Statement) throws(SQLiteError) -> Int64 {
        guard try insert.step() else {
            throw SQLiteError(code: 11, what: "definitions", message: "no row was inserted")
        }
        let row = insert.int64(0)
        try insert.run()
        return row
    }

    private func link(
        _ insert: borrowing Statement, _ number: UInt32, _ row: Int64, _ state: IncarnationState
    ) throws(SQLiteError) {
        try insert.bind(state.id ?? 0, at: 1)
        try insert.bind(Int64(number), at: 2)
        try insert.bind(row, at: 3)
        try insert.run()
    }
}
