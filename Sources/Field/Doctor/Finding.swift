// What `sluice doctor` says: one finding a line, with what was seen and what to do about it. Values only.

/// What a finding is about, in the order in which they are shown.
package enum Area: String, CaseIterable, Sendable {
    case configuration, daemon, versions, clock, name, store, disk, spool, rights, ports, buffers
    case ledger
}

/// A phrase of the doctor with what fills its placeholders.
package struct Said: Hashable, Sendable {
    package var phrase: DoctorPhrase
    package var values: [String]

    package init(_ phrase: DoctorPhrase, _ values: [String]) {
        self.phrase = phrase
        self.values = values
    }

    package func text(_ language: Language) -> String {
        let texts = phrase.texts
        return Language.filled(language == .english ? texts.english : texts.chinese, values)
    }
}

package struct Finding: Hashable, Sendable {
    /// `unknown`: could not be looked at, from here or by this user.
    package enum Level: String, Sendable, CaseIterable { case ok, warning, problem, unknown }

    package var area: Area
    package var level: Level
    package var seen: Said
    package var remedy: Said?

    private init(_ area: Area, _ level: Level, _ seen: Said, _ remedy: Said?) {
        self.area = area
        self.level = level
        self.seen = seen
        self.remedy = remedy
    }

    package static func ok(_ area: Area, _ phrase: DoctorPhrase, _ values: String...) -> Finding {
        Finding(area, .ok, Said(phrase, values), nil)
    }

    package static func warning(
        _ area: Area, _ phrase: DoctorPhrase, _ values: String..., do remedy: DoctorPhrase,
        with remedyValues: [String] = []
    ) -> Finding {
        Finding(area, .warning, Said(phrase, values), Said(remedy, remedyValues))
    }

    package static func problem(
        _ area: Area, _ phrase: DoctorPhrase, _ values: String..., do remedy: DoctorPhrase,
        with remedyValues: [String] = []
    ) -> Finding {
        Finding(area, .problem, Said(phrase, values), Said(remedy, remedyValues))
    }

    package static func unknown(
        _ area: Area, _ phrase: DoctorPhrase, _ values: String..., do remedy: DoctorPhrase? = nil,
        with remedyValues: [String] = []
    ) -> Finding {
        Finding(area, .unknown, Said(phrase, values), remedy.map { Said($0, remedyValues) })
    }
}

extension Finding.Level {
    package var phrase: DoctorPhrase {
        switch self {
        case .ok: .levelOk
        case .warning: .levelWarning
        case .problem: .levelProblem
        case .unknown: .levelUnknown
        }
    }
}

extension Area {
    package var phrase: DoctorPhrase {
        switch self {
        case .configuration: .areaConfiguration
        case .daemon: .areaDaemon
        case .versions: .areaVersions
        case .clock: .areaClock
        case .name: .areaName
        case .store: .areaStore
        case .disk: .areaDisk
        case .spool: .areaSpool
        case .rights: .areaRights
        case .ports: .areaPorts
        case .buffers: .areaBuffers
        case .ledger: .areaLedger
        }
    }
}
