// What a support bundle leaves out, text by text.

import Formats
import Model
import Testing

@testable import Field

@Suite("Support bundle") struct BundleTests {
    private func redaction(_ configuration: String) -> (Redaction, String) {
        var redaction = Redaction()
        let kept = redaction.configuration(Array(configuration.utf8))
        return (redaction, kept?.text() ?? "")
    }

    @Test("a configuration keeps what our table knows and nothing else")
    func configuration() {
        let (_, text) = redaction(
            """
            { // mine
              gateway: "east-7", apiToken: "s3cr3t-token", batch: { interval: "5s", magic: 77 },
              sources: [{ name: "a", listen: "udp://10.1.2.3:9001", exposed: true,
                paths: { "/t/r": "dlt645" }, receiveBuffer: 0x1000 }] }
            """)
        #expect(
            text == """
                {"gateway":"east-7","***":"***","batch":{"interval":"5s","***":"***"},\
                "sources":[{"name":"a","listen":"udp://10.1.2.3:9001","exposed":true,\
                "paths":{"/t/r":"dlt645"},"receiveBuffer":4096}]}
                """)
    }

    @Test("strangers' addresses are masked in every text, our own and loopback are not")
    func addresses() {
        let (redaction, _) = redaction(
            """
            { store: { address: "10.1.2.3:9100" },
              sources: [{ name: "a", listen: "udp://[2001:db8::5]:9001" }] }
            """)
        for (before, after) in [
            ("from 203.0.113.9:4711 at 12:20:03", "from x.x.x.x:4711 at 12:20:03"),
            ("203.0.113.9", "x.x.x.x"), ("by 203.0.113.9.", "by x.x.x.x."),
            ("store 10.1.2.3:9100: refused", "store 10.1.2.3:9100: refused"),
            ("127.0.0.1:80 0.0.0.0 ::", "127.0.0.1:80 0.0.0.0 ::"),
            ("[2001:db8::77]:9 2001:db8::5", "[x.x.x.x]:9 2001:db8::5"),
            (
                "sluice 0.1.0, bad.cafe, 2026-11-22T12:20:03",
                "sluice 0.1.0, bad.cafe, 2026-11-22T12:20:03"
            ),
        ] {
            #expect(redaction.text(before) == after)
        }
    }

    @Test("secrets of the key file are struck out of every text, whatever their case")
    func keys() {
        var (redaction, _) = redaction("{}")
        redaction.takeSecrets(
            of: Array("{ keys: { \"*\": \"00112233445566778899AABBCCDDEEFF\" } }".utf8))
        for text in ["00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF"] {
            #expect(redaction.text("key \(text) used") == "key *** used")
        }
        #expect(redaction.text("say \"what they wrote\" here", isLog: true) == "say \"***\" here")
    }

    @Test("a tar has whole blocks, its sums are right, and gzip's output is the same every time")
    func tar() {
        for size in [0, 1, 511, 512, 513, 70_000] {
            var tar = TarArchive()
            tar.add("f/a.txt", [UInt8](repeating: 65, count: size), seconds: 1_700_000_000)
            tar.end()
            #expect(tar.bytes.count == 512 + (size + 511) / 512 * 512 + 1024)
            var header = Array(tar.bytes[..<512])
            let written = String(decoding: header[148..<154], as: UTF8.self)
            for i in 148..<156 { header[i] = 0x20 }
            #expect(Int(written, radix: 8) == header.reduce(0) { $0 + Int($1) })
            #expect(String(decoding: header[257..<262], as: UTF8.self) == "ustar")
        }
    }
}
