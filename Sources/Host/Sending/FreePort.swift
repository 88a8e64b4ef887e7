// Ports for daemons that a tool starts and may have to start again on the same port: below the
// range
// from which the kernel gives ports to outgoing sockets (32768 up by default), so that no socket
// of ours
// takes the port while its owner is down.

import CLinux

package enum FreePort {
    /// A port of 127.0.0.1 that nobody has now; nil when none was found.
    package static func pick(isStream: Bool) -> UInt16? {
        // The time spreads runs that start at once.
        var candidate = UInt64(bitPattern: sluice_sending_now() / 1000)
        for _ in 0..<500 {
            candidate = candidate &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let port = UInt16(20_000 + (candidate >> 33) % 12_000)
            if sluice_sending_try_port(isStream ? 1 : 0, port) == 0 { return port }
        }
        return nil
    }
}
