// The only user of zlib: raw deflate and inflate (RFC 1951), gzip (RFC 1952) and CRC-32, behind
// array-in, array-out functions with caps on what comes out. Owned by whoever encodes or decodes;
// a Deflater keeps zlib's 260 KiB of state from one section to the next.
// Invariant: z_stream stays at one address for life (zlib's state points back at it).

import CZlib

/// One reusable raw deflate state (window 32 KiB, memLevel 9).
@safe struct Deflater: ~Copyable {
    private let stream: UnsafeMutablePointer<z_stream>
    private var level: Int32 = 6
    private var strategy: Int32 = Z_DEFAULT_STRATEGY

    enum Strategy: CaseIterable {
        case standard, filtered, huffman, runs

        fileprivate var code: Int32 {
            switch self {
            case .standard: Z_DEFAULT_STRATEGY
            case .filtered: Z_FILTERED
            case .huffman: Z_HUFFMAN_ONLY
            case .runs: Z_RLE
            }
        }
    }

    init() {
        // Safety: allocated here, freed in deinit only, never handed out.
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        // Safety: the stream is initialised above; zlib reads version and size by value.
        let result = unsafe deflateInit2_(
            stream, level, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        precondition(result == Z_OK, "zlib has no memory for a deflate state")
    }

    deinit {
        // Safety: the stream was initialised in init and ends here once.
        unsafe deflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// Appends the deflated bytes of `input` to `output` when they are fewer than `limit`; else
    /// leaves `output` as it was and returns nil. Returns how many bytes were appended.
    mutating func compress(
        _ input: [UInt8], level: Int32, strategy: Strategy, limit: Int,
        into output: inout [UInt8]
    ) -> Int? {
        guard limit > 1, !input.isEmpty, input.count < Int(UInt32.max) else { return nil }
        // Safety: the stream is live until deinit.
        unsafe deflateReset(stream)
        if level != self.level || strategy.code != self.strategy {
            // Safety: as above; right after a reset nothing is pending, so nothing is written.
            unsafe deflateParams(stream, level, strategy.code)
            self.level = level
            self.strategy = strategy.code
        }
        let before = output.count
        let room = limit - 1
        output.append(contentsOf: repeatElement(0, count: room))
        var isWhole = false
        var written = 0
        unsafe input.withUnsafeBufferPointer { source in
            unsafe output.withUnsafeMutableBufferPointer { target in
                // Safety: both buffers live for this closure; deflate only reads next_in, and
                // avail_out ends at the room appended above.
                unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
                unsafe stream.pointee.avail_in = UInt32(source.count)
                unsafe stream.pointee.next_out = target.baseAddress! + before
                unsafe stream.pointee.avail_out = UInt32(room)
                isWhole = unsafe deflate(stream, Z_FINISH) == Z_STREAM_END
                written = unsafe room - Int(stream.pointee.avail_out)
            }
        }
        guard isWhole else {
            output.removeLast(room)
            return nil
        }
        output.removeLast(room - written)
        return written
    }
}

/// One reusable inflate state.
@safe struct Inflater: ~Copyable {
    private let stream: UnsafeMutablePointer<z_stream>

    /// `windowBits`: -15 raw deflate, 31 gzip.
    init(windowBits: Int32 = -15) {
        // Safety: allocated here, freed in deinit only, never handed out.
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        // Safety: the stream is initialised above; zlib reads version and size by value.
        let result = unsafe inflateInit2_(
            stream, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(result == Z_OK, "zlib has no memory for an inflate state")
    }

    deinit {
        // Safety: the stream was initialised in init and ends here once.
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// Exactly `count` bytes out of exactly `range` of `input`; nil when the stream is broken, ends
    /// early, has bytes left over or would expand to another size.
    mutating func expand(_ input: [UInt8], _ range: Range<Int>, count: Int) -> [UInt8]? {
        precondition(range.lowerBound >= 0 && range.upperBound <= input.count)
        guard count > 0, count < Int(UInt32.max), range.count < Int(UInt32.max) else { return nil }
        // Safety: the stream is live until deinit.
        unsafe inflateReset(stream)
        var isWhole = false
        // Safety: the closure initialises what it reports; the range was checked above, and
        // avail_out ends at the capacity that is there.
        let output = unsafe [UInt8](unsafeUninitializedCapacity: count) { target, filled in
            unsafe input.withUnsafeBufferPointer { source in
                unsafe stream.pointee.next_in = UnsafeMutablePointer(
                    mutating: source.baseAddress! + range.lowerBound)
                unsafe stream.pointee.avail_in = UInt32(range.count)
                unsafe stream.pointee.next_out = target.baseAddress
                unsafe stream.pointee.avail_out = UInt32(count)
                let result = unsafe inflate(stream, Z_FINISH)
                isWhole =
                    unsafe result == Z_STREAM_END && stream.pointee.avail_in == 0
                    && stream.pointee.avail_out == 0
                filled = unsafe count - Int(stream.pointee.avail_out)
            }
        }
        return isWhole ? output : nil
    }
}

/// CRC-32 (ISO 3309) of `bytes[range]` by zlib.
func checksum(_ bytes: [UInt8], _ range: Range<Int>) -> UInt32 {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
    // Safety: the range was checked above and the buffer lives for the call.
    return unsafe bytes.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { return 0 }
        return unsafe UInt32(
            truncatingIfNeeded: crc32_z(0, base + range.lowerBound, z_size_t(range.count)))
    }
}

/// gzip files for the tools (`sluice bench codec FILE.csv.gz`).
package enum Gzip {
    /// What gzip of `level` makes of the input: deflate and 18 bytes around it.
    package static func size(_ input: [UInt8], level: Int) -> Int {
        var deflater = Deflater()
        var output: [UInt8] = []
        let count = deflater.compress(
            input, level: Int32(clamping: level), strategy: .standard, limit: input.count,
            into: &output)
        return (count ?? input.count) + 18
    }

    /// A gzip file of one member, without name and time: the same bytes for the same input.
    package static func compress(_ input: [UInt8], level: Int) -> [UInt8] {
        precondition(input.count < Int(UInt32.max), "a member's size has 32 bits")
        var output: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255]
        var deflater = Deflater()
        // Deflate grows what it cannot shrink by five bytes for each 16 KB at most.
        let count = deflater.compress(
            input, level: Int32(clamping: level), strategy: .standard,
            limit: input.count + input.count / 1024 + 64, into: &output)
        if count == nil { output += [3, 0] }
        for word in [checksum(input, 0..<input.count), UInt32(input.count)] {
            for shift in stride(from: 0, to: 32, by: 8) {
                output.append(UInt8(truncatingIfNeeded: word >> UInt32(shift)))
            }
        }
        return output
    }

    /// All members of a gzip file; `tooLarge` beyond `limit` bytes, `malformed` when it is no gzip.
    package static func expand(_ input: [UInt8], limit: Int) throws(BatchError) -> [UInt8] {
        // Safety: an all-zero z_stream is what inflateInit2 expects; its pointers are nil.
        var stream = unsafe z_stream()
        var output: [UInt8] = []
        var failure: BatchError?
        // Safety: `stream` is pinned for the closure; next_in ends with the input buffer and
        // next_out with the block buffer, both alive within it.
        unsafe withUnsafeMutablePointer(to: &stream) { z in
            guard
                unsafe inflateInit2_(z, 31, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
                    == Z_OK
            else {
                failure = .tooLarge
                return
            }
            unsafe input.withUnsafeBufferPointer { source in
                unsafe z.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
                unsafe z.pointee.avail_in = UInt32(clamping: source.count)
                unsafe failure = pump(z, limit: limit, into: &output)
            }
            unsafe inflateEnd(z)
        }
        if let failure { throw failure }
        return output
    }

    private static func pump(
        _ z: UnsafeMutablePointer<z_stream>, limit: Int, into output: inout [UInt8]
    ) -> BatchError? {
        var block = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            var result = Z_OK
            // Safety: the block outlives the call and its count is the room announced.
            unsafe block.withUnsafeMutableBufferPointer { target in
                unsafe z.pointee.next_out = target.baseAddress
                unsafe z.pointee.avail_out = UInt32(target.count)
                result = unsafe inflate(z, Z_NO_FLUSH)
            }
            // Safety: `z` is the caller's live stream.
            let filled = unsafe block.count - Int(z.pointee.avail_out)
            output.append(contentsOf: block[0..<filled])
            if output.count > limit { return .tooLarge }
            switch result {
            case Z_OK: continue
            case Z_STREAM_END:
                // Safety: as above.
                if unsafe z.pointee.avail_in == 0 { return nil }
                unsafe inflateReset(z)
            default:
                // Safety: as above.
                return unsafe .malformed(at: Int(clamping: z.pointee.total_in))
            }
        }
    }
}
