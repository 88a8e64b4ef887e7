import Formats
import Testing

@Test("scratch")
func scratch() throws {
    do throws(Complaints) {
        let library = try FormatLibrary(directory: "/work/wt/formats/protocols")
        for f in ["dlt645", "modbus-rtu", "vendor"] {
            let bytes = FileBytes.read("/work/shared/vectors/\(f).jsonl", limit: 1 << 24)!
            let report = VectorRunner(library).run(bytes, name: f)
            print(f, report.passed, report.failed, report.skipped)
            for row in report.rows { if case .failed(let d) = row.verdict { print(row.id, d) } }
        }
    } catch {
        for c in error.all { print(c.description) }
    }
}
