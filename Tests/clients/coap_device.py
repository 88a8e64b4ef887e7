"""A device that speaks CoAP with aiocoap, for the end-to-end tests.

    coap_device.py OPEN NARROW

Two ports of one gateway: OPEN takes every path, by Content-Format; NARROW only /s, as SenML. Prints one
line a step: what was done and what the gateway answered.
"""

import asyncio
import json
import sys

import cbor2
from aiocoap import Code, Context, Message, Unreliable

DEVICE = "urn:dev:ow:10e2073a01080063:"


def senml(*values, name="temp"):
    # Each reading of its own second, so that none covers another.
    records = [{"n": name, "u": "Cel", "v": value, "t": -k - 1} for k, value in enumerate(values)]
    records[0]["bn"] = DEVICE
    return records


def text(records):
    return json.dumps(records, separators=(",", ":")).encode()


def binary(records):
    labels = {"bn": -2, "n": 0, "u": 1, "v": 2, "t": 6}
    return cbor2.dumps([{labels[k]: v for k, v in record.items()} for record in records])


async def main():
    wide, narrow = ("coap://127.0.0.1:" + port for port in sys.argv[1:])
    context = await Context.create_client_context()

    async def ask(step, uri, payload=b"", code=Code.POST, **more):
        request = Message(code=code, uri=uri, payload=payload, **more)
        answer = await asyncio.wait_for(context.request(request).response, 60)
        print(" ".join([step, answer.code.dotted, answer.payload.decode()]).strip()
              if code == Code.GET else step + " " + answer.code.dotted, flush=True)

    await ask("con json", wide + "/t", text(senml(21.5)), content_format=110)
    await ask("non json", wide + "/t", text(senml(21.75, name="inlet")), content_format=110,
              transport_tuning=Unreliable)
    await ask("put cbor", wide + "/t", binary(senml(22.25, name="outlet")), code=Code.PUT,
              content_format=112)
    body = text(senml(*(k / 8 for k in range(112)), name="flow"))
    assert len(body) > 4096, len(body)
    await ask("blocks", wide + "/t", body, content_format=110)
    await ask("unknown format", wide + "/t", b"<a/>", content_format=41)
    await ask("no senml", wide + "/t", b"[{]", content_format=110)
    await ask("nothing", wide + "/t", content_format=110)
    await ask("get", wide + "/t", code=Code.GET)
    await ask("narrow", narrow + "/s", text(senml(23.5, name="return")), content_format=110)
    await ask("wrong path", narrow + "/t", text(senml(99.5)), content_format=110)
    await ask("delete", narrow + "/s", code=Code.DELETE)
    await ask("list", narrow + "/.well-known/core", code=Code.GET)
    await context.shutdown()


asyncio.run(main())
