// The unit files as they are shipped: systemd finds nothing to complain about, and little that they leave
// open (systemd-analyze(1), `security --offline`: 0 is nothing, 10 is everything).

import Field
import Host
import TestSupport
import Testing

@Suite("units", .enabled(if: Shell.has("systemd-analyze")))
struct UnitTests {
    private static let folder = Place.root + "/systemd"
    private static let units = ["sluiced.service", "sluiced.socket", "sluice-store.service"]

    /// A copy of the units whose programs are there.
    private func copies() throws -> Folder {
        let copies = try Folder()
        for unit in UnitTests.units {
            let text = String(
                decoding: try Files.read("\(UnitTests.folder)/\(unit)"), as: UTF8.self)
            // verify looks for each program.
            let there = text.replacing("/usr/bin/sluice", with: "/bin/true --sluice")
            _ = try copies.write(there, to: unit)
        }
        return copies
    }

    @Test("systemd-analyze verify is silent")
    func verify() throws {
        let copies = try copies()
        let said = Shell.run(
            "cd '\(copies.path)' && systemd-analyze verify --man=no ./*.service ./*.socket")
        #expect(said.status == 0)
        #expect(said.output.isEmpty, "\(said.output)")
    }

    @Test("verify would complain about a key that systemd does not know")
    func verifyIsAwake() throws {
        let copies = try copies()
        let said = Shell.run(
            """
            cd '\(copies.path)' && sed -i 's/^UMask=/UMsak=/' sluiced.service \
                && systemd-analyze verify --man=no ./sluiced.service
            """)
        #expect(said.output.contains("UMsak"), "\(said.output)")
    }

    @Test(
        "the exposure is at most 1.0", arguments: ["sluiced.service", "sluice-store.service"])
    func exposure(unit: String) throws {
        let copies = try copies()
        let said = Shell.run(
            "cd '\(copies.path)' && systemd-analyze security --no-pager --offline=true ./\(unit)")
        let level = try #require(
            said.output.firstMatch(of: /Overall exposure level for \S+: ([0-9.]+)/))
        print("exposure of \(unit): \(level.1)")
        #expect(try #require(Double(level.1)) <= 1.0)
    }

    @Test(
        "a crash tells the journal nothing of frames and keys",
        arguments: ["sluiced.service", "sluice-store.service"])
    func silentCrash(unit: String) throws {
        let lines = String(
            decoding: try Files.read("\(UnitTests.folder)/\(unit)"), as: UTF8.self
        ).split(separator: "\n")
        for line in ["Environment=SWIFT_BACKTRACE=enable=no", "LimitCORE=0", "UMask=0077"] {
            #expect(lines.contains(Substring(line)), "\(line)")
        }
    }
}
