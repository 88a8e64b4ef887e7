// The configuration file: what is wrong is said with its place, what is right is what was written.

import Catalog
import Formats
import Host
import Model
import Testing

@Suite struct ConfigurationTests {
    private func complaints(_ text: String) -> [String] {
        do {
            _ = try Configuration.parse(Array(text.utf8), file: "c")
            return []
        } catch {
            return error.all.map(\.description)
        }
    }

    @Test(
        "says what is wrong, where, and what to write",
        arguments: [
            ("{ gatway: \"x\" }", "c:1:3: unknown key \"gatway\": write \"gateway\""),
            (
                "{\n  batch: { intervall: \"10s\" } }",
                "c:2:12: unknown key \"intervall\": write \"interval\""
            ),
            (
                "{ nonsense: 1 }",
                "c:1:3: unknown key \"nonsense\": known here: gateway, formats, "
                    + "keys, sources, batch, spool, store, admin, limits, uplink"
            ),
            (
                "{ interval: \"1s\" }",
                "c:1:3: unknown key \"interval\" here: it belongs into \"batch\""
            ),
            (
                "{ gateway: \"a b\" }",
                "c:1:12: \"gateway\" cannot be \"a b\": write a name: letters, digits, . _ -, "
                    + "at most 64"
            ),
            (
                "{ gateway: 7 }",
                "c:1:12: \"gateway\" cannot be 7: write a name: letters, digits, . _ -, at most 64"
            ),
            ("[]", "c:1:1: the configuration is an array: write an object: { … }"),
            ("{ batch: 10 }", "c:1:10: \"batch\" is a number: write an object: { … }"),
            ("{ sources: {} }", "c:1:12: \"sources\" cannot be an object: write a list: [ … ]"),
            (
                "{ batch: { interval: 10 } }",
                "c:1:22: \"batch.interval\" cannot be 10: write a duration from \"100ms\" to \"1h\""
            ),
            (
                "{ batch: { interval: \"2h\" } }",
                "c:1:22: \"batch.interval\" cannot be \"2h\": write a duration from \"100ms\" "
                    + "to \"1h\""
            ),
            (
                "{ spool: { maximumBytes: \"1 GB\" } }",
                "c:1:26: \"spool.maximumBytes\" cannot be \"1 GB\": write a size from \"8MB\" to "
                    + "\"16TB\""
            ),
            (
                "{ limits: { devices: 0 } }",
                "c:1:22: \"limits.devices\" cannot be 0: write a whole number from 1 to 10000000"
            ),
            (
                "{ limits: { devices: 1.5 } }",
                "c:1:22: \"limits.devices\" cannot be 1.5: write a whole number from 1 to 10000000"
            ),
            (
                "{ store: { address: \"9100\" } }",
                "c:1:21: \"store.address\" cannot be \"9100\": write \"HOST:PORT\""
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"tcp://127.0.0.1:1\", exchange: \"coap\" } ] }",
                "c:1:66: \"exchange\" is for UDP: listen on udp://…, or leave it out"
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:1\", exchange: \"coap\","
                    + " paths: { \"t/r\": \"f\" } } ] }",
                "c:1:83: \"t/r\" is no path: begin with / and do not end with it: \"/t/r\""
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:1\", exchange: \"coap\","
                    + " observe: [\"/3/0\"] } ] }",
                "c:1:83: \"observe\" means nothing here: write exchange: \"lwm2m\" beside it"
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:1\", exchange: \"lwm2m\","
                    + " observe: [\"/3/x\"] } ] }",
                "c:1:85: \"/3/x\" is no LwM2M path: write object, instance and resource: "
                    + "\"/3303/0/5700\""
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:1\", exchange: \"mqtt-sn\","
                    + " topics: { \"a/#/b\": \"f\" } } ] }",
                "c:1:87: \"a/#/b\" is no topic filter: + stands for one whole level, # for all "
                    + "that follow, at the end"
            ),
            (
                "{ sources: [ { listen: \"udp://127.0.0.1:1\" } ] }",
                "c:1:14: no \"name\" here: add it: Name of the source, unique."
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"http://127.0.0.1:1\" } ] }",
                "c:1:35: \"sources.listen\" cannot be \"http://127.0.0.1:1\": write "
                    + "\"udp://ADDRESS:PORT\" or \"tcp://ADDRESS:PORT\", numeric"
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://0.0.0.0:1\" } ] }",
                "c:1:35: udp://0.0.0.0:1 can be reached from other machines: listen on 127.0.0.1, "
                    + "or write exposed: true beside it if that is meant"
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://[::]:1\" } ] }",
                "c:1:35: udp://[0:0:0:0:0:0:0:0]:1 can be reached from other machines: listen on "
                    + "127.0.0.1, or write exposed: true beside it if that is meant"
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:1\", devices: \"all\" } ] }",
                "c:1:65: \"sources.devices\" cannot be \"all\": write \"accept\" or \"quarantine\" "
                    + "or \"reject\""
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:1\" },\n"
                    + " { name: \"a\", listen: \"udp://127.0.0.1:2\" } ] }",
                "c:2:10: two sources are named \"a\": give each its own name"
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:1\" },\n"
                    + " { name: \"b\", listen: \"udp://127.0.0.1:1\" } ] }",
                "c:2:23: source \"a\" listens on udp://127.0.0.1:1 already: choose another port"
            ),
            (
                "{ sources: [ { name: \"a\", listen: \"tcp://127.0.0.1:1\",\n connections: 5, "
                    + "connectionsPerAddress: 6 } ] }",
                "c:2:41: more connections from one address than in all (5): raise \"connections\" "
                    + "or lower this"
            ),
            (
                "{ admin: { http: \"192.0.2.1:80\" } }",
                "c:1:18: 192.0.2.1:80 can be reached from other machines: listen on 127.0.0.1 and "
                    + "put a proxy with a login before it: there is none here"
            ),
            ("{ gateway: \"a\" ", "c:1:1: object without end: write }"),
        ])
    func wrong(text: String, complaint: String) {
        #expect(complaints(text) == [complaint])
    }

    @Test("collects all complaints in the order of their places")
    func several() {
        let all = complaints("{ a: 1,\n batch: { interval: 1, readings: \"x\" },\n gateway: {} }")
        #expect(all.count == 4)
        #expect(all.map { $0.prefix(3) } == ["c:1", "c:2", "c:2", "c:3"])
    }

    @Test("every key that is written arrives")
    func complete() throws {
        let text = """
            { gateway: "g-1", formats: "/f", batch: { interval: "250ms", readings: 1000,
              bucket: "1m" }, spool: { directory: "/s", maximumBytes: "64MB",
              duplicateWindow: "1h" }, store: { address: "[2001:db8::1]:9100" },
              admin: { socket: "/a.sock", http: "127.0.0.1:8080" },
              limits: { devices: 5, streams: 6 },
              sources: [ { name: "a", listen: "tcp://[::1]:9", formats: ["x-1", "y"],
                devices: "reject", unnamed: "d-9", exposed: true, receiveBuffer: "1MB",
                moderation: "1ms", idleTimeout: "2h", firstFrameTimeout: "5s", connections: 7,
                connectionsPerAddress: 3, timestamps: { maximumAge: "2d", maximumAhead: "0",
                action: "drop" } } ] }
            """
        var wanted = Configuration()
        wanted.gateway = "g-1"
        wanted.formats = "/f"
        wanted.batch.interval = 250
        wanted.batch.readings = 1000
        wanted.batch.bucket = 60_000
        wanted.spool.directory = "/s"
        wanted.spool.maximumBytes = 64 << 20
        wanted.spool.duplicateWindow = 3_600_000
        wanted.store.address = HostPort(host: "2001:db8::1", port: 9100)
        wanted.admin.socket = "/a.sock"
        wanted.admin.http = .ipv4(0x7F00_0001, port: 8080)
        wanted.limits.devices = 5
        wanted.limits.streams = 6
        var source = Configuration.Source(
            name: "a",
            listen: .init(transport: .tcp, endpoint: Endpoint(high: 0, low: 1, port: 9)))
        source.formats = ["x-1", "y"]
        source.devices = .reject
        source.unnamed = "d-9"
        source.isExposed = true
        source.receiveBuffer = 1 << 20
        source.moderation = 1
        source.idleTimeout = 7_200_000
        source.firstFrameTimeout = 5000
        source.connections = 7
        source.connectionsPerAddress = 3
        source.timestamps.maximumAge = 172_800_000
        source.timestamps.maximumAhead = 0
        source.timestamps.action = .drop
        wanted.sources = [source]
        #expect(try Configuration.parse(Array(text.utf8), file: "c") == wanted)
    }

    @Test("without a file it listens on loopback only and accepts devices")
    func standard() throws {
        let standard = Configuration.default
        #expect(standard.sources.map(\.listen.transport) == [.udp, .tcp])
        #expect(standard.sources.allSatisfy { $0.listen.endpoint.isLoopback && !$0.isExposed })
        #expect(standard.sources.allSatisfy { $0.devices == .accept })
        #expect(standard.store.address == nil && standard.admin.http == nil)
        #expect(StoreConfiguration.default.listen.isLoopback)
    }

    @Test("an exposed source quarantines strangers and takes 64 connections an address")
    func exposed() throws {
        let text = "{ sources: [ { name: \"a\", listen: \"udp://0.0.0.0:1\", exposed: true } ] }"
        let source = try Configuration.parse(Array(text.utf8), file: "c").sources[0]
        #expect(source.devices == .quarantine && source.connectionsPerAddress == 64)
    }

    @Test("the store refuses exposure too")
    func storeExposure() {
        let text = "{ listen: \"0.0.0.0:9100\" }"
        let error = #expect(throws: Complaints.self) {
            _ = try StoreConfiguration.parse(Array(text.utf8), file: "c")
        }
        #expect(error?.all.count == 1)
        #expect(error?.all.first?.column == 11)
    }

    @Test("a file that cannot be read is a complaint")
    func missingFile() {
        let error = #expect(throws: Complaints.self) {
            _ = try Configuration.load("/no/such/file.json5")
        }
        #expect(
            error?.all.first?.description
                == "/no/such/file.json5:1:1: cannot read the file: No such file or directory: "
                + "check the path and its permissions")
    }

    @Test("no text makes the reader trap: prefixes and mutations of a full file")
    func hostile() {
        let text = Array(Configuration.defaultText().utf8)
        for end in stride(from: 0, through: text.count, by: 97) {
            _ = try? Configuration.parse(Array(text[..<end]), file: "c")
        }
        var state: UInt64 = 2026
        func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 33
        }
        for _ in 0..<60 {
            var mutated = text
            for _ in 0..<(1 + next() % 4) {
                mutated[Int(next() % UInt64(text.count))] = UInt8(truncatingIfNeeded: next())
            }
            _ = try? Configuration.parse(mutated, file: "c")
        }
    }

    @Test(
        "durations and sizes",
        arguments: [
            ("0", 0), ("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000),
            ("30d", 2_592_000_000),
        ])
    func durations(text: String, milliseconds: Int64) {
        #expect(parseDuration(text) == milliseconds)
        #expect(durationText(milliseconds) == text)
    }

    @Test(
        "texts that are no duration and no size",
        arguments: [
            "", "10", "s", "-1s", "1.5s", "10 s", "10sec", "9223372036854775807d", "1e3s", "٣s",
        ])
    func noDuration(text: String) {
        #expect(parseDuration(text) == nil)
        #expect(parseSize(text + "X") == nil)
        #expect(parseSize("99999999999TB") == nil)
        #expect(parseSize("64MB") == 64 << 20)
    }
}
