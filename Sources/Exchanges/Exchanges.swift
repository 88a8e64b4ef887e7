// Conversations with devices: state machines `step(event, now) -> effects`, without I/O, for what needs
// memory between frames (CoAP, LwM2M, MQTT-SN, polling, reassembly). Nothing lives here yet: answers that
// follow from one frame alone are templates of its format (Formats).
