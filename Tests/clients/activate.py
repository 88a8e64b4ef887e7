"""Keeps sockets open over restarts of a program, as systemd does (sd_listen_fds(3)).

    activate.py UDP_PORT TCP_PORT PROGRAM ARGUMENT…

Starts the program with both sockets; prints `started` each time. SIGHUP ends it with SIGTERM and starts it
anew, SIGTERM ends both.
"""

import os
import signal
import socket
import sys

datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", int(sys.argv[1])))
streams = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
streams.bind(("127.0.0.1", int(sys.argv[2])))
streams.listen(16)
wanted = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
signal.signal(signal.SIGCHLD, lambda *_: None)


def start():
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
        # Beyond 3 and 4 first, so that neither covers the other.
        os.dup2(os.dup2(datagrams.fileno(), 10), 3)
        os.dup2(os.dup2(streams.fileno(), 11), 4)
        os.closerange(5, 64)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
        os.execv(sys.argv[3], sys.argv[3:])
    print("started", flush=True)
    return child


child = start()
while True:
    received = signal.sigwait(wanted)
    if received == signal.SIGCHLD:
        sys.exit("the program ended by itself")
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    if received == signal.SIGTERM:
        sys.exit(0)
    # Its end is known; what is pending about it is of no use.
    while signal.sigpending() & {signal.SIGCHLD}:
        signal.sigwait({signal.SIGCHLD})
    child = start()
