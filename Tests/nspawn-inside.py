"""What Tests/nspawn runs as the only service of a machine of its own: the package from install to purge.

Each step is a function; it fails by an exception, and the next one begins. Prints `ok STEP: figures` or `FAILED
STEP: why`, at the end a summary. Exit status 1 when a step failed.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tarfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).parent
STATE = pathlib.Path("/var/lib/sluice")
STORE = pathlib.Path("/var/lib/sluice-store/store.sqlite")
DROP_INS = pathlib.Path("/run/systemd/system/sluiced.service.d")
FRAME_READINGS = 5

# What the README tells a person to write, with a shorter batch interval so that steps are short.
CONFIGURATION = """{
  gateway: "nspawn",
  sources: [
    { name: "load", listen: "udp://127.0.0.1:9001", formats: ["sluice-reference"] },
    { name: "stream", listen: "tcp://127.0.0.1:9001", formats: ["sluice-reference"] },
  ],
  batch: { interval: "500ms" },
  store: { address: "127.0.0.1:9100" },
  uplink: { firstBackoff: "100ms", longestBackoff: "1s" },
  %s
}
"""


def run(*command, check=True, timeout=60):
    """The output of both kinds; a failure shows it."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}: {done.stdout[-1500:]}")
    return done.stdout


def require(is_so, what):
    if not is_so:
        raise AssertionError(what)


def until(what, ask, seconds=15.0):
    """The first answer that is true."""
    limit = time.monotonic() + seconds
    answer = None
    while time.monotonic() < limit:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s: {answer}")


def shown(unit, *names):
    text = run("systemctl", "show", unit, *(f"-p{name}" for name in names))
    values = dict(line.split("=", 1) for line in text.splitlines())
    return values[names[0]] if len(names) == 1 else [values[name] for name in names]


def main_pid():
    return int(shown("sluiced", "MainPID"))


def journal(since, unit="sluiced"):
    return run("journalctl", "-u", unit, "--since", f"@{since:.3f}", "-o", "cat", "--no-pager")


def admin(route):
    """(status, JSON) of the daemon behind its Unix socket; None while there is none."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(5)
        try:
            asked.connect("/run/sluice/admin.sock")
            asked.sendall(f"GET {route} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = b""
            while part := asked.recv(65536):
                answer += part
        except OSError:
            return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if body else None


def ledger():
    return until("the ledger is told", lambda: admin("/ledger"))[1]


def drained(frames):
    """The ledger once the store has everything of at least so many frames; it must balance."""

    def ask():
        told = admin("/ledger")
        if told and told[1]["framesReceived"] >= frames and told[1]["readingsHeld"] == 0:
            return told[1]
        return None

    try:
        end = until(f"{frames} frames have reached the store", ask, 30)
    except AssertionError as error:
        raise AssertionError(f"{error}: {admin('/ledger')}") from None
    require(end["unaccounted"] == 0, f"unaccounted {end['unaccounted']}")
    return end


def stored():
    """(readings, different ones) in the store."""
    with contextlib.closing(sqlite3.connect(f"file:{STORE}?mode=ro", uri=True)) as store:
        return store.execute(
            "SELECT count(*), count(DISTINCT device || ' ' || stream || ' ' || observed_ms)"
            " FROM readings"
        ).fetchone()


CRC = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
    CRC.append(byte)


def frame(number, asks):
    """A frame of sluice-reference (protocols/reference-sensor.json5); no two have the same number or time."""
    now = int(STARTED * 1000) + number
    body = struct.pack(
        ">2sBBQIHIhHIHH28x", b"SL", 1, 1 if asks else 0, 0x00E1000000000000 | number % 50, number,
        now >> 32, now & 0xFFFFFFFF, 2000 + number % 50, 5000, 101300, 600, 3300,
    )  # fmt: skip
    crc = 0xFFFF
    for byte in body:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    return body + struct.pack("<H", crc)


def load(frames, rate, asks, during=lambda: None):
    """Sends frames at a steady rate while something is done. Those that ask are repeated, byte for byte, until
    they are answered."""
    first, load.last = load.last + 1, load.last + frames
    unanswered, problems = {}, []

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
            device.connect(("127.0.0.1", 9001))
            device.setblocking(False)
            begun = time.monotonic()
            number = first
            while number <= load.last or unanswered:
                now = time.monotonic()
                while number <= load.last and begun + (number - first) / rate <= now:
                    bytes = frame(number, asks)
                    with contextlib.suppress(ConnectionRefusedError):
                        device.send(bytes)
                    if asks:
                        unanswered[number] = [bytes, now]
                    number += 1
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    while answer := device.recv(64):
                        unanswered.pop(int.from_bytes(answer[4:8], "big"), None)
                for entry in unanswered.values():
                    if entry[1] + 0.3 < now:
                        with contextlib.suppress(ConnectionRefusedError, BlockingIOError):
                            device.send(entry[0])
                        entry[1] = now
                if now > begun + frames / rate + 60:
                    problems.append(f"{len(unanswered)} frames were never answered")
                    return
                time.sleep(0.001)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        time.sleep(0.3)
        during()
    finally:
        sender.join()
    require(not problems, problems)


load.last = 0


def write_configuration(more=""):
    pathlib.Path("/etc/sluice/sluiced.json5").write_text(CONFIGURATION % more)


@contextlib.contextmanager
def drop_in(text):
    """Further lines of the unit, for one step."""
    DROP_INS.mkdir(parents=True, exist_ok=True)
    file = DROP_INS / "step.conf"
    file.write_text(text)
    run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        file.unlink()
        run("systemctl", "daemon-reload")


def active():
    return run("systemctl", "is-active", "sluiced", check=False).strip() == "active"


def incarnations():
    with contextlib.closing(sqlite3.connect(f"file:{STORE}?mode=ro", uri=True)) as store:
        return store.execute("SELECT count(*) FROM incarnations").fetchone()[0]


# --- steps


def install():
    begun = time.monotonic()
    run("apt-get", "install", "-y", "-q", f"{HERE}/sluice.deb", timeout=120)
    taken = time.monotonic() - begun
    require(active(), "sluiced does not run: " + run("systemctl", "status", "sluiced", check=False))
    require("enabled" in run("systemctl", "is-enabled", "sluiced"), "sluiced is not enabled")
    store = run("systemctl", "is-enabled", "sluice-store", check=False).strip()
    require(store == "disabled", f"sluice-store is {store}")
    status = STATE.stat()
    require(status.st_mode & 0o777 == 0o700, oct(status.st_mode))
    require(STATE.owner() == "sluice", STATE.owner())
    formats = admin("/status")[1]["formats"]
    require(formats["loaded"] > 30, f"formats: {formats}")
    run("sluiced", "--check")
    for file in ["man/man8/sluiced.8.gz", "bash-completion/completions/sluice"]:
        require(os.path.exists(f"/usr/share/{file}"), file)
    return f"{taken:.1f} s"


def readme():
    """The README's session, command by command, as it is printed there."""
    begun = time.monotonic()
    block = re.search(
        r"<!-- nspawn: five minutes -->\n```sh\n(.*?)```", (HERE / "README.md").read_text(), re.S
    )
    said = ""
    for command in block.group(1).strip().split("\n"):
        if "apt install" not in command:
            said += f"$ {command}\n{run('bash', '-ec', command)}"
    count = stored()[0]
    require(count > 0, f"no reading is in the store\n{said}")
    return f"{count} readings in the store after {time.monotonic() - begun:.1f} s"


def sandbox():
    """What the kernel says of the running process."""
    text = pathlib.Path(f"/proc/{main_pid()}/status").read_text()
    values = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    require(values["CapEff"].strip("0") == "" and values["CapBnd"].strip("0") == "", "capabilities")
    require(values["NoNewPrivs"] == "1" and values["Seccomp"] == "2", "no filter")
    require(values["Uid"].split()[0] != "0", "root")
    said = journal(STARTED)
    require("thread priority" not in said and "atal" not in said, said)
    level = run("systemd-analyze", "security", "--no-pager", "sluiced.service", check=False)
    found = re.search(r"level for sluiced.service: ([0-9.]+)", level)
    require(found is None or float(found[1]) <= 1.0, level[-300:])
    return f"exposure {found[1] if found else 'not told'}"


def reload():
    before = ledger()["framesReceived"]
    counts = {"reloads": 0}

    def reloads():
        while counts["reloads"] < 100:
            run("systemctl", "reload", "sluiced")
            counts["reloads"] += 1

    pid = main_pid()
    load(12000, 1000, True, reloads)
    end = drained(before + 12000)
    require(main_pid() == pid, "another process")
    require(end["kernelDrops"] == 0, f"kernel drops {end['kernelDrops']}")

    # Other settings, under the unit's sandbox: frames that nobody answers, and none is lost.
    other = pathlib.Path("/etc/sluice/conf.d/50-test.json5")
    other.parent.mkdir(exist_ok=True)

    def settings(number, devices):
        other.write_text(f"{{ limits: {{ devices: {devices} }} }}")
        run("systemctl", "reload", "sluiced")
        until(
            "the settings take over",
            lambda: (status := admin("/status")) and status[1]["configuration"]["reloads"] == number,
        )

    load(4000, 1000, False, lambda: [settings(1, 5000), settings(2, 6000)])
    end = drained(before + 16000)
    require(main_pid() == pid and active(), "another process")
    require(end["framesReceived"] == before + 16000, f"{end['framesReceived'] - before} of 16,000 frames")
    settings(3, 100000)
    other.unlink()
    return f"{counts['reloads']} reloads of formats, 2 of settings, in 16,000 frames at 1,000/s: none lost"


def doctor():
    """Under a real systemd and journald: what it says of a gateway that runs, and what its bundle holds."""
    said = subprocess.run(["sluice", "doctor", "--json"], capture_output=True, text=True, timeout=60)
    found = json.loads(said.stdout)
    problems = [one for one in found["findings"] if one["level"] == "problem"]
    require(said.returncode == 0 and not problems, f"{said.returncode}: {problems}")
    bundle = pathlib.Path("/tmp/bundle.tar.gz")
    run("sluice", "doctor", "--bundle", str(bundle), check=False)
    with tarfile.open(bundle) as files:
        names = files.getnames()
        logs = [name for name in names if "journal" in name or "log" in name]
        text = "".join(files.extractfile(name).read().decode(errors="replace") for name in logs)
    bundle.unlink()
    require("sluiced" in text and "ready" in text, f"no journal in {names}: {text[:300]}")
    return f"{len(found['findings'])} findings, no problem; {len(names)} files in the bundle"


def restart():
    """Without the socket unit: the kernel refuses datagrams meanwhile, devices repeat what is unanswered."""
    # The README's meters tell some hours twice by themselves.
    before, different_before = stored()
    frames = ledger()["framesReceived"]

    def restarts():
        for _ in range(3):
            run("systemctl", "restart", "sluiced")
            time.sleep(0.3)

    load(4000, 1000, True, restarts)
    end = drained(frames + 4000)
    time.sleep(1)
    count, different = stored()
    require(
        count >= before + 4000 * FRAME_READINGS, f"{before} -> {count}: {end}"
    )
    require(count == before + 4000 * FRAME_READINGS, f"{count - before} readings of 4,000 frames")
    twice = (count - before) - (different - different_before)
    require(twice == 0, f"{twice} twice")
    return "3 restarts in 4,000 answered frames: all in the store, none twice"


def socket_restart():
    """With the socket unit: frames that nobody answers, and none is lost."""
    run("systemctl", "stop", "sluiced")
    run("systemctl", "enable", "--now", "sluiced.socket")
    run("systemctl", "start", "sluiced")
    before, frames = stored()[0], ledger()["framesReceived"]

    def restarts():
        for _ in range(3):
            run("systemctl", "restart", "sluiced")
            time.sleep(0.3)

    load(4000, 1000, False, restarts)
    end = drained(frames + 4000)
    require(end["framesReceived"] == frames + 4000, f"{end['framesReceived'] - frames} of 4,000")
    require(end["kernelDrops"] == 0, f"kernel drops {end['kernelDrops']}")
    time.sleep(0.5)
    count = stored()[0] - before
    require(count == 4000 * FRAME_READINGS, f"{count} readings of 4,000 frames")
    return "3 restarts in 4,000 unanswered frames at 1,000/s: every datagram arrived"


def upgrade():
    """A newer package while frames come; the sockets stay, spool, catalog and identity too."""
    known, frames = incarnations(), ledger()["framesReceived"]
    pid = main_pid()

    def dpkg():
        run("dpkg", "--install", f"{HERE}/newer.deb", timeout=120)

    load(6000, 1000, False, dpkg)
    require(main_pid() not in (0, pid), "not restarted")
    end = drained(frames + 6000)
    require(end["framesReceived"] == frames + 6000, f"{end['framesReceived'] - frames} of 6,000")
    require(incarnations() == known, "the store sees another gateway")
    run("dpkg", "--install", f"{HERE}/sluice.deb", timeout=120)
    require(ledger()["framesReceived"] == frames + 6000, "an older package of the same layout")
    require(incarnations() == known, "the store sees another gateway")
    return "6,000 unanswered frames at 1,000/s: every datagram arrived; and back"


def downgrade():
    """State of a newer layout is refused, and left as it is."""
    said = []
    for name in ["segment-*.db", "catalog.db", "quarantine.db"]:
        run("systemctl", "stop", "sluiced.socket", "sluiced")
        files = sorted(STATE.glob(name))
        if not files and name == "quarantine.db":
            continue
        require(files, f"no {name}: {sorted(p.name for p in STATE.iterdir())}")
        with contextlib.closing(sqlite3.connect(files[-1])) as file:
            layout = file.execute("PRAGMA user_version").fetchone()[0]
            file.execute("PRAGMA user_version=99")
        since = time.time()
        run("systemctl", "start", "sluiced", check=False)
        until("the refusal", lambda: "newer than this program" in journal(since))
        run("systemctl", "stop", "sluiced")
        with contextlib.closing(sqlite3.connect(files[-1])) as file:
            require(file.execute("PRAGMA user_version").fetchone()[0] == 99, "changed")
            file.execute(f"PRAGMA user_version={layout}")
        run("chown", "sluice:sluice", *(str(path) for path in STATE.iterdir()))
        said.append(files[-1].name)
    run("systemctl", "start", "sluiced.socket", "sluiced")
    return "refused by name, unchanged: " + " ".join(said)


def watchdog():
    """SIGSTOP: nothing is fed; systemd ends and restarts it."""
    seconds = 2
    with drop_in(f"[Service]\nWatchdogSec={seconds}\n"):
        run("systemctl", "restart", "sluiced")
        time.sleep(2.5 * seconds)
        pid = main_pid()
        require(shown("sluiced", "NRestarts") == "0", "restarted without cause")
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        until("a new process", lambda: main_pid() not in (0, pid) and active(), seconds + 10)
        taken = time.monotonic() - begun
    run("systemctl", "restart", "sluiced")
    require(taken <= seconds + 3, f"{taken:.1f} s with a watchdog of {seconds} s")
    return f"running again {taken:.1f} s after SIGSTOP, watchdog {seconds} s"


@contextlib.contextmanager
def small_disk(megabytes):
    """The state on a file system of its own, and the daemon restarted on it."""
    run("systemctl", "stop", "sluiced.socket", "sluiced")
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "state", str(STATE))
    run("chown", "sluice:sluice", str(STATE))
    try:
        run("systemctl", "start", "sluiced")
        yield
    finally:
        run("systemctl", "stop", "sluiced")
        run("umount", str(STATE))
        run("systemctl", "start", "sluiced.socket", "sluiced")


def health():
    answer = admin("/health")
    return answer[1]["reasons"] if answer else None


def read_only():
    """The daemon starts on a file system that takes nothing, takes frames in, says so, and heals."""
    with small_disk(64):
        load(500, 1000, True)
        drained(500)
        run("systemctl", "stop", "sluiced")
        # The file system, not this mount of it: as the kernel does after an error. The unit's own view of a
        # mount that is read-only when it starts stays so.
        run("mount", "-o", "remount,ro", str(STATE))
        run("mount", "-o", "remount,bind,rw", str(STATE))
        run("systemctl", "start", "sluiced")
        pid = main_pid()
        load(300, 300, False)
        reasons = until("health is red", health)
        run("mount", "-o", "remount,rw", str(STATE))
        until("health is green", lambda: health() == [], 20)
        end = drained(800)
        require(end["framesReceived"] == 800, f"{end['framesReceived']} of 800")
        require(main_pid() == pid, "another process")
    return f"red ({reasons[0]}), then healed: 800 of 800 frames stored"


def full_disk():
    with small_disk(32):
        load(500, 1000, True)
        pid = main_pid()
        filler = STATE / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        load(3000, 1000, False)
        until("everything is known to the ledger", lambda: ledger()["framesReceived"] >= 3500)
        require(active() and main_pid() == pid, "it did not live through it")
        filler.unlink()
        until("health is green", lambda: health() == [], 30)
        end = drained(3500)
        lost = end["readingsEvicted"] + end["readingsDropped"]
        load(200, 1000, True)
        drained(3700)
    return f"3,000 frames on a full disk: {lost} readings shed and counted; healed"


def credential():
    """A secret that the configuration names and nobody has put there."""
    keys = pathlib.Path("/etc/credstore/sluice.keys")
    require(keys.parent.stat().st_mode & 0o777 == 0o700, "mode of /etc/credstore")
    write_configuration('keys: "credential:sluice.keys",')
    since = time.time()
    run("systemctl", "restart", "sluiced", check=False)
    until("the message", lambda: "/etc/credstore/sluice.keys" in journal(since))
    require(not active(), "it runs without its keys")
    message = [line for line in journal(since).splitlines() if "credstore" in line][0]
    keys.write_text('{ keys: { "*": "000102030405060708090a0b0c0d0e0f" } }\n')
    keys.chmod(0o600)
    run("systemctl", "restart", "sluiced")
    require(active(), "it does not take the credential")
    handed = run("stat", "-c", "%a %U", "/run/credentials/sluiced.service/sluice.keys").strip()
    require("000102030405" not in journal(since), "the key is in the journal")
    write_configuration()
    keys.unlink()
    run("systemctl", "restart", "sluiced")
    return f"“{message}”; handed over as {handed}"


def lifecycle():
    """Figures, with the machine's load beside them."""
    took = []
    for _ in range(5):
        run("systemctl", "stop", "sluiced.socket", "sluiced")
        run("systemctl", "start", "sluiced")
        begun, ready = shown(
            "sluiced", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"
        )
        took.append((int(ready) - int(begun)) / 1000)
    pid = main_pid()
    seconds = float(os.environ.get("SLUICE_IDLE_SECONDS", "5"))

    def sums():
        ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        switches = {}
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            text = (task / "status").read_text()
            switches[task.name] = int(re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)", text)[1])
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"), switches

    # Threads of libdispatch that have nothing to do end after some seconds.
    time.sleep(6)
    cpu, before = sums()
    time.sleep(seconds)
    later, after = sums()
    cpu = later - cpu
    switches = sum(count - before.get(task, 0) for task, count in after.items())
    rss = re.search(r"VmRSS:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]
    drain = {}

    def stop():
        time.sleep(1.2)
        begun = time.monotonic()
        run("systemctl", "stop", "sluiced")
        drain["seconds"] = time.monotonic() - begun
        run("systemctl", "start", "sluiced")

    load(4000, 2000, True, stop)
    run("systemctl", "start", "sluiced.socket", check=False)
    require(drain["seconds"] < 10, f"SIGTERM took {drain['seconds']:.1f} s")
    return (
        f"start to ready {sorted(took)[2]:.0f} ms (median of 5), idle {100 * cpu / seconds:.2f} % CPU, "
        f"{switches / seconds:.1f} wake-ups/s over {seconds:.0f} s, {int(rss) / 1024:.1f} MB resident, "
        f"SIGTERM at 2,000 frames/s: {drain['seconds'] * 1000:.0f} ms; load {os.getloadavg()[0]:.1f}"
    )


def remove():
    known = incarnations()
    run("dpkg", "--remove", "sluice", timeout=120)
    require(not active() and not os.path.exists("/usr/bin/sluiced"), "still there")
    require(list(STATE.glob("segment-*")), "the spool is gone")
    require(os.path.exists("/etc/sluice/sluiced.json5"), "the configuration is gone")
    run("apt-get", "install", "-y", "-q", f"{HERE}/sluice.deb", timeout=120)
    require(active(), "not started again: " + run("systemctl", "status", "sluiced", check=False))
    run("systemctl", "start", "sluice-store")
    frames = ledger()["framesReceived"]
    load(100, 1000, True)
    drained(frames + 100)
    require(incarnations() == known, "another identity")
    run("dpkg", "--purge", "sluice", timeout=120)
    left = [
        path
        for path in [STATE, STORE.parent, pathlib.Path("/etc/sluice"), pathlib.Path("/run/sluice")]
        if path.exists()
    ]
    require(not left, f"left after the purge: {left}")
    links = run("find", "/etc/systemd", "-name", "*sluice*").strip()
    require(not [link for link in links.splitlines() if "sluice-test" not in link], links)
    return "state stays on remove and is known again, goes on purge"


STEPS = [
    install, readme, sandbox, reload, doctor, restart, socket_restart, upgrade, downgrade, watchdog,
    read_only, full_disk, credential, lifecycle, remove,
]  # fmt: skip
STARTED = time.time()
passed, failed = 0, []
wanted = os.environ.get("SLUICE_STEPS", "").split()
for step in STEPS:
    if step is sandbox:
        # From here on with a short interval.
        write_configuration()
        run("systemctl", "start", "sluice-store")
        run("systemctl", "restart", "sluiced")
    if wanted and step.__name__ not in wanted:
        continue
    begun = time.monotonic()
    try:
        figures = step()
        passed += 1
        print(f"ok {step.__name__} ({time.monotonic() - begun:.1f} s): {figures}", flush=True)
    except Exception as error:
        failed.append(step.__name__)
        print(f"FAILED {step.__name__} ({time.monotonic() - begun:.1f} s): {error}", flush=True)
        if not isinstance(error, AssertionError):
            traceback.print_exc(file=sys.stdout)
        print(run("journalctl", "-n", "15", "-o", "short-precise", "--no-pager"), flush=True)
print(f"nspawn: {passed} steps passed, {len(failed)} failed: {failed}", flush=True)
sys.exit(1 if failed else 0)
