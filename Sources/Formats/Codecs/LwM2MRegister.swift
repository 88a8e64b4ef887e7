// The codec `lwm2m-register`: what a message says to an LwM2M server's registration interface, and
// what the server must answer if it knows the location and welcomes the endpoint. It carries no
// readings; the exchange `lwm2m` acts on the same parser.

import Model

extension Machine {
    mutating func lwM2MRegister<S: FrameSink>(
        _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let message = try CoAPMessage(cursor, position..<limit)
        let request = LwM2MRequest(message, cursor)
        sink.control()
        if S.explains {
            show(request, message, &sink)
            reply(request, message, &sink)
        }
        position = limit
    }

    private func show<S: FrameSink>(
        _ request: LwM2MRequest, _ message: CoAPMessage, _ sink: inout S
    ) {
        let all = message.options
        sink.leaf("op", all, .text(request.operation.text), self)
        func text(_ name: String, _ range: Range<Int>?) {
            guard let range else { return }
            let text = String(decoding: cursor.bytes(range), as: UTF8.self)
            sink.leaf(name, range, .text(text), self)
        }
        switch request.operation {
        case .other: return
        case .bootstrap:
            text("endpoint", request.endpoint)
            if let format = request.preferredFormat {
                sink.leaf("preferred_format", all, .number(.decimal(Int64(format))), self)
            }
            return
        case .deregister, .update:
            if let location = request.location {
                let id = String(decoding: cursor.bytes(location), as: UTF8.self)
                sink.leaf("location", location, .text("/rd/" + id), self)
            }
        case .register:
            if request.version == nil { sink.leaf("version", all, .text("1.0"), self) }
            if request.binding == nil { sink.leaf("binding", all, .text("U"), self) }
        }
        guard request.operation != .deregister else { return }
        text("endpoint", request.endpoint)
        text("version", request.version)
        text("binding", request.binding)
        text("sms", request.sms)
        if let lifetime = request.lifetime {
            sink.leaf("lifetime_s", all, .number(.decimal(Int64(lifetime))), self)
        } else if request.operation == .register {
            let lifetime = Int64(LwM2MRequest.defaultLifetime)
            sink.leaf("lifetime_s", all, .number(.decimal(lifetime)), self)
        }
        if request.operation == .register || request.binding != nil || request.usesQueue {
            sink.leaf("queue", all, .boolean(request.usesQueue), self)
        }
        show(message.payload, &sink)
    }

    /// The object list.
    private func show<S: FrameSink>(_ payload: Range<Int>, _ sink: inout S) {
        guard !payload.isEmpty, let list = try? ObjectList(cursor, payload) else { return }
        if !list.root.isEmpty { sink.leaf("root", payload, .text(list.root), self) }
        if !list.contentFormats.isEmpty {
            sink.openList("content_formats", at: payload.lowerBound, machine: self)
            for format in list.contentFormats {
                sink.leaf("", payload, .number(.decimal(Int64(format))), self)
            }
            sink.close()
        }
        sink.openList("objects", at: payload.lowerBound, machine: self)
        for entry in list.entries {
            sink.openObject("", at: payload.lowerBound, machine: self)
            sink.leaf("path", payload, .text(entry.path), self)
            sink.leaf("object", payload, .number(.decimal(Int64(entry.object))), self)
            if let instance = entry.instance {
                sink.leaf("instance", payload, .number(.decimal(Int64(instance))), self)
            }
            if let version = entry.version { sink.leaf("ver", payload, .text(version), self) }
            sink.close()
        }
        sink.close()
    }

    private func reply<S: FrameSink>(
        _ request: LwM2MRequest, _ message: CoAPMessage, _ sink: inout S
    ) {
        let head = position..<position &+ 4
        sink.openObject("reply", at: position, machine: self)
        sink.leaf("type", head, .text(message.kind == .confirmable ? "ACK" : "NON"), self)
        // The answer to a NON message carries a number of the server's own.
        let number = Value.decimal(Int64(message.messageID))
        sink.leaf("message_id", head, message.kind == .confirmable ? .number(number) : .null, self)
        sink.leaf("token", message.token, .bytes(cursor.bytes(message.token)), self)
        sink.leaf("code", head, request.verdict.map { .text($0.text) } ?? .null, self)
        if request.verdict == .created { sink.leaf("location", head, .boolean(true), self) }
        sink.close()
    }
}
