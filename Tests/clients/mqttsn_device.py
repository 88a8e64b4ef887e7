"""MQTT-SN clients of the package mqtt-sn-12, for the end-to-end tests.

    mqttsn_device.py PORT

Prints one line a step; a gateway's refusal or silence ends it with an exception of the package.
"""

import logging
import struct
import sys

from mqttsn12.client.MqttSnClient import MqttSnClient
from mqttsn12.client.MqttSnClientException import MqttSnClientException
from mqttsn12.MqttSnConstants import MqttSnConstants


def client(port, name=None):
    made = MqttSnClient()
    made.set_timeout(30)
    made.open("127.0.0.1", port)
    if name:
        made.set_client_id(name)
        made.set_keep_alive(60)
        made.send_connect()
        print("connected", name, flush=True)
    return made


def value(name, number, device=""):
    return ('[{"bn":"%s","n":"%s","u":"Cel","v":%s}]' % (device, name, number)).encode()


def main():
    # What the package logs, its exceptions say as well.
    logging.disable()
    port = int(sys.argv[1])
    # QoS -1: no connection, no answer; the payload says who it is.
    stray = client(port)
    stray.send_publish_predefined(7, value("stray", 28.5, "urn:dev:ow:10e2073a01080063:"), -1)
    stray.close()
    print("published -1", flush=True)

    meter = client(port, "meter-7")
    meter.send_search_gateway(1)
    topic = meter.send_register("plant/meter-7")
    for qos in (0, 1, 2):
        meter.send_publish_with_id(topic, 0, value("q%d" % qos, 20.5 + qos), qos)
        print("published", qos, flush=True)
    meter.send_publish_predefined(7, value("predefined", 24.5), 1)
    meter.send_publish("ab", value("short", 25.5), 1)
    print("published other topics", flush=True)
    try:
        meter.send_publish_with_id(topic + 1, 0, value("lost", 99.5), 1)
    except MqttSnClientException as error:
        print("unregistered topic:", error, flush=True)
    meter.send_ping_req()
    meter.send_disconnect(60)
    print("asleep", flush=True)
    # The package's ping names no client; a sleeping one must (MQTT-SN 1.2 section 6.14).
    name = b"meter-7"
    meter.send_packet(struct.pack("BB", 2 + len(name), MqttSnConstants.TYPE_PINGREQ) + name)
    assert meter.wait_for(True, MqttSnConstants.TYPE_PINGRESP) is not None
    print("woken", flush=True)
    meter.send_connect()
    meter.send_publish_with_id(meter.send_register("plant/meter-7"), 0, value("awake", 26.5), 1)
    print("published awake", flush=True)
    meter.send_disconnect()
    meter.close()

    willing = MqttSnClient()
    willing.set_timeout(30)
    willing.set_will("plant/gone", "gone", 0, False)
    willing.open("127.0.0.1", port)
    willing.set_client_id("meter-8")
    willing.send_connect()
    willing.send_publish("plant/meter-8", value("will", 27.5), 2)
    willing.send_disconnect()
    willing.close()
    print("published with a will", flush=True)


main()
