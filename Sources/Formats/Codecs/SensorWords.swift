// Words for streams whose names stand in frames: SenML's unit symbols (RFC 8428 section 12.1, RFC
// 8798) in UTF-8 with the quantity that each measures, and LwM2M's object model for paths. Slow
// path: asked once a stream.

import Model

extension Codec {
    /// The words of a SenML or LwM2M stream; nil for other codecs.
    func sensorWords(_ discriminator: UInt64, name: String, unit: String) -> StreamDescription? {
        switch self {
        case .semtech: return GatewayStatistic(rawValue: discriminator)?.description
        case .senmlCBOR, .senmlJSON, .lwm2mTLV, .lwm2mJSON, .lwm2mText, .coap, .cbor: break
        default: return nil
        }
        // Names that stand in a frame are never empty together with their unit (see `yield`).
        if name.isEmpty, unit.isEmpty {
            let path = LwM2MPath(discriminator: discriminator)
            let resource = path.resource
            return StreamDescription(
                name: path.name.isEmpty ? "value" : path.name,
                quantity: resource?.quantity ?? "value",
                unit: resource?.unit ?? "", priority: .live)
        }
        let known = SensorUnit.all[unit]
        if let resource = LwM2MPath(name)?.resource {
            let unit = known?.unit ?? (unit.isEmpty ? resource.unit : unit)
            return StreamDescription(
                name: String(name.dropFirst()), quantity: known?.quantity ?? resource.quantity,
                unit: unit, priority: .live)
        }
        var quantity = known?.quantity ?? "value"
        if name.hasSuffix("_sum") { quantity = "sum" }
        var stream = name
        while stream.hasPrefix("/") { stream.removeFirst() }
        return StreamDescription(
            name: stream.isEmpty ? quantity : stream, quantity: quantity, unit: known?.unit ?? unit,
            priority: .live)
    }
}

/// A symbol of the SenML units registry.
struct SensorUnit {
    var unit: String
    var quantity: String

    private init(_ unit: String, _ quantity: String) {
        self.unit = unit
        self.quantity = quantity
    }

    static let all: [String: SensorUnit] = [
        "m": SensorUnit("m", "distance"), "kg": SensorUnit("kg", "mass"),
        "g": SensorUnit("g", "mass"), "s": SensorUnit("s", "duration"),
        "A": SensorUnit("A", "current"), "K": SensorUnit("K", "temperature"),
        "cd": SensorUnit("cd", "luminous_intensity"), "mol": SensorUnit("mol", "substance"),
        "Hz": SensorUnit("Hz", "frequency"), "rad": SensorUnit("rad", "angle"),
        "N": SensorUnit("N", "force"), "Pa": SensorUnit("Pa", "pressure"),
        "J": SensorUnit("J", "energy"), "W": SensorUnit("W", "power"),
        "C": SensorUnit("C", "charge"), "V": SensorUnit("V", "voltage"),
        "F": SensorUnit("F", "capacitance"), "Ohm": SensorUnit("Ω", "resistance"),
        "S": SensorUnit("S", "conductance"), "T": SensorUnit("T", "flux_density"),
        "H": SensorUnit("H", "inductance"), "Cel": SensorUnit("°C", "temperature"),
        "lm": SensorUnit("lm", "luminous_flux"), "lx": SensorUnit("lx", "illuminance"),
        "Bq": SensorUnit("Bq", "radioactivity"), "Gy": SensorUnit("Gy", "absorbed_dose"),
        "Sv": SensorUnit("Sv", "dose"), "m2": SensorUnit("m²", "area"),
        "m3": SensorUnit("m³", "volume"), "l": SensorUnit("L", "volume"),
        "m/s": SensorUnit("m/s", "speed"), "m/s2": SensorUnit("m/s²", "acceleration"),
        "m3/s": SensorUnit("m³/s", "flow"), "l/s": SensorUnit("L/s", "flow"),
        "W/m2": SensorUnit("W/m²", "irradiance"), "cd/m2": SensorUnit("cd/m²", "luminance"),
        "bit": SensorUnit("bit", "information"), "bit/s": SensorUnit("bit/s", "data_rate"),
        "lat": SensorUnit("°", "latitude"), "lon": SensorUnit("°", "longitude"),
        "pH": SensorUnit("", "ph"), "dB": SensorUnit("dB", "ratio"),
        "dBW": SensorUnit("dBW", "signal_power"), "Bspl": SensorUnit("Bspl", "sound_level"),
        "count": SensorUnit("", "count"), "/": SensorUnit("", "ratio"),
        "%": SensorUnit("%", "ratio"), "%RH": SensorUnit("%", "relative_humidity"),
        "%EL": SensorUnit("%", "battery_level"), "EL": SensorUnit("s", "duration"),
        "1/s": SensorUnit("1/s", "rate"), "1/min": SensorUnit("1/min", "rate"),
        "beat/min": SensorUnit("1/min", "heart_rate"), "beats": SensorUnit("", "count"),
        "S/m": SensorUnit("S/m", "conductivity"), "B": SensorUnit("B", "information"),
        "VA": SensorUnit("VA", "apparent_power"), "VAs": SensorUnit("VA·s", "apparent_energy"),
        "var": SensorUnit("var", "reactive_power"),
        "vars": SensorUnit("var·s", "reactive_energy"), "J/m": SensorUnit("J/m", "energy_density"),
        "kg/m3": SensorUnit("kg/m³", "density"), "deg": SensorUnit("°", "angle"),
        "NTU": SensorUnit("NTU", "turbidity"),
        // RFC 8798: secondary units.
        "ms": SensorUnit("ms", "duration"), "min": SensorUnit("min", "duration"),
        "h": SensorUnit("h", "duration"), "MHz": SensorUnit("MHz", "frequency"),
        "kW": SensorUnit("kW", "power"), "kVA": SensorUnit("kVA", "apparent_power"),
        "kvar": SensorUnit("kvar", "reactive_power"), "Ah": SensorUnit("Ah", "charge"),
        "Wh": SensorUnit("Wh", "energy"), "kWh": SensorUnit("kWh", "energy"),
        "varh": SensorUnit("varh", "reactive_energy"),
        "kvarh": SensorUnit("kvarh", "reactive_energy"),
        "kVAh": SensorUnit("kVAh", "apparent_energy"), "Wh/km": SensorUnit("Wh/km", "consumption"),
        "KiB": SensorUnit("KiB", "information"), "GB": SensorUnit("GB", "information"),
        "Mbit/s": SensorUnit("Mbit/s", "data_rate"), "B/s": SensorUnit("B/s", "data_rate"),
        "MB/s": SensorUnit("MB/s", "data_rate"), "mV": SensorUnit("mV", "voltage"),
        "mA": SensorUnit("mA", "current"), "dBm": SensorUnit("dBm", "signal_power"),
        "ug/m3": SensorUnit("µg/m³", "concentration"),
        "mm/h": SensorUnit("mm/h", "precipitation_rate"),
        "m/h": SensorUnit("m/h", "speed"), "ppm": SensorUnit("ppm", "concentration"),
        "/100": SensorUnit("%", "ratio"), "/1000": SensorUnit("‰", "ratio"),
        "hPa": SensorUnit("hPa", "pressure"), "mm": SensorUnit("mm", "distance"),
        "cm": SensorUnit("cm", "distance"), "km": SensorUnit("km", "distance"),
        "km/h": SensorUnit("km/h", "speed"), "ppb": SensorUnit("ppb", "concentration"),
        "VAh": SensorUnit("VAh", "apparent_energy"), "mg/l": SensorUnit("mg/L", "concentration"),
        "ug/l": SensorUnit("µg/L", "concentration"), "g/l": SensorUnit("g/L", "concentration"),
    ]
}
