// Tables on terminals that are narrower than they: the last column gives way, nothing is lost.

import Field
import Testing

@Suite("Narrow terminals") struct NarrowTests {
    @Test("an explained frame fits 80 columns, and says what it says on wide ones")
    func explained() {
        func printed(_ width: Int, isTerminal: Bool) -> String {
            let console = Console.captured(width: width, isTerminal: isTerminal)
            let status = Programs.sluice().run(
                [
                    "sluice", "decode", "--format", "dlt645", "--explain",
                    "6861010000000068910833333633593334338d16",
                ], console: console)
            #expect(status == .done)
            return console.output
        }
        func words(_ text: String) -> [Substring] { text.split { $0 == " " || $0 == "\n" } }
        let wide = printed(80, isTerminal: false)
        #expect(wide.split(separator: "\n").contains { Table.columns(String($0)) > 80 })
        #expect(printed(200, isTerminal: true) == wide)
        for width in [80, 90] {
            let narrow = printed(width, isTerminal: true)
            let lines = narrow.split(separator: "\n").map { Table.columns(String($0)) }
            #expect((lines.max() ?? 0) <= width)
            // Words of a row that goes on below come later, none is lost.
            #expect(words(narrow).sorted() == words(wide).sorted())
        }
    }

    @Test("a cell goes on below its own column, or indented where there is no room")
    func wrapping() {
        var table = Table([("a", .left), ("note", .left)])
        table.add(["x", "one two three four five six"])
        table.add(["y", "short"])
        let console = Console.captured(width: 20, isTerminal: true)
        table.write(to: console)
        #expect(
            console.output == """
                a  note
                x  one two three
                   four five six
                y  short

                """)
        let tight = Console.captured(width: 12, isTerminal: true)
        table.write(to: tight)
        #expect(tight.output.hasPrefix("a  note\nx  one two\n   three"))
    }
}
