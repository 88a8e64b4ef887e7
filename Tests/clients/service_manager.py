"""Plays systemd for one service: hears what it notifies (sd_notify(3)).

    service_manager.py WATCHDOG_SECONDS PROGRAM ARGUMENT…

Prints `pid N`, then each assignment with the seconds since the start: `0.123 READY=1`. SIGTERM ends the program
with SIGKILL and then this.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

folder = tempfile.mkdtemp(prefix="sluice-notify")
path = os.path.join(folder, "socket")
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind(path)
begun = time.monotonic()
environment = dict(
    os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC=str(int(float(sys.argv[1]) * 1e6))
)
child = subprocess.Popen(sys.argv[2:], env=environment)
print("pid", child.pid, flush=True)


def end(*_):
    child.kill()
    child.wait()
    heard.close()
    os.unlink(path)
    os.rmdir(folder)
    os._exit(0)


signal.signal(signal.SIGTERM, end)
while True:
    for line in heard.recv(4096).decode().splitlines():
        print(f"{time.monotonic() - begun:.3f} {line}", flush=True)
