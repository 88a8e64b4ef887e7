// The Debian package (systemd/package): the same bytes twice, everything in its place, nothing that lintian
// calls an error. What it does when it is installed, upgraded and removed: Tests/nspawn.

import Field
import Formats
import Glibc
import Host
import TestSupport
import Testing

extension EndToEnd {
    @Suite(
        "the Debian package", .serialized,
        .enabled(
            if: Shell.has("dpkg-deb") && Shell.has("dpkg-shlibdeps") && Place.isRelease,
            "needs dpkg-dev and release binaries (SLUICE_BINARIES)"))
    struct PackageTests {
        private func build(in folder: String, _ environment: String = "") throws -> String {
            try Files.makeFolder(folder)
            let said = Shell.run(
                "SLUICE_BINARIES='\(Place.binaries)' \(environment) '\(Place.root)/systemd/package' "
                    + "'\(folder)' 2>'\(folder)/log' || cat '\(folder)/log'")
            let path = said.output.split(separator: "\n").last.map(String.init) ?? ""
            try #require(path.hasSuffix(".deb") && Files.exists(path), "\(said.output)")
            return path
        }

        @Test("is the same byte for byte, at another time and in another zone and language")
        func reproducible() throws {
            let folder = try Folder()
            let first = try build(in: folder.path + "/a")
            let second = try build(
                in: folder.path + "/b", "TZ=Asia/Shanghai LC_ALL=C.UTF-8 TMPDIR=/var/tmp")
            #expect(Shell.run("cmp '\(first)' '\(second)'").output == "")
            #expect(first.split(separator: "/").last == second.split(separator: "/").last)
            #expect(first.contains(/\/sluice_[0-9.]+_[a-z0-9]+\.deb$/))
            try contents(of: first, in: folder)
        }

        private func contents(of deb: String, in folder: Folder) throws {
            let root = folder.path + "/root"
            let unpacked = Shell.run("dpkg-deb -R '\(deb)' '\(root)'")
            try #require(unpacked.status == 0, "\(unpacked.output)")
            for path in [
                "usr/bin/sluice", "usr/bin/sluiced", "usr/bin/sluice-store",
                "usr/lib/systemd/system/sluiced.service", "usr/lib/systemd/system/sluiced.socket",
                "usr/lib/systemd/system/sluice-store.service", "usr/lib/sysusers.d/sluice.conf",
                "usr/lib/tmpfiles.d/sluice.conf", "usr/lib/sysctl.d/60-sluice.conf",
                "usr/share/man/man1/sluice.1.gz", "usr/share/man/man8/sluiced.8.gz",
                "usr/share/man/man8/sluice-store.8.gz", "usr/share/man/man5/sluiced.conf.5.gz",
                "usr/share/man/man5/sluice-store.conf.5.gz",
                "usr/share/bash-completion/completions/sluice",
                "usr/share/zsh/vendor-completions/_sluice",
                "usr/share/fish/vendor_completions.d/sluice.fish",
                "usr/share/doc/sluice/copyright", "usr/share/doc/sluice/changelog.gz",
                "usr/share/doc/sluice/examples/sluice-alerts.yml",
                "etc/sluice/sluiced.json5", "etc/sluice/sluice-store.json5",
            ] {
                #expect(Files.exists("\(root)/\(path)"), "\(path)")
            }
            let formats = Shell.run(
                """
                diff -r --exclude=README.md --exclude='*.md' --exclude='*.py' \
                    '\(Place.protocols)' '\(root)/usr/share/sluice/protocols'
                """)
            #expect(formats.output.isEmpty, "\(formats.output)")
            let conffiles = Shell.run("cat '\(root)/DEBIAN/conffiles'").output
            #expect(conffiles == "/etc/sluice/sluice-store.json5\n/etc/sluice/sluiced.json5\n")
            let sums = Shell.run("cd '\(root)' && md5sum --quiet -c DEBIAN/md5sums")
            #expect(sums.status == 0, "\(sums.output)")
            // The programs as they will run, and the formats where they look for them.
            let check = Shell.run(
                "cd / && '\(root)/usr/bin/sluiced' --config '\(root)/etc/sluice/sluiced.json5' --check"
            )
            #expect(check.status == 0, "\(check.output)")
            let links = Shell.run("readelf -d '\(root)/usr/bin/sluiced' | grep NEEDED").output
            #expect(!links.contains("swift"), "the runtime is not inside: \(links)")
            if Shell.has("lintian") {
                let said = Shell.run("lintian --fail-on error,warning '\(deb)'")
                #expect(said.status == 0, "\(said.output)")
            } else {
                print("lintian: skipped: not installed")
            }
        }

        @Test("its scripts are sound shell")
        func scripts() {
            for script in ["preinst", "postinst", "prerm", "postrm"] {
                let said = Shell.run("sh -n '\(Place.root)/systemd/debian/\(script)'")
                #expect(said.status == 0, "\(said.output)")
            }
        }
    }

    @Suite("state of a newer version", .serialized)
    struct NewerStateTests {
        /// Raises the layout that a file says it has, as a newer program would have written it.
        private func raise(_ path: String) throws {
            let said = Shell.run(
                """
                python3 -c 'import sqlite3, sys
                file = sqlite3.connect(sys.argv[1])
                file.execute("PRAGMA user_version=99")
                file.close()' '\(path)'
                """)
            try #require(said.status == 0, "\(said.output)")
        }

        @Test(
            "is refused by name with what to do, and left as it is",
            arguments: ["segment-00000001.db", "catalog.db", "quarantine.db"])
        func refused(name: String) throws {
            let district = try District([
                .init(
                    name: "reference", formats: ["sluice-reference"],
                    more: [("devices", .string("quarantine"))])
            ])
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            _ = device.send(Population.now(devices: 1).frame(0))
            _ = try district.ledger("the frame is there") { $0.count("framesReceived") == 1 }
            district.gateway?.signal(SIGTERM)
            #expect(try district.gateway?.end(within: 20) == 0)
            let path = "\(district.spoolFolder)/\(name)"
            try raise(path)
            let before = try Files.read(path, limit: 1 << 26)

            let ended = try run(
                "sluiced", ["--config", district.gatewayFile], in: district.folder.path)
            #expect(ended.status == 1, "\(ended.output)")
            #expect(
                ended.errors.contains("layout 99 is newer than this program"), "\(ended.errors)")
            #expect(ended.errors.contains("install that version again"), "\(ended.errors)")
            #expect(ended.errors.contains(district.spoolFolder), "\(ended.errors)")
            #expect(try Files.read(path, limit: 1 << 26) == before)
            let beside = Shell.run("ls '\(district.spoolFolder)'").output
            #expect(!beside.contains(".bad"), "\(beside)")
        }
    }
}
