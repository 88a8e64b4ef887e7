// What the value information of an M-Bus record means: quantity, unit and power of ten by VIF code (EN
// 13757-3 tables 10, 12 and 14), and the words of the streams that come of it.
//
// A stream's unit never changes with the meter's choice of scale: MWh and Wh, minutes and hours, m3/min
// and m3/h are brought to one unit by exact integer factors. The field tree keeps the wire's unit.

/// Raw values are in discriminators, which live as long as the process.
enum MBusKind: UInt8, CaseIterable, Sendable {
    case reserved, energy, energyJoule, volume, volumeCubicFeet, mass, onTime, operatingTime, power
    case powerJoule, volumeFlow, massFlow, flowTemperature, returnTemperature
    case temperatureDifference, externalTemperature, pressure, date, datetime, hca
    case averagingDuration, actualityDuration, fabricationNumber, enhancedIdentification
    case busAddress, textUnit, any, manufacturerSpecific, accessNumber, medium, manufacturer
    case parameterSet, modelVersion, hardwareVersion, firmwareVersion, softwareVersion
    case customerLocation, customer, errorFlags, digitalOutput, digitalInput
    case durationSinceReadout, tariffDuration, dimensionless, voltage, current, resetCounter
    case cumulationCounter, controlSignal, parameterActivation, specialSupplier
    case durationSinceCumulation, batteryOperatingTime, batteryChange, rfLevel, batteryRemaining
    case reactiveEnergy, reactivePower, apparentPower, relativeHumidity, frequency
    case temperatureLimit, meterStatus

    /// How the values of a quantity become readings.
    enum Style: Sendable {
        /// Names and settings: explained, no reading.
        case none
        /// Rises for ever: `energy_total`.
        case counter
        case gauge
        /// Bits.
        case flags
    }

    var style: Style {
        switch self {
        case .reserved, .date, .datetime, .fabricationNumber, .enhancedIdentification, .busAddress,
            .any, .manufacturerSpecific, .accessNumber, .medium, .manufacturer, .parameterSet,
            .modelVersion, .hardwareVersion, .firmwareVersion, .softwareVersion, .customerLocation,
            .customer, .parameterActivation, .specialSupplier, .batteryChange, .temperatureLimit:
            .none
        case .energy, .energyJoule, .volume, .volumeCubicFeet, .mass, .reactiveEnergy: .counter
        case .errorFlags, .digitalOutput, .digitalInput, .controlSignal, .meterStatus: .flags
        default: .gauge
        }
    }

    /// Name in the field tree; stream name, quantity and unit of readings.
    var words: (tree: String, stream: String, quantity: String, unit: String) {
        func same(
            _ word: String, _ quantity: String, _ unit: String
        ) -> (
            tree: String, stream: String, quantity: String, unit: String
        ) { (word, word, quantity, unit) }
        return switch self {
        case .reserved: same("reserved", "", "")
        case .energy: same("energy", "energy", "Wh")
        case .energyJoule: ("energy", "energy_j", "energy", "J")
        case .volume: same("volume", "volume", "m3")
        case .volumeCubicFeet: ("volume", "volume_ft3", "volume", "ft3")
        case .mass: same("mass", "mass", "kg")
        case .onTime: same("on_time", "working_time", "s")
        case .operatingTime: same("operating_time", "working_time", "s")
        case .power: same("power", "power", "W")
        case .powerJoule: ("power", "power_j", "power", "J/h")
        case .volumeFlow: same("volume_flow", "flow", "m3/h")
        case .massFlow: same("mass_flow", "mass_flow", "kg/h")
        case .flowTemperature: same("flow_temperature", "temperature", "°C")
        case .returnTemperature: same("return_temperature", "temperature", "°C")
        case .temperatureDifference: same("temperature_difference", "temperature", "K")
        case .externalTemperature: same("external_temperature", "temperature", "°C")
        case .pressure: same("pressure", "pressure", "bar")
        case .date: same("date", "", "")
        case .datetime: same("datetime", "", "")
        case .hca: same("hca", "count", "")
        case .averagingDuration: same("averaging_duration", "duration", "s")
        case .actualityDuration: same("actuality_duration", "duration", "s")
        case .fabricationNumber: same("fabrication_number", "", "")
        case .enhancedIdentification: same("enhanced_identification", "", "")
        case .busAddress: same("bus_address", "", "")
        case .textUnit: same("text_unit", "count", "")
        case .any: same("any", "", "")
        case .manufacturerSpecific: same("manufacturer_specific", "", "")
        case .accessNumber: same("access_number", "", "")
        case .medium: same("medium", "", "")
        case .manufacturer: same("manufacturer", "", "")
        case .parameterSet: same("parameter_set", "", "")
        case .modelVersion: same("model_version", "", "")
        case .hardwareVersion: same("hardware_version", "", "")
        case .firmwareVersion: same("firmware_version", "", "")
        case .softwareVersion: same("software_version", "", "")
        case .customerLocation: same("customer_location", "", "")
        case .customer: same("customer", "", "")
        case .errorFlags: same("error_flags", "state", "")
        case .digitalOutput: same("digital_output", "state", "")
        case .digitalInput: same("digital_input", "state", "")
        case .durationSinceReadout: same("duration_since_readout", "duration", "s")
        case .tariffDuration: same("tariff_duration", "duration", "s")
        case .dimensionless: same("dimensionless", "count", "")
        case .voltage: same("voltage", "voltage", "V")
        case .current: same("current", "current", "A")
        case .resetCounter: same("reset_counter", "count", "")
        case .cumulationCounter: same("cumulation_counter", "count", "")
        case .controlSignal: same("control_signal", "state", "")
        case .parameterActivation: same("parameter_activation", "", "")
        case .specialSupplier: same("special_supplier", "", "")
        case .durationSinceCumulation: same("duration_since_cumulation", "duration", "s")
        case .batteryOperatingTime: same("battery_operating_time", "working_time", "s")
        case .batteryChange: same("battery_change", "", "")
        case .rfLevel: same("rf_level", "signal_power", "dBm")
        case .batteryRemaining: same("battery_remaining", "duration", "d")
        case .reactiveEnergy: same("reactive_energy", "reactive_energy", "kvarh")
        case .reactivePower: same("reactive_power", "reactive_power", "kvar")
        case .apparentPower: same("apparent_power", "apparent_power", "kVA")
        case .relativeHumidity: same("relative_humidity", "relative_humidity", "%")
        case .frequency: same("frequency", "frequency", "Hz")
        case .temperatureLimit: same("temperature_limit", "", "°C")
        case .meterStatus: same("meter_status", "state", "")
        }
    }
}

/// A VIF code's meaning: the number on the wire × 10^exponent is in `unit`; that × factor ×
/// 10^factorExponent is in the stream's unit.
struct MBusUnit: Sendable {
    var kind: MBusKind
    var exponent = 0
    var unit: StaticString = ""
    var factor: Int64 = 1
    var factorExponent = 0
    /// False when the unit (months, years) cannot be brought to the stream's.
    var isConvertible = true

    /// The primary table, 7 bits.
    static func primary(_ code: UInt8) -> MBusUnit {
        let n = Int(code & 7)
        switch code {
        case 0x00...0x07: return MBusUnit(kind: .energy, exponent: n - 3, unit: "Wh")
        case 0x08...0x0F: return MBusUnit(kind: .energyJoule, exponent: n, unit: "J")
        case 0x10...0x17: return MBusUnit(kind: .volume, exponent: n - 6, unit: "m3")
        case 0x18...0x1F: return MBusUnit(kind: .mass, exponent: n - 3, unit: "kg")
        case 0x20...0x23: return time(.onTime, code & 3)
        case 0x24...0x27: return time(.operatingTime, code & 3)
        case 0x28...0x2F: return MBusUnit(kind: .power, exponent: n - 3, unit: "W")
        case 0x30...0x37: return MBusUnit(kind: .powerJoule, exponent: n, unit: "J/h")
        case 0x38...0x3F: return MBusUnit(kind: .volumeFlow, exponent: n - 6, unit: "m3/h")
        case 0x40...0x47:
            return MBusUnit(kind: .volumeFlow, exponent: n - 7, unit: "m3/min", factor: 60)
        case 0x48...0x4F:
            return MBusUnit(kind: .volumeFlow, exponent: n - 9, unit: "m3/s", factor: 3600)
        case 0x50...0x57: return MBusUnit(kind: .massFlow, exponent: n - 3, unit: "kg/h")
        default: return primaryFrom58(code)
        }
    }

    private static func primaryFrom58(_ code: UInt8) -> MBusUnit {
        let n = Int(code & 3)
        switch code {
        case 0x58...0x5B: return MBusUnit(kind: .flowTemperature, exponent: n - 3, unit: "°C")
        case 0x5C...0x5F: return MBusUnit(kind: .returnTemperature, exponent: n - 3, unit: "°C")
        case 0x60...0x63:
            return MBusUnit(kind: .temperatureDifference, exponent: n - 3, unit: "K")
        case 0x64...0x67:
            return MBusUnit(kind: .externalTemperature, exponent: n - 3, unit: "°C")
        case 0x68...0x6B: return MBusUnit(kind: .pressure, exponent: n - 3, unit: "bar")
        case 0x6C: return MBusUnit(kind: .date)
        case 0x6D: return MBusUnit(kind: .datetime)
        case 0x6E: return MBusUnit(kind: .hca)
        case 0x70...0x73: return time(.averagingDuration, code & 3)
        case 0x74...0x77: return time(.actualityDuration, code & 3)
        case 0x78: return MBusUnit(kind: .fabricationNumber)
        case 0x79: return MBusUnit(kind: .enhancedIdentification)
        case 0x7A: return MBusUnit(kind: .busAddress)
        case 0x7C: return MBusUnit(kind: .textUnit)
        case 0x7E: return MBusUnit(kind: .any)
        case 0x7F: return MBusUnit(kind: .manufacturerSpecific)
        default: return MBusUnit(kind: .reserved)
        }
    }

    /// The table behind FD.
    static func extensionFD(_ code: UInt8) -> MBusUnit {
        switch code {
        case 0x2C...0x2F: return time(.durationSinceReadout, code & 3)
        case 0x31...0x33: return time(.tariffDuration, code & 3)
        case 0x40...0x4F:
            return MBusUnit(kind: .voltage, exponent: Int(code & 15) - 9, unit: "V")
        case 0x50...0x5F:
            return MBusUnit(kind: .current, exponent: Int(code & 15) - 12, unit: "A")
        case 0x68...0x6B: return span(.durationSinceCumulation, code & 3)
        case 0x6C...0x6F: return span(.batteryOperatingTime, code & 3)
        case 0x71: return MBusUnit(kind: .rfLevel, unit: "dBm")
        case 0x74: return MBusUnit(kind: .batteryRemaining, unit: "d")
        default: return MBusUnit(kind: plainFD(code))
        }
    }

    private static func plainFD(_ code: UInt8) -> MBusKind {
        switch code {
        case 0x08: .accessNumber
        case 0x09: .medium
        case 0x0A: .manufacturer
        case 0x0B: .parameterSet
        case 0x0C: .modelVersion
        case 0x0D: .hardwareVersion
        case 0x0E: .firmwareVersion
        case 0x0F: .softwareVersion
        case 0x10: .customerLocation
        case 0x11: .customer
        case 0x17: .errorFlags
        case 0x1A: .digitalOutput
        case 0x1B: .digitalInput
        case 0x3A: .dimensionless
        case 0x60: .resetCounter
        case 0x61: .cumulationCounter
        case 0x62: .controlSignal
        case 0x66: .parameterActivation
        case 0x67: .specialSupplier
        case 0x70: .batteryChange
        default: .reserved
        }
    }

    /// The table behind FB.
    static func extensionFB(_ code: UInt8) -> MBusUnit {
        let n = Int(code & 1)
        switch code {
        case 0x00, 0x01:
            return MBusUnit(kind: .energy, exponent: n - 1, unit: "MWh", factorExponent: 6)
        case 0x02, 0x03: return MBusUnit(kind: .reactiveEnergy, exponent: n, unit: "kvarh")
        case 0x08, 0x09:
            return MBusUnit(kind: .energyJoule, exponent: n - 1, unit: "GJ", factorExponent: 9)
        case 0x10, 0x11: return MBusUnit(kind: .volume, exponent: n + 2, unit: "m3")
        case 0x14, 0x15: return MBusUnit(kind: .reactivePower, exponent: n, unit: "kvar")
        case 0x1A, 0x1B: return MBusUnit(kind: .relativeHumidity, exponent: n - 1, unit: "%")
        case 0x20, 0x21: return MBusUnit(kind: .volumeCubicFeet, exponent: -n, unit: "ft3")
        case 0x28, 0x29:
            return MBusUnit(kind: .power, exponent: n - 1, unit: "MW", factorExponent: 6)
        case 0x2C...0x2F:
            return MBusUnit(kind: .frequency, exponent: Int(code & 3) - 3, unit: "Hz")
        case 0x30, 0x31:
            return MBusUnit(kind: .powerJoule, exponent: n - 1, unit: "GJ/h", factorExponent: 9)
        case 0x34, 0x35: return MBusUnit(kind: .apparentPower, exponent: n, unit: "kVA")
        case 0x74...0x77:
            return MBusUnit(kind: .temperatureLimit, exponent: Int(code & 3) - 3, unit: "°C")
        default: return MBusUnit(kind: .reserved)
        }
    }

    /// Seconds, minutes, hours, days.
    private static func time(_ kind: MBusKind, _ scale: UInt8) -> MBusUnit {
        switch scale {
        case 0: MBusUnit(kind: kind, unit: "s")
        case 1: MBusUnit(kind: kind, unit: "min", factor: 60)
        case 2: MBusUnit(kind: kind, unit: "h", factor: 3600)
        default: MBusUnit(kind: kind, unit: "d", factor: 86_400)
        }
    }

    /// Hours, days, months, years.
    private static func span(_ kind: MBusKind, _ scale: UInt8) -> MBusUnit {
        switch scale {
        case 0: MBusUnit(kind: kind, unit: "h", factor: 3600)
        case 1: MBusUnit(kind: kind, unit: "d", factor: 86_400)
        case 2: MBusUnit(kind: kind, unit: "month", isConvertible: false)
        default: MBusUnit(kind: kind, unit: "a", isConvertible: false)
        }
    }
}
