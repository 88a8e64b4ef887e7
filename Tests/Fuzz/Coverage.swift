// Which counters libFuzzer looks at. It reads and clears all of a program's after each input; here they are
// 200,000, and a decoder touches a few thousand: most of the time went there. The linker turns the
// announcements of counters and of their places to the two functions below (`--wrap` in Package.swift);
// after the good inputs have been run once, only the blocks that any of them touched are announced on,
// each as a module of its own. What lies elsewhere still runs under every check, it only attracts no
// inputs. With FUZZ_ALL_COUNTERS set all are announced.

import Field
import Formats

@_silgen_name("__real___sanitizer_cov_8bit_counters_init")
private func announceCounters(_ start: UnsafeMutableRawPointer, _ end: UnsafeMutableRawPointer)
@_silgen_name("__real___sanitizer_cov_pcs_init")
private func announcePlaces(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer)

enum Coverage {
    /// Counters that are announced together; libFuzzer has room for 4096 modules.
    static let block = 16
    /// Bytes of a row of the table of places: address and flags.
    static let placeBytes = 16

    // Safety: set by the program's constructors, read on its one thread afterwards.
    nonisolated(unsafe) fileprivate static var counters =
        unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    // Safety: as above.
    nonisolated(unsafe) fileprivate static var places: UnsafeRawPointer?

    /// Runs `inputs` and announces what they touched.
    static func announce(after inputs: () -> Void) {
        // Safety: both tables have a row a counter and last as long as the program; one thread.
        guard let base = unsafe counters.baseAddress, let places = unsafe places else { return }
        let all = unsafe counters
        unsafe clear(all)
        inputs()
        let isAll = environment("FUZZ_ALL_COUNTERS") != nil
        var live = 0
        var start: Int?
        for at in stride(from: 0, to: all.count + block, by: block) {
            let end = min(at + block, all.count)
            if at < end, unsafe isAll || isTouched(all, at..<end) {
                start = start ?? at
                continue
            }
            guard let first = start else { continue }
            start = nil
            live += min(at, all.count) - first
            let last = min(at, all.count)
            // Safety: first..<last lies in the tables.
            unsafe announceCounters(base + first, base + last)
            // Safety: as above.
            unsafe announcePlaces(places + placeBytes * first, places + placeBytes * last)
        }
        unsafe clear(all)
        print("coverage: \(live) of \(all.count) counters")
    }

    private static func isTouched(
        _ counters: UnsafeMutableRawBufferPointer, _ range: Range<Int>
    ) -> Bool {
        for i in range {
            // Safety: the caller's range lies in the table.
            if unsafe counters[i] != 0 { return true }
        }
        return false
    }

    private static func clear(_ counters: UnsafeMutableRawBufferPointer) {
        for i in 0..<counters.count {
            // Safety: the index lies in the table.
            unsafe counters[i] = 0
        }
    }

    /// The bytes of the files that the arguments name, and of those in folders among them.
    static func inputs(_ arguments: [String]) -> [[UInt8]] {
        arguments.filter { !$0.hasPrefix("-") }.flatMap { path in
            let files =
                Files.isFolder(path) ? Files.names(in: path).map { path + "/" + $0 } : [path]
            return files.compactMap { FileBytes.read($0, limit: 1 << 20) }
        }
    }
}

@_cdecl("__wrap___sanitizer_cov_8bit_counters_init")
func keepCounters(_ start: UnsafeMutableRawPointer, _ end: UnsafeMutableRawPointer) {
    // Safety: both ends of one table; called by the program's constructors, on one thread.
    unsafe Coverage.counters = UnsafeMutableRawBufferPointer(start: start, count: end - start)
}

@_cdecl("__wrap___sanitizer_cov_pcs_init")
func keepPlaces(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer) {
    // Safety: as above.
    unsafe Coverage.places = start
}
