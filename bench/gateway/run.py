#!/usr/bin/env python3
"""Ark's gateway beside nginx: the same backend, the same load, rounds interleaved.

Needs nginx and wrk (Debian's packages) and a release build:

    cargo build --release -p ark-gateway --example gateway
    bench/gateway/run.py [--rounds 5] [--seconds 4] [--case 1k/64 ...]

Prints per case requests per second, p99 and CPU per request of the proxy's processes (user and
system time from /proc), and Ark's ratio to nginx. CPU per request is the number to judge by: the
rate depends on what else runs on the machine. Medians over the rounds.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CASES = {
    "1k/64": ("1k", 64),
    "1k/8": ("1k", 8),
    "1k/1000": ("1k", 1000),
    "128k/64": ("128k", 64),
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"nothing listens on port {port}")


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_us(pids):
    """User and system time so far, in microseconds."""
    user = system = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user += int(fields[11])
        system += int(fields[12])
    return [ticks * 1e6 / os.sysconf("SC_CLK_TCK") for ticks in (user, system)]


def rss_kib(pids):
    total = 0
    for pid in pids:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        total += int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
    return total


def start_nginx(place, name, **ports):
    text = (HERE / f"nginx-{name}.conf").read_text().replace("PLACE", str(place))
    for key, port in ports.items():
        text = text.replace(key, str(port))
    conf = place / f"{name}.conf"
    conf.write_text(text)
    # A session of its own, as Ark's supervisor makes one: the kernel shares the processors out
    # between sessions, and both must stand alike.
    return subprocess.Popen(
        ["nginx", "-c", str(conf), "-p", str(place), "-g", "daemon off;"], start_new_session=True)


def table(backend):
    return {
        "generation": {"epoch": 1, "number": 1},
        "routes": [
            {
                "key": {"env": "bench", "app": "web", "expose": "http"},
                "hosts": ["bench.test", "127.0.0.1"],
                "path": "/",
                "protocol": "http",
                "discovery_port": None,
                "limits": {
                    "response_header_ms": 60000,
                    "idle_body_ms": 300000,
                    "hold_ms": 0,
                    "body_bytes_max": 1 << 20,
                },
                "targets": [
                    {
                        "instance": "0190a3b2-0000-7000-8000-000000000001",
                        "release": 1,
                        "address": f"127.0.0.1:{backend}",
                        "state": {"state": "active", "weight": 100},
                        "probe": {
                            "check": {"kind": "http", "path": "/1k"},
                            "interval_ms": 1000,
                            "timeout_ms": 1000,
                            "successes": 1,
                            "failures": 3,
                        },
                        "process": None,
                    }
                ],
            }
        ],
    }


def load(port, path, connections, seconds):
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
         f"http://127.0.0.1:{port}/{path}"],
        check=True, capture_output=True, text=True).stdout
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    p99_ms = float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    errors = re.search(r"(Non-2xx.*|Socket errors.*)", out)
    return requests, rate, p99_ms, errors.group(1) if errors else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--gateway", default=ROOT / "target/release/examples/gateway")
    parser.add_argument("--only", choices=["ark", "nginx"])
    options = parser.parse_args()
    for tool in ["nginx", "wrk"]:
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    place = pathlib.Path(tempfile.mkdtemp(prefix="ark-bench-"))
    (place / "www").mkdir()
    (place / "www/1k").write_bytes(b"x" * 1024)
    (place / "www/128k").write_bytes(b"x" * (128 << 10))
    place.chmod(0o755)
    backend, proxy, ark = free_port(), free_port(), free_port()
    running = []
    try:
        running.append(start_nginx(place, "backend", BACKEND=backend))
        running.append(start_nginx(place, "proxy", BACKEND=backend, PROXY=proxy))
        data = place / "data"
        data.mkdir()
        (data / "gateway-table.json").write_text(json.dumps(table(backend)))
        running.append(subprocess.Popen([str(options.gateway), str(data), f"127.0.0.1:{ark}"]))
        for port in [backend, proxy, ark]:
            wait_for(port)
        while not (data / "gateway.json").exists():
            time.sleep(0.02)
        while len(children(running[1].pid)) < 2:
            time.sleep(0.02)
        pids = {
            "nginx": [running[1].pid, *children(running[1].pid)],
            "ark": [json.loads((data / "gateway.json").read_text())["pid"]],
        }
        ports = {"nginx": proxy, "ark": ark}
        names = [options.only] if options.only else ["nginx", "ark"]
        for name in names:
            load(ports[name], "1k", 64, 1)
        print(f"{'case':9} {'proxy':6} {'req/s':>9} {'p99 ms':>8} {'us CPU/req':>11} {'of it user':>11} {'RSS KiB':>9}")
        for case in options.case or ["1k/64", "1k/8", "128k/64"]:
            path, connections = CASES[case]
            results = {name: [] for name in names}
            for _ in range(options.rounds):
                for name in names:
                    before = cpu_us(pids[name])
                    requests, rate, p99, errors = load(
                        ports[name], path, connections, options.seconds)
                    user, system = [
                        (now - then) / requests for now, then in zip(cpu_us(pids[name]), before)]
                    results[name].append((rate, p99, user + system, user))
                    if errors:
                        print(f"  {name}: {errors}", file=sys.stderr)
            medians = {
                name: [statistics.median(column) for column in zip(*rows)]
                for name, rows in results.items()
            }
            for name, (rate, p99, cpu, user) in medians.items():
                memory = rss_kib(pids[name])
                print(f"{case:9} {name:6} {rate:9.0f} {p99:8.2f} {cpu:11.2f} {user:11.2f} {memory:9}")
            if len(medians) == 2:
                ratio = [medians["ark"][i] / medians["nginx"][i] for i in range(4)]
                print(f"{case:9} ratio  {ratio[0]:9.2f} {ratio[1]:8.2f} {ratio[2]:11.2f} {ratio[3]:11.2f}")
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
