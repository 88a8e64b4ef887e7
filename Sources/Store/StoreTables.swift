// The store's file, `store.sqlite`: tables for ingest, one view for people. Opened WAL, FULL,
// NORMAL locking, so anybody may read it with `sqlite3 -readonly` while the store runs.
//
//     SELECT observed_at, value, unit FROM readings
//     WHERE device = '860123456789012' AND stream = 'voltage_a' AND observed_ms >= 1795000000000;
//
//     gateways        one row a gateway name
//     incarnations    of a gateway; numbers and sequences have their meaning within one
//     committed       runs of sequences on disk, for idempotency (never pruned with old batches)
//     devices         identity on the label, within its gateway
//     streams         one quantity of a device
//     device_numbers  catalog number in an incarnation -> device; stream_numbers likewise
//     batches         what arrived as one: sequence, bucket, revision, first row of its readings
//     fresh_readings  as they came: row numbers rise, nothing is searched on insert
//     settled_readings  moved there in idle moments, ordered by stream and time
//     readings (view) both with their names: ISO times, value as REAL, quality in words
//
// Measured why (this machine, 20,000 streams, rows/s of CPU): append to fresh 1,100,000; with an
// index on (stream, time), or the table ordered so, 200,000 and falling, because each row lands on
// another page.
//
// A value is exact: `kind` (Model.Value.Kind) says how to read `mantissa`: 1 decimal = mantissa ×
// 10^exponent, 2 double (REAL; INTEGER holds the bits of a NaN), 3 boolean, 4 code, 0 none (NULL).
// `delay` = received − observed, ms. `quality` = Model.Quality's bits.

import Model
internal import SQLite

enum StoreTables {
    /// Version of this layout in `PRAGMA user_version`.
    static let version: Int64 = 1
    /// "SLST", so that `file` tells a store from a spool.
    static let applicationID: Int64 = 0x534C_5354

    static let create = """
        CREATE TABLE gateways(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
            software TEXT NOT NULL, first_seen_at INTEGER NOT NULL, last_seen_at INTEGER NOT NULL);
        CREATE TABLE incarnations(id INTEGER PRIMARY KEY,
            gateway INTEGER NOT NULL REFERENCES gateways, incarnation BLOB NOT NULL,
            first_seen_at INTEGER NOT NULL, UNIQUE(gateway, incarnation));
        CREATE TABLE committed(incarnation INTEGER NOT NULL, first INTEGER NOT NULL,
            last INTEGER NOT NULL, PRIMARY KEY(incarnation, first)) WITHOUT ROWID;
        CREATE TABLE devices(id INTEGER PRIMARY KEY,
            gateway INTEGER NOT NULL REFERENCES gateways, identity TEXT NOT NULL,
            format TEXT NOT NULL, first_seen_at INTEGER NOT NULL, UNIQUE(gateway, identity));
        CREATE INDEX devices_by_identity ON devices(identity);
        CREATE TABLE streams(id INTEGER PRIMARY KEY,
            device INTEGER NOT NULL REFERENCES devices, name TEXT NOT NULL,
            quantity TEXT NOT NULL, unit TEXT NOT NULL, priority INTEGER NOT NULL,
            UNIQUE(device, name));
        CREATE TABLE device_numbers(incarnation INTEGER NOT NULL, number INTEGER NOT NULL,
            device INTEGER NOT NULL, PRIMARY KEY(incarnation, number)) WITHOUT ROWID;
        CREATE TABLE stream_numbers(incarnation INTEGER NOT NULL, number INTEGER NOT NULL,
            stream INTEGER NOT NULL, PRIMARY KEY(incarnation, number)) WITHOUT ROWID;
        CREATE TABLE batches(id INTEGER PRIMARY KEY,
            incarnation INTEGER NOT NULL REFERENCES incarnations, sequence INTEGER NOT NULL,
            bucket_start INTEGER NOT NULL, bucket_ms INTEGER NOT NULL, revision INTEGER NOT NULL,
            priority INTEGER NOT NULL, readings INTEGER NOT NULL, bytes INTEGER NOT NULL,
            fingerprint INTEGER NOT NULL, first_observed_at INTEGER NOT NULL,
            last_observed_at INTEGER NOT NULL, received_at INTEGER NOT NULL,
            first_row INTEGER NOT NULL, UNIQUE(incarnation, sequence));
        CREATE TABLE fresh_readings(id INTEGER PRIMARY KEY, batch INTEGER NOT NULL,
            stream INTEGER NOT NULL, observed_at INTEGER NOT NULL, delay INTEGER NOT NULL,
            mantissa, exponent INTEGER NOT NULL, kind INTEGER NOT NULL, quality INTEGER NOT NULL);
        CREATE TABLE settled_readings(stream INTEGER NOT NULL, observed_at INTEGER NOT NULL,
            id INTEGER NOT NULL, batch INTEGER NOT NULL, delay INTEGER NOT NULL,
            mantissa, exponent INTEGER NOT NULL, kind INTEGER NOT NULL, quality INTEGER NOT NULL,
            PRIMARY KEY(stream, observed_at, id)) WITHOUT ROWID;
        """

    /// The view, written anew at each start because the words of quality may have grown.
    static var view: String {
        "DROP VIEW IF EXISTS readings; CREATE VIEW readings AS "
            + arm("settled_readings") + " UNION ALL " + arm("fresh_readings")
    }

    /// Each arm is a whole join, so that SQLite pushes a reader's WHERE down into both.
    private static func arm(_ table: String) -> String {
        """
        SELECT g.name AS gateway, d.identity AS device, s.name AS stream, s.quantity AS quantity,
            \(iso("r.observed_at")) AS observed_at,
            CASE r.kind WHEN 1 THEN CAST(r.mantissa || 'e' || r.exponent AS REAL)
                WHEN 2 THEN iif(typeof(r.mantissa) = 'real', r.mantissa, NULL)
                ELSE r.mantissa END AS value,
            s.unit AS unit, \(quality) AS quality,
            \(iso("(r.observed_at + r.delay)")) AS received_at,
            r.observed_at AS observed_ms, r.observed_at + r.delay AS received_ms,
            r.mantissa AS mantissa, r.exponent AS exponent,
            CASE r.kind WHEN 0 THEN 'none' WHEN 1 THEN 'decimal' WHEN 2 THEN 'double'
                WHEN 3 THEN 'boolean' ELSE 'code' END AS kind,
            b.sequence AS sequence, b.revision AS revision, r.id AS row
        FROM \(table) r JOIN streams s ON s.id = r.stream JOIN devices d ON d.id = s.device
            JOIN gateways g ON g.id = d.gateway JOIN batches b ON b.id = r.batch
        """
    }

    private static func iso(_ milliseconds: String) -> String {
        "strftime('%Y-%m-%dT%H:%M:%fZ', \(milliseconds) / 1000.0, 'unixepoch')"
    }

    private static var quality: String {
        let words = Quality.names.map {
            "iif(r.quality & \($0.bit.rawValue), '+\($0.code)', '')"
        }
        return "iif(r.quality = 0, 'good', ltrim(\(words.joined(separator: " || ")), '+'))"
    }

    /// What makes a file with these tables a store.
    static var mark: String {
        "\(view); PRAGMA application_id = \(applicationID); PRAGMA user_version = \(version)"
    }

    /// Reads something of every table and of every index that ingest needs, so that damage at their roots
    /// is met before gateways come.
    static func look(_ database: borrowing Database) throws(SQLiteError) {
        guard try number(database, "user_version") == version else { return }
        for name in [
            "gateways", "incarnations", "committed", "devices", "streams", "device_numbers",
            "stream_numbers", "batches", "fresh_readings", "settled_readings",
        ] {
            do throws(SQLiteError) {
                _ = try database.prepare("SELECT * FROM \(name) LIMIT 1").step()
            } catch {
                // A table that is not there any more.
                guard error.primaryCode == 1 else { throw error }
                throw SQLiteError(code: 11, what: error.what, message: error.message)
            }
        }
        _ = try database.prepare("SELECT id FROM batches ORDER BY id DESC LIMIT 1").step()
        _ = try database.prepare("SELECT id FROM fresh_readings ORDER BY id DESC LIMIT 1").step()
    }

    /// Makes the tables in a new file; refuses a file of another program or version.
    static func prepare(_ database: borrowing Database) throws(StoreError) {
        do throws(SQLiteError) {
            let found = try number(database, "user_version")
            let program = try number(database, "application_id")
            if found == version, program == applicationID {
                try database.execute(view)
                return
            }
            guard found == 0, program == 0 else { throw otherFile(found) }
            try database.execute(
                """
                BEGIN IMMEDIATE; \(create) \(mark); COMMIT
                """)
        } catch {
            throw error.what == otherFileMark ? .otherVersion(error.message) : .sqlite(error)
        }
    }

    /// Refuses a file that is no store of this version.
    static func check(_ database: borrowing Database) throws(StoreError) {
        do throws(SQLiteError) {
            let found = try number(database, "user_version")
            guard found == version, try number(database, "application_id") == applicationID else {
                throw otherFile(found)
            }
        } catch {
            throw error.what == otherFileMark ? .otherVersion(error.message) : .sqlite(error)
        }
    }

    private static let otherFileMark = "layout"

    private static func otherFile(_ found: Int64) -> SQLiteError {
        SQLiteError(
            code: 1, what: otherFileMark, message: "layout \(found), this program has \(version)")
    }

    private static func number(
        _ database: borrowing Database, _ pragma: String
    ) throws(SQLiteError) -> Int64 {
        Int64(try database.setting(pragma: pragma)) ?? 0
    }
}
