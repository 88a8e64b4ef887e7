"""An LwM2M 1.1 client on aiocoap, for the end-to-end tests: registers, is observed, notifies, updates,
deregisters.

    lwm2m_device.py OWN GATEWAY

OWN is the port it uses for both directions, as LwM2M asks. Prints one line a step.
"""

import asyncio
import struct
import sys

from aiocoap import Code, Context, Message
from aiocoap.resource import ObservableResource, Site

TEXT, TLV, LINKS = 0, 11542, 40


class Value(ObservableResource):
    """A resource or an object instance that is read, observed and changed."""

    def __init__(self, content_format, payload):
        super().__init__()
        self.content_format = content_format
        self.payload = payload
        self.rendered = asyncio.Event()

    async def told(self):
        """Until the gateway is being told the value."""
        await asyncio.wait_for(self.rendered.wait(), 60)
        self.rendered.clear()

    async def render_get(self, request):
        self.rendered.set()
        return Message(payload=self.payload, content_format=self.content_format)

    async def change(self, payload):
        self.payload = payload
        self.updated_state()
        await self.told()


def tlv(resources):
    """Resources of one instance, each a 32-bit float: C4 | identifier | value."""
    return b"".join(bytes([0xC4]) + struct.pack(">H", number)[1:] + struct.pack(">f", value)
                    if number < 256 else
                    bytes([0xE4]) + struct.pack(">Hf", number, value)
                    for number, value in resources.items())


async def main():
    own, gateway = sys.argv[1:]
    uri = "coap://127.0.0.1:" + gateway
    temperature = Value(TEXT, b"21.5")
    power = Value(TLV, tlv({5800: 1500.0, 5805: 12.25}))
    site = Site()
    site.add_resource(["3303", "0", "5700"], temperature)
    site.add_resource(["3305", "0"], power)
    context = await Context.create_server_context(site, bind=("127.0.0.1", int(own)))

    async def ask(step, path, payload=b"", code=Code.POST, **more):
        request = Message(code=code, uri=uri + path, payload=payload, **more)
        answer = await asyncio.wait_for(context.request(request).response, 60)
        print(step, answer.code.dotted, flush=True)
        return answer

    await ask("unknown", "/rd/AAAAAAAA")
    await ask("no name", "/rd?lt=300&lwm2m=1.1", b"</3/0>", content_format=LINKS)
    created = await ask("register", "/rd?ep=urn:imei:860123045678901&lt=300&lwm2m=1.1&b=U",
                        b"</1/0>,</3/0>,</3303/0>,</3305/0>", content_format=LINKS)
    place = "/" + "/".join(created.opt.location_path)
    await temperature.told()
    await power.told()
    print("observed", flush=True)
    await temperature.change(b"21.75")
    await temperature.change(b"22.0")
    await power.change(tlv({5800: 1750.0, 5805: 12.5}))
    await ask("update", place + "?lt=600")
    await temperature.change(b"22.25")
    await ask("send", "/dp", b'[{"bn":"/3303/0/5700","v":23.5,"t":-60}]', content_format=110)
    await ask("deregister", place, code=Code.DELETE)
    await ask("update again", place)
    await context.shutdown()


asyncio.run(main())
