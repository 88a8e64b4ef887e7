// The status page in a real browser without a screen: what it draws is what the ledger says, and a store
// that is away is seen. What runs there also proves that the page's policy lets its own parts run.

import Field
import Glibc
import Host
import Testing

extension EndToEnd {
    @Suite("status page", .serialized)
    struct StatusPageTests {
        /// The words of the cell behind a row's name.
        private func cell(_ name: String, in page: String) -> String? {
            guard let row = page.firstRange(of: "<th scope=\"row\">\(name)</th><td") else {
                return nil
            }
            let rest = page[row.upperBound...]
            guard let open = rest.firstIndex(of: ">"), let close = rest.firstIndex(of: "<"),
                open < close
            else { return nil }
            return String(rest[rest.index(after: open)..<close])
        }

        @Test("is one document that names no other")
        func isSelfContained() throws {
            let district = try District([.reference])
            try district.startGateway()
            let answer = try adminGet(socket: district.adminSocket, route: "/", timeout: 5000)
            #expect(answer.status == 200)
            #expect(answer.body.hasPrefix("<!DOCTYPE html>"))
            for word in ["http:", "https:", " src=", "@import", "url(", "innerHTML", "eval("] {
                #expect(!answer.body.contains(word), "\(word)")
            }
        }

        @Test(
            "a browser shows what the ledger counts, what was refused, and that the store is away",
            .enabled(if: Clients.haveBrowser, "no browser: apt-get install chromium"))
        func inBrowser() throws {
            let district = try District([.reference], hasPage: true)
            try district.startStore()
            try district.startGateway()
            let page = "http://\(try #require(district.page).description)/"
            let population = Population.now(devices: 4)
            let device = try Device(to: district.targets[0])
            for index in 0..<12 {
                var frame = population.frame(index)
                if index >= 10 { frame[frame.count - 1] ^= 1 }
                _ = device.send(frame)
            }
            let ledger = try district.drained(frames: 12)
            let healthy = try Clients.browse(page, seconds: 6, in: district.folder)
            #expect(healthy.contains("Healthy: everything is accounted for"))
            #expect(healthy.contains("e2e-gateway"))
            for (words, name) in [
                ("frames received", "framesReceived"), ("= decoded", "framesDecoded"),
                ("+ refused", "framesRejected"), ("readings decoded", "readingsDecoded"),
                ("= kept by the store", "readingsAcknowledged"), ("unaccounted", "unaccounted"),
            ] { #expect(cell(words, in: healthy) == "\(ledger.count(name))", "\(words)") }
            #expect(cell("bad-checksum", in: healthy) == "2")
            #expect(cell("reference", in: healthy) == district.targets[0].description)

            district.store?.stop(SIGKILL)
            _ = try eventually("the uplink sees it") { () throws(DistrictError) -> Bool? in
                try district.status().text("uplink.state") == "waiting" ? true : nil
            }
            let away = try Clients.browse(page, seconds: 6, in: district.folder)
            #expect(away.contains("Needs attention"))
            #expect(away.contains("waiting for"))
        }
    }
}
