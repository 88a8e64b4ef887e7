// Owned file descriptors, addresses between Swift and the C shim, and spans over memory that C
// owns. With UDPSlab this is where Host's unsafe expressions live.

import CLinux
package import Model

/// An open file descriptor; closed when the value ends.
struct Descriptor: ~Copyable {
    let number: Int32

    /// Takes ownership of what the shim returned; a negative errno becomes the error `what`.
    init(_ result: Int32, _ what: @autoclosure () -> String) throws(HostError) {
        guard result >= 0 else { throw HostError(what(), result: result) }
        number = result
    }

    init?(_ result: Int32) {
        guard result >= 0 else { return nil }
        number = result
    }

    deinit { _ = sluice_close(number) }

    /// Bytes read into `buffer[offset...]`; 0 at the end, negative errno on failure.
    func read(into buffer: inout [UInt8], at offset: Int) -> Int {
        // Safety: the pointer is the array's own storage and the count ends where the array ends;
        // `offset` is clamped to it.
        unsafe buffer.withUnsafeMutableBufferPointer { all in
            let from = min(max(0, offset), all.count)
            guard let base = all.baseAddress else { return 0 }
            return unsafe Int(
                sluice_read(number, base + from, UInt64(all.count - from)))
        }
    }

    /// Bytes taken by the kernel from `bytes[offset...]`, or negative errno; never blocks.
    func send(_ bytes: [UInt8], from offset: Int) -> Int {
        // Safety: as in `read`; the shim only reads.
        unsafe bytes.withUnsafeBufferPointer { all in
            let from = min(max(0, offset), all.count)
            guard let base = all.baseAddress else { return 0 }
            return unsafe Int(sluice_send(number, base + from, UInt64(all.count - from)))
        }
    }

    /// The address it is bound to; the port that the kernel chose for port 0.
    var localEndpoint: Endpoint {
        var raw = sluice_endpoint()
        // Safety: `raw` outlives the call, which fills it or leaves it zero.
        _ = unsafe sluice_local_endpoint(number, &raw)
        return Endpoint(raw)
    }
}

extension Endpoint {
    init(_ raw: sluice_endpoint) {
        self.init(high: raw.high, low: raw.low, port: raw.port, scope: raw.scope)
    }

    var raw: sluice_endpoint {
        sluice_endpoint(high: high, low: low, scope: scope, port: port, unused: 0)
    }

    /// A numeric IPv4 or IPv6 address, or `localhost`.
    package init?(host: String, port: UInt16) {
        var raw = sluice_endpoint()
        // Safety: Swift lends a NUL-terminated copy of `host`; `raw` outlives the call.
        guard unsafe sluice_parse_address(host, port, &raw) == 0 else { return nil }
        self.init(raw)
    }

    /// The address without the port, for limits per address.
    var address: EndpointAddress { EndpointAddress(high: high, low: low) }
}

/// An address without its port.
struct EndpointAddress: Hashable {
    let high: UInt64
    let low: UInt64
}
