// What a CoAP request means on an LwM2M server's registration interface (OMA LwM2M 1.1.1 core
// section 6.2, transport section 6.4.3): which operation, its parameters as ranges of the datagram,
// and what to answer as far as the message alone tells. Whether a location or an endpoint is known
// is the exchange's to judge. Nothing is copied or allocated. Invariant: every range lies inside
// the bytes that were parsed.

import Model

package struct LwM2MRequest: Sendable {
    package enum Operation: UInt8, Sendable {
        /// POST /rd
        case register
        /// POST /rd/<location>
        case update
        /// DELETE /rd/<location>
        case deregister
        /// POST /bs
        case bootstrap
        case other

        package var text: String {
            switch self {
            case .register: "register"
            case .update: "update"
            case .deregister: "deregister"
            case .bootstrap: "bootstrap-request"
            case .other: "other"
            }
        }
    }

    package static let defaultLifetime: UInt32 = 86_400

    package var operation = Operation.other
    /// Text of `ep`, UTF-8; nil when it was not sent.
    package var endpoint: Range<Int>?
    /// Seconds; nil when it was not sent (a registration then has `defaultLifetime`).
    package var lifetime: UInt32?
    /// Text of `lwm2m`: `1.1`.
    package var version: Range<Int>?
    /// Text of `b`: `UQ`.
    package var binding: Range<Int>?
    package var sms: Range<Int>?
    /// `Q` alone (1.1) or in the binding (1.0).
    package var usesQueue = false
    /// The segment behind `/rd/` of an update or a deregistration.
    package var location: Range<Int>?
    /// `pct` of a bootstrap request.
    package var preferredFormat: UInt32?
    /// Code to answer if the endpoint is welcome and the location known; nil for `other`.
    package var verdict: CoAPCode?

    package init(_ message: CoAPMessage, in datagram: Span<UInt8>) {
        self = Cursor.over(datagram) { LwM2MRequest(message, $0) }
    }

    init(_ message: CoAPMessage, _ cursor: Cursor) {
        var first: Range<Int>?
        var places = CoAPMessage.OptionPlace(message)
        var isBroken = false
        while let option = places.next(cursor) {
            switch option.number {
            case CoAPOptionNumber.uriPath:
                if first == nil { first = option.value } else { location = option.value }
            case CoAPOptionNumber.uriQuery: take(option.value, cursor, &isBroken)
            default: break
            }
        }
        guard let first else { return }
        operation = LwM2MRequest.operation(message, first, cursor)
        if operation != .update, operation != .deregister { location = nil }
        verdict = judge(message, cursor, isBroken)
    }

    private static func operation(
        _ message: CoAPMessage, _ first: Range<Int>, _ cursor: Cursor
    ) -> Operation {
        let isDirectory = cursor.holds("rd", first)
        switch (message.code, message.pathSegments) {
        case (.post, 1) where isDirectory: return .register
        case (.post, 2) where isDirectory: return .update
        case (.delete, 2) where isDirectory: return .deregister
        case (.post, 1) where cursor.holds("bs", first): return .bootstrap
        default: return .other
        }
    }

    private mutating func take(_ query: Range<Int>, _ cursor: Cursor, _ isBroken: inout Bool) {
        func value(_ name: StaticString) -> Range<Int>? {
            guard cursor.begins(with: name, query) else { return nil }
            return query.lowerBound &+ name.utf8CodeUnitCount..<query.upperBound
        }
        if let text = value("ep=") {
            endpoint = text
        } else if let text = value("lt=") {
            lifetime = cursor.decimal(text)
            if lifetime == nil { isBroken = true }
        } else if let text = value("lwm2m=") {
            version = text
        } else if let text = value("b=") {
            binding = text
            for i in text where cursor.byte(i) == 0x51 { usesQueue = true }
        } else if let text = value("sms=") {
            sms = text
        } else if let text = value("pct=") {
            preferredFormat = cursor.decimal(text)
        } else if cursor.holds("Q", query) {
            usesQueue = true
        }
    }

    private func judge(_ message: CoAPMessage, _ cursor: Cursor, _ isBroken: Bool) -> CoAPCode? {
        switch operation {
        case .other: return nil
        case .deregister: return .deleted
        case .bootstrap: return (endpoint ?? 0..<0).isEmpty ? .badRequest : .changed
        case .update:
            if isBroken { return .badRequest }
            return judgeLinks(message, cursor) ?? .changed
        case .register:
            guard let endpoint, !endpoint.isEmpty, !isBroken, !message.payload.isEmpty else {
                return .badRequest
            }
            if let version, !isSupported(version, cursor) { return .preconditionFailed }
            return judgeLinks(message, cursor) ?? .created
        }
    }

    /// 1.0, 1.1 and 1.2 register alike.
    private func isSupported(_ version: Range<Int>, _ cursor: Cursor) -> Bool {
        cursor.holds("1.0", version) || cursor.holds("1.1", version)
            || cursor.holds("1.2", version)
    }

    /// Nil when the object list is well formed or absent.
    private func judgeLinks(_ message: CoAPMessage, _ cursor: Cursor) -> CoAPCode? {
        guard !message.payload.isEmpty else { return nil }
        if let format = message.contentFormat, format != 40 { return .unsupportedContentFormat }
        var walker = LinkWalker(cursor, message.payload)
        do throws(Rejection) {
            var count = 0
            var objects = 0
            while let link = try walker.next() {
                count &+= 1
                if count > ObjectList.maximum { return .requestEntityTooLarge }
                let type = LinkWalker.attribute("rt", of: link, cursor) ?? 0..<0
                if !cursor.holds("/", link.target), !cursor.holds("oma.lwm2m", type) {
                    objects &+= 1
                }
            }
            if objects == 0, operation == .register { return .badRequest }
        } catch { return .badRequest }
        return nil
    }
}

extension Cursor {
    /// Value of decimal digits; nil when there are none, others, or too many for 32 bits.
    func decimal(_ range: Range<Int>) -> UInt32? {
        guard !range.isEmpty, range.count <= 10 else { return nil }
        var value: UInt64 = 0
        for i in range {
            guard let byte = byte(i), byte >= 0x30, byte <= 0x39 else { return nil }
            value = value &* 10 &+ UInt64(byte &- 0x30)
        }
        return UInt32(exactly: value)
    }
}
