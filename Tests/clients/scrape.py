"""Debian's Prometheus scrapes a gateway once a second; then the ledger's laws are looked for in what it kept.

    scrape.py TARGET SECONDS RULES_FILE

Prints `scrapes N`, `up LEAST`, and for each law the largest violation in any scrape: `frames 0`. Exit status 0 when
Prometheus answered.
"""

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

LAWS = {
    "frames": "sluice_frames_received_total - sluice_frames_decoded_total - sluice_frames_duplicate_total"
    " - sluice_frames_control_total - ignoring(reason) sum without(reason)(sluice_frames_rejected_total)",
    "readings": "sluice_readings_decoded_total - sum without(reason)(sluice_readings_dropped_total)"
    " - sluice_readings_acknowledged_total - sluice_readings_evicted_total - sluice_readings_rejected_total"
    " - sum without(place)(sluice_readings_held)",
    "unaccounted": "sluice_ledger_unaccounted",
}

target, seconds, rules = sys.argv[1], float(sys.argv[2]), sys.argv[3]
folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-prometheus"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
(folder / "prometheus.yml").write_text(
    json.dumps(
        {
            "rule_files": [rules],
            "scrape_configs": [
                {
                    "job_name": "sluice",
                    "scrape_interval": "1s",
                    "scrape_timeout": "1s",
                    "static_configs": [{"targets": [target]}],
                }
            ],
        }
    )
)
server = subprocess.Popen(
    [
        "/usr/bin/prometheus", f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
    ],
    stderr=open(folder / "log", "w"),
)  # fmt: skip


def ask(query):
    """The values of an instant query."""
    address = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(address, timeout=10) as answer:
        return [float(row["value"][1]) for row in json.load(answer)["data"]["result"]]


try:
    begun = time.monotonic()
    while True:
        try:
            if ask("count_over_time(up[1h])"):
                break
        except OSError:
            pass
        if time.monotonic() > begun + 60:
            sys.exit("prometheus does not answer: " + (folder / "log").read_text()[-2000:])
        time.sleep(0.2)
    time.sleep(seconds)
    span = f"{int(seconds) + 60}s"
    print("scrapes", int(ask(f"count_over_time(up[{span}])")[0]))
    print("up", int(ask(f"min_over_time(up[{span}])")[0]))
    for name, law in LAWS.items():
        print(name, int(ask(f"max_over_time(abs({law})[{span}:1s])")[0]))
    print("frames-seen", int(ask("sluice_frames_received_total")[0]))
    print("growing", int(ask(f"changes(sluice_frames_received_total[{span}])")[0]))
    print("rules", int(ask("count(ALERTS) or vector(0)")[0]))
finally:
    server.kill()
    server.wait()
    shutil.rmtree(folder)
