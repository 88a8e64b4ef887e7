// New versions of formats take over between two turns of the intake. Devices and streams are known by
// identity and name, so they go on; what is known by a format's output numbers is forgotten and found
// again. A connection keeps its format's place; bytes that wait are read by the new version.

import Catalog
package import Formats

extension IntakeStage {
    /// Puts each of `formats` in the place of the one with its name, in every source that has it. A
    /// format that no source has is passed over. None may have longer frames than `maximumFrame` of a
    /// source that has it: the host has made its buffers.
    package func replaceFormats(_ formats: [Format]) {
        var isChanged = false
        for (number, state) in sources.enumerated() {
            for (place, old) in state.formats.enumerated() {
                guard let new = formats.first(where: { $0.name == old.format.name }),
                    new !== old.format
                else { continue }
                precondition(
                    new.maximumFrame <= state.maximumFrame, "longer frames need new buffers")
                state.formats[place] = FormatState(
                    new, number: Int(old.number), source: number,
                    journalNumber: Int(old.journalNumber), assembles: old.assembles,
                    seed: old.seed, keys: old.keys)
                isChanged = true
            }
        }
        guard isChanged else { return }
        catalog.forgetPassingNames()
        hot.forgetLists()
    }
}
