"""Meters for the end-to-end tests: servers of pymodbus and dlt645, and slaves on a pseudo-terminal.

    meters.py modbus-tcp PORT | modbus-rtu PORT | dlt645 PORT | slaves LINK

Runs until it is killed.
"""

import asyncio
import os
import sys
import tty

BLOCK = {0: 2305, 1: 251, 2: 4999, 100: 0x0001, 101: 0x86A0, 102: 215}


def modbus(port, framer):
    from pymodbus.datastore import (ModbusDeviceContext, ModbusServerContext,
                                    ModbusSequentialDataBlock)
    from pymodbus.server import StartAsyncTcpServer

    # The data block counts from 1.
    def registers(add):
        return ModbusSequentialDataBlock(1, [BLOCK.get(k, 0) + add for k in range(200)])

    devices = {n: ModbusDeviceContext(hr=registers(n), ir=registers(n)) for n in (1, 2)}
    context = ModbusServerContext(devices=devices, single=False)
    asyncio.run(StartAsyncTcpServer(context, framer=framer, address=("127.0.0.1", port)))


def dlt645_server(port):
    from dlt645.service.serversvc.server_service import MeterServerService

    server = MeterServerService.new_tcp_server("127.0.0.1", port, 3600)
    # Its address is in the order of the wire.
    server.set_address("120000000000")
    server.set_00(0x00000000, 1234.56)
    server.set_02(0x02010100, 230.5)
    server.start()
    while True:
        import time
        time.sleep(3600)


def crc(data):
    c = 0xFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = c >> 1 ^ 0xA001 if c & 1 else c >> 1
    return bytes(data) + bytes([c & 255, c >> 8])


def slaves(link):
    """Address 1 answers, 2 after noise and in two pieces, 3 is silent, 4 says 5, 6 has a wrong checksum
    once in two answers; a two-wire adapter hands every request back."""
    controller, line = os.openpty()
    tty.setraw(controller)
    tty.setraw(line)
    os.symlink(os.ttyname(line), link)
    received = b""
    count = 0
    while True:
        received += os.read(controller, 256)
        while len(received) >= 8:
            request, received = received[:8], received[8:]
            if crc(request[:6]) != request:
                received = request[1:] + received
                continue
            os.write(controller, request)
            device, start, quantity = request[0], request[2] << 8 | request[3], request[5]
            if device == 3:
                continue
            body = bytes([5 if device == 4 else device, 3, 2 * quantity])
            for register in range(start, start + quantity):
                body += (BLOCK.get(register, 0) + device).to_bytes(2, "big")
            answer = crc(body)
            count += 1
            if device == 6 and count % 2:
                answer = answer[:-1] + bytes([answer[-1] ^ 1])
            if device == 2:
                os.write(controller, b"\x00\xff\x7e" + answer[:4])
                answer = answer[4:]
            os.write(controller, answer)


def main():
    kind, where = sys.argv[1:]
    if kind == "slaves":
        slaves(where)
    elif kind == "dlt645":
        dlt645_server(int(where))
    else:
        from pymodbus import FramerType
        modbus(int(where), FramerType.SOCKET if kind == "modbus-tcp" else FramerType.RTU)


main()
