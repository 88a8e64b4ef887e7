// The codec `mqtt-sn`: one message and, of those that a client sends, what a gateway that accepts
// everything must answer. It carries no readings: topic names and clients are known to the exchange
// `mqtt-sn` only, which acts on the same parser and answers when the payload is safe.

import Model

extension Machine {
    mutating func mqttSN<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        let message = try MQTTSNMessage(cursor, position..<limit)
        if S.explains { show(message, &sink) }
        sink.control()
        position = limit
    }

    private func show<S: FrameSink>(_ message: MQTTSNMessage, _ sink: inout S) {
        let all = position..<limit
        sink.leaf("type", all, .text(message.kind.text), self)
        func number(_ name: String, _ value: Int) {
            sink.leaf(name, all, .number(.decimal(Int64(value))), self)
        }
        func text(_ name: String) {
            let text = String(decoding: cursor.bytes(message.text), as: UTF8.self)
            sink.leaf(name, message.text, .text(text), self)
        }
        func flags() {
            number("qos", message.qos)
            sink.leaf("retain", all, .boolean(message.isRetained), self)
        }
        func data() {
            sink.leaf("payload", message.data, .bytes(cursor.bytes(message.data)), self)
        }
        switch message.kind {
        case .advertise:
            number("gateway", Int(message.octet))
            number("interval_s", Int(message.duration ?? 0))
        case .searchGateway: number("radius", Int(message.octet))
        case .gatewayInfo:
            number("gateway", Int(message.octet))
            if !message.text.isEmpty {
                sink.leaf("address", message.text, .bytes(cursor.bytes(message.text)), self)
            }
        case .connect:
            sink.leaf("clean", all, .boolean(message.isClean), self)
            sink.leaf("will", all, .boolean(message.hasWill), self)
            number("keepalive_s", Int(message.duration ?? 0))
            text("client_id")
        case .connectAck, .willTopicResponse, .willMessageResponse:
            number("return_code", Int(message.returnCode))
        case .willTopicRequest, .willMessageRequest, .pingResponse: break
        case .willTopic, .willTopicUpdate:
            flags()
            text("topic_name")
        case .willMessage, .willMessageUpdate: data()
        case .register:
            number("topic", Int(message.topic))
            number("msg_id", Int(message.messageID))
            text("topic_name")
        case .registerAck, .publishAck:
            number("topic", Int(message.topic))
            number("msg_id", Int(message.messageID))
            number("return_code", Int(message.returnCode))
        case .publish:
            flags()
            sink.leaf("dup", all, .boolean(message.isDuplicate), self)
            show(topicOf: message, &sink)
            number("msg_id", Int(message.messageID))
            data()
        case .publishComplete, .publishReceived, .publishRelease, .unsubscribeAck:
            number("msg_id", Int(message.messageID))
        case .subscribe, .unsubscribe:
            flags()
            sink.leaf("dup", all, .boolean(message.isDuplicate), self)
            number("msg_id", Int(message.messageID))
            if message.topicKind == .normal {
                sink.leaf("topic_type", all, .text("normal"), self)
                text("topic_name")
            } else {
                show(topicOf: message, &sink)
            }
        case .subscribeAck:
            number("qos", message.qos)
            number("topic", Int(message.topic))
            number("msg_id", Int(message.messageID))
            number("return_code", Int(message.returnCode))
        case .pingRequest: if !message.text.isEmpty { text("client_id") }
        case .disconnect: if let duration = message.duration { number("duration_s", Int(duration)) }
        case .encapsulated: encapsulated(message, &sink)
        }
        reply(message, all, &sink)
    }

    private func show<S: FrameSink>(topicOf message: MQTTSNMessage, _ sink: inout S) {
        let all = position..<limit
        switch message.topicKind {
        case .normal: sink.leaf("topic_type", all, .text("normal"), self)
        case .predefined: sink.leaf("topic_type", all, .text("predefined"), self)
        case .short:
            let bytes = [UInt8(message.topic >> 8), UInt8(message.topic & 0xFF)]
            sink.leaf("topic_type", all, .text("short"), self)
            sink.leaf("topic", all, .text(String(decoding: bytes, as: UTF8.self)), self)
            return
        }
        sink.leaf("topic", all, .number(.decimal(Int64(message.topic))), self)
    }

    private func encapsulated<S: FrameSink>(_ message: MQTTSNMessage, _ sink: inout S) {
        let all = position..<limit
        sink.leaf("radius", all, .number(.decimal(Int64(message.octet))), self)
        sink.leaf("node", message.text, .bytes(cursor.bytes(message.text)), self)
        guard let inner = try? MQTTSNMessage(cursor, message.inner, isInner: true) else { return }
        sink.openObject("inner", at: message.inner.lowerBound, machine: self)
        var nested = self
        nested.position = message.inner.lowerBound
        nested.show(inner, &sink)
        sink.close()
    }

    private func reply<S: FrameSink>(
        _ message: MQTTSNMessage, _ range: Range<Int>, _ sink: inout S
    ) {
        guard direction == .up else { return }
        var bytes: [UInt8] = []
        message.appendAnswer(to: &bytes)
        if !bytes.isEmpty {
            sink.leaf("reply", range, .bytes(bytes), self)
        } else if message.kind == .publish {
            sink.leaf("reply", range, .null, self)
        }
    }
}

extension MQTTSNMessage {
    /// The answer of a gateway that accepts the message and needs no table for it; nothing for the types
    /// that are not answered or whose answer depends on what the gateway knows.
    package func appendAnswer(to bytes: inout [UInt8]) {
        switch kind {
        case .connect:
            if hasWill {
                MQTTSNMessage.writeWillTopicRequest(to: &bytes)
            } else {
                MQTTSNMessage.writeConnectAck(.accepted, to: &bytes)
            }
        // Without flags and topic the will is deleted and the connection stands.
        case .willTopic:
            if text.isEmpty {
                MQTTSNMessage.writeConnectAck(.accepted, to: &bytes)
            } else {
                MQTTSNMessage.writeWillMessageRequest(to: &bytes)
            }
        case .willMessage: MQTTSNMessage.writeConnectAck(.accepted, to: &bytes)
        case .willTopicUpdate:
            MQTTSNMessage.writeWillResponse(topic: true, .accepted, to: &bytes)
        case .willMessageUpdate:
            MQTTSNMessage.writeWillResponse(topic: false, .accepted, to: &bytes)
        case .publish where qos == 1:
            MQTTSNMessage.writePublishAck(
                topic: topic, messageID: messageID, .accepted, to: &bytes)
        case .publish where qos == 2:
            MQTTSNMessage.write(.publishReceived, messageID: messageID, to: &bytes)
        case .publishReceived:
            MQTTSNMessage.write(.publishRelease, messageID: messageID, to: &bytes)
        case .publishRelease:
            MQTTSNMessage.write(.publishComplete, messageID: messageID, to: &bytes)
        case .unsubscribe: MQTTSNMessage.write(.unsubscribeAck, messageID: messageID, to: &bytes)
        case .pingRequest: MQTTSNMessage.writePingResponse(to: &bytes)
        case .disconnect: MQTTSNMessage.writeDisconnect(to: &bytes)
        case .advertise, .searchGateway, .gatewayInfo, .connectAck, .willTopicRequest,
            .willMessageRequest, .register, .registerAck, .publish, .publishAck, .publishComplete,
            .subscribe, .subscribeAck, .unsubscribeAck, .pingResponse, .willTopicResponse,
            .willMessageResponse, .encapsulated:
            break
        }
    }
}

extension MQTTSNMessage.Kind {
    /// `publish`
    var text: String {
        switch self {
        case .advertise: "advertise"
        case .searchGateway: "searchgw"
        case .gatewayInfo: "gwinfo"
        case .connect: "connect"
        case .connectAck: "connack"
        case .willTopicRequest: "willtopicreq"
        case .willTopic: "willtopic"
        case .willMessageRequest: "willmsgreq"
        case .willMessage: "willmsg"
        case .register: "register"
        case .registerAck: "regack"
        case .publish: "publish"
        case .publishAck: "puback"
        case .publishComplete: "pubcomp"
        case .publishReceived: "pubrec"
        case .publishRelease: "pubrel"
        case .subscribe: "subscribe"
        case .subscribeAck: "suback"
        case .unsubscribe: "unsubscribe"
        case .unsubscribeAck: "unsuback"
        case .pingRequest: "pingreq"
        case .pingResponse: "pingresp"
        case .disconnect: "disconnect"
        case .willTopicUpdate: "willtopicupd"
        case .willTopicResponse: "willtopicresp"
        case .willMessageUpdate: "willmsgupd"
        case .willMessageResponse: "willmsgresp"
        case .encapsulated: "encapsulated"
        }
    }
}
