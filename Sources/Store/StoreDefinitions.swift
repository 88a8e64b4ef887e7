// How devices and streams of a gateway's catalog get their rows. Within the store's transaction;
// see protocols/uplink.md, entries.

import Model
internal import SQLite
import Uplink

/// Why definitions were not taken.
enum DefinitionFault: Error {
    case sqlite(SQLiteError)
    case goodbye(Goodbye)
}

enum StoreDefinitions {
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

    static func take(
        _ entries: [CatalogEntry], _ state: IncarnationState, limit: Int,
        in database: borrowing Database
    ) throws(DefinitionFault) {
        for entry in entries {
            guard state.devices.count < limit, state.streams.count < limit else {
                throw .goodbye(Goodbye(.refused, "more than \(limit) definitions"))
            }
            switch entry {
            case .device(let device): try take(device, state, database)
            case .stream(let stream): try take(stream, state, database)
            }
        }
    }

    private static func take(
        _ device: Device, _ state: IncarnationState, _ database: borrowing Database
    ) throws(DefinitionFault) {
        let number = device.id.rawValue
        let known = state.devices[number]
        let row: Int64
        do throws(SQLiteError) {
            let insert = try database.prepare(
                """
                INSERT INTO devices(gateway, identity, format, first_seen_at) VALUES(?, ?, ?, ?)
                ON CONFLICT(gateway, identity) DO UPDATE SET format = excluded.format RETURNING id
                """)
            try insert.bind(state.gatewayID ?? 0, at: 1)
            try insert.bind(device.identity, at: 2)
            try insert.bind(device.format, at: 3)
            try insert.bind(device.firstSeenAt.milliseconds, at: 4)
            row = try insert.step() ? insert.int64(0) : 0
            try insert.run()
            if known == nil { try link("device", number, row, state, database) }
        } catch { throw .sqlite(error) }
        guard known == nil || known == row else {
            throw .goodbye(Goodbye(.conflict, "device \(number) is another here"))
        }
        state.devices[number] = row
        state.knownDevice = max(state.knownDevice, number)
    }

    private static func take(
        _ stream: Stream, _ state: IncarnationState, _ database: borrowing Database
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
            let insert = try database.prepare(
                """
                INSERT INTO streams(device, name, quantity, unit, priority) VALUES(?, ?, ?, ?, ?)
                ON CONFLICT(device, name) DO UPDATE SET quantity = excluded.quantity,
                    unit = excluded.unit, priority = excluded.priority RETURNING id
                """)
            try insert.bind(device, at: 1)
            try insert.bind(stream.name, at: 2)
            try insert.bind(stream.quantity, at: 3)
            try insert.bind(stream.unit, at: 4)
            try insert.bind(Int64(stream.priority.rawValue), at: 5)
            row = try insert.step() ? insert.int64(0) : 0
            try insert.run()
            if known == nil { try link("stream", number, row, state, database) }
        } catch { throw .sqlite(error) }
        guard known == nil || known == row else {
            throw .goodbye(Goodbye(.conflict, "stream \(number) is another here"))
        }
        state.streams[number] = row
        state.knownStream = max(state.knownStream, number)
    }

    private static func link(
        _ kind: String, _ number: UInt32, _ row: Int64, _ state: IncarnationState,
        _ database: borrowing Database
    ) throws(SQLiteError) {
        let insert = try database.prepare("INSERT INTO \(kind)_numbers VALUES(?, ?, ?)")
        try insert.bind(state.id ?? 0, at: 1)
        try insert.bind(Int64(number), at: 2)
        try insert.bind(row, at: 3)
        try insert.run()
    }
}
