"""Plays systemd's journal for one program: its stderr is a stream of ours, and entries come as datagrams.

    unshare --mount python3 journal.py PROGRAM ARGUMENT…

In a mount namespace of its own, because the journal's socket has one place. Prints each entry as a line of JSON, and
what comes through stderr as {"stderr": …}. SIGTERM ends the program with SIGKILL and then this.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

os.makedirs("/run/systemd/journal", exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/systemd/journal"], check=True)
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
ours, theirs = socket.socketpair()
state = os.fstat(theirs.fileno())
environment = dict(os.environ, JOURNAL_STREAM=f"{state.st_dev}:{state.st_ino}")
child = subprocess.Popen(sys.argv[1:], stderr=theirs, env=environment)
theirs.close()


def end(*_):
    child.kill()
    child.wait()
    os._exit(0)


def stream():
    for line in ours.makefile():
        print(json.dumps({"stderr": line}), flush=True)


signal.signal(signal.SIGTERM, end)
threading.Thread(target=stream, daemon=True).start()
while True:
    data = journal.recv(1 << 20)
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = struct.unpack("<Q", data[:8])[0]
            value, data = data[8 : 8 + size], data[9 + size :]
        fields[name.decode()] = value.decode()
    print(json.dumps(fields), flush=True)
