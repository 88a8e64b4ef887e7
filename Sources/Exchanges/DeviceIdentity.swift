// Names that devices give themselves (LwM2M endpoint, MQTT-SN client id) as identities of the
// catalog, which are at most 64 characters of `[A-Za-z0-9._:-]`.

import Model

enum DeviceIdentity {
    /// Other bytes become `_` and two hex digits: OneNET's `imei;imsi` is `imei_3bimsi`. Nil when the
    /// name is empty or the text too long.
    static func text(of name: some Collection<UInt8>) -> [UInt8]? {
        var text: [UInt8] = []
        for byte in name {
            if DeviceKey.isAllowed(byte) {
                text.append(byte)
            } else {
                let digits = Array(String(byte, radix: 16).utf8)
                text += [0x5F] + (digits.count == 1 ? [0x30] : []) + digits
            }
            guard text.count <= DeviceKey.maximumLength else { return nil }
        }
        return text.isEmpty ? nil : text
    }
}
