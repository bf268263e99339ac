#!/usr/bin/env python3
"""Ark's gateway beside nginx and HAProxy over HTTP/2 and TLS: the same backend, the same load,
rounds interleaved, as in `run.py`, whose parts it uses.

Needs nginx, haproxy, openssl and h2load (nghttp2-client; all Debian's packages) and a release build:

    cargo build --release -p ark-gateway --example gateway
    bench/gateway/h2.py [--rounds 5] [--seconds 3] [--case 1k/8x8 ...] [--cleartext]

A case is the body, the number of connections and the streams at a time on each.
"""

import argparse
import json
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import run

CASES = {
    "1k/8x8": ("1k", 8, 8),
    "1k/64x1": ("1k", 64, 1),
    "1k/1x64": ("1k", 1, 64),
    "128k/8x8": ("128k", 8, 8),
}

HAPROXY = """
global
    nbthread 2
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend tls
    bind 127.0.0.1:PROXY BIND
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend app
backend app
    server one 127.0.0.1:BACKEND
"""


def load(url, connections, streams, seconds):
    out = subprocess.run(
        ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", url],
        check=True, capture_output=True, text=True).stdout
    done, failed = re.search(r"requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed", out).groups()
    rate = float(re.search(r"([\d.]+) req/s", out).group(1))
    mean = re.search(r"time for request:\s+\S+\s+(\S+)\s+(\S+)", out)
    value, unit = re.match(r"([\d.]+)(us|ms|s)", mean.group(2)).groups()
    return int(done), rate, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit], int(failed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--cleartext", action="store_true")
    parser.add_argument("--gateway", default=run.ROOT / "target/release/examples/gateway")
    options = parser.parse_args()
    for tool in ["nginx", "haproxy", "openssl", "h2load"]:
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    place = pathlib.Path(tempfile.mkdtemp(prefix="ark-bench-"))
    (place / "www").mkdir()
    (place / "www/1k").write_bytes(b"x" * 1024)
    (place / "www/128k").write_bytes(b"x" * (128 << 10))
    place.chmod(0o755)
    certs = place / "data/certs"
    certs.mkdir(parents=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", certs / "local.key", "-out", certs / "local.pem"],
        check=True, capture_output=True)
    (place / "both.pem").write_text((certs / "local.pem").read_text() + (certs / "local.key").read_text())
    ports = {name: run.free_port() for name in ["nginx", "haproxy", "ark", "plain"]}
    backend = run.free_port()
    running = []
    try:
        running.append(run.start_nginx(place, "backend", BACKEND=backend))
        text = (run.HERE / "nginx-proxy.conf").read_text().replace("PLACE", str(place))
        tls = "http2" if options.cleartext else "ssl http2"
        text = text.replace("BACKEND", str(backend)).replace(
            "listen 127.0.0.1:PROXY backlog=4096;",
            f"listen 127.0.0.1:{ports['nginx']} {tls} backlog=4096;\n"
            + ("" if options.cleartext else
               f"ssl_certificate {certs}/local.pem; ssl_certificate_key {certs}/local.key;"))
        (place / "proxy.conf").write_text(text)
        running.append(subprocess.Popen(
            ["nginx", "-c", str(place / "proxy.conf"), "-p", str(place), "-g", "daemon off;"],
            start_new_session=True))
        bind = "proto h2" if options.cleartext else f"ssl crt {place}/both.pem alpn h2"
        (place / "haproxy.cfg").write_text(
            HAPROXY.replace("PROXY", str(ports["haproxy"])).replace("BACKEND", str(backend))
            .replace("BIND", bind))
        running.append(subprocess.Popen(
            ["haproxy", "-f", str(place / "haproxy.cfg"), "-db"], start_new_session=True,
            stderr=subprocess.DEVNULL))
        data = place / "data"
        table = run.table(backend)
        table["routes"][0]["hosts"].append("localhost")
        (data / "gateway-table.json").write_text(json.dumps(table))
        addresses = [f"127.0.0.1:{ports['ark']}"]
        if not options.cleartext:
            addresses = [f"127.0.0.1:{ports['plain']}", f"tls:127.0.0.1:{ports['ark']}"]
        running.append(subprocess.Popen([str(options.gateway), str(data), *addresses]))
        for port in [backend, ports["nginx"], ports["haproxy"], ports["ark"]]:
            run.wait_for(port)
        while not (data / "gateway.json").exists() or len(run.children(running[1].pid)) < 2:
            time.sleep(0.02)
        pids = {
            "nginx": [running[1].pid, *run.children(running[1].pid)],
            "haproxy": [running[2].pid],
            "ark": [json.loads((data / "gateway.json").read_text())["pid"]],
        }
        scheme = "http" if options.cleartext else "https"
        urls = {name: f"{scheme}://localhost:{ports[name]}" for name in pids}
        for name in pids:
            load(f"{urls[name]}/1k", 8, 8, 1)
        print(f"{'case':9} {'proxy':8} {'req/s':>9} {'max ms':>8} {'us CPU/req':>11} {'of it user':>11} {'RSS KiB':>9}")
        for case in options.case or CASES:
            path, connections, streams = CASES[case]
            results = {name: [] for name in pids}
            for _ in range(options.rounds):
                for name in pids:
                    before = run.cpu_us(pids[name])
                    done, rate, slowest, failed = load(
                        f"{urls[name]}/{path}", connections, streams, options.seconds)
                    user, system = [
                        (now - then) / max(done, 1)
                        for now, then in zip(run.cpu_us(pids[name]), before)]
                    results[name].append((rate, slowest, user + system, user))
                    if failed:
                        print(f"  {name}: {failed} failed", file=sys.stderr)
            medians = {
                name: [statistics.median(column) for column in zip(*rows)]
                for name, rows in results.items()
            }
            for name, (rate, slowest, cpu, user) in medians.items():
                memory = run.rss_kib(pids[name])
                print(f"{case:9} {name:8} {rate:9.0f} {slowest:8.2f} {cpu:11.2f} {user:11.2f} {memory:9}")
            for other in ["nginx", "haproxy"]:
                ratio = [medians["ark"][i] / medians[other][i] for i in range(4)]
                print(f"{case:9} to {other:7} {ratio[0]:7.2f} {ratio[1]:8.2f} {ratio[2]:11.2f} {ratio[3]:11.2f}")
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
