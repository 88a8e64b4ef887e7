// One spelling for one unit. Standards, and with them the field trees that show frames in their words,
// write `m3`, `uS/cm` and `lux`; streams carry the symbol in UTF-8, so that the store can compare them.
// Slow path: asked once a stream.

enum UnitSpelling {
    private static let symbols = [
        "m2": "m²", "m3": "m³", "m3/h": "m³/h", "m3/min": "m³/min", "m3/s": "m³/s", "ft3": "ft³",
        "mg/m3": "mg/m³", "ug/m3": "µg/m³", "kg/m3": "kg/m³", "ug/L": "µg/L", "uS/cm": "µS/cm",
        "%RH": "%", "lux": "lx", "10^4 t": "10⁴t",
    ]

    /// The symbol that streams carry for `unit`; what is no known spelling stays as it is.
    static func of(_ unit: String) -> String { symbols[unit] ?? unit }
}
