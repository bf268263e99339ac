#!/usr/bin/env python3
"""Ark's gateway beside nginx and HAProxy over HTTP/2, with TLS or without: as `run.py`.

Needs nginx, haproxy, openssl and h2load (nghttp2-client; all Debian's packages) and a release build:

    cargo build --release -p ark-gateway --example gateway
    bench/gateway/h2.py [--rounds 5] [--seconds 3] [--case 1k/8x8 ...] [--cleartext]

A case is the body, the number of connections and the streams at a time on each.
"""

import argparse
import re
import subprocess
import tempfile

import peers

CASES = {
    "1k/8x8": ("1k", 8, 8),
    "1k/64x1": ("1k", 64, 1),
    "1k/1000x1": ("1k", 1000, 1),
    "1k/1x64": ("1k", 1, 64),
    "128k/8x8": ("128k", 8, 8),
    "128k/64x1": ("128k", 64, 1),
    "128k/1000x1": ("128k", 1000, 1),
}


def load(proxy, path, connections, streams, seconds, scheme):
    with tempfile.NamedTemporaryFile("r") as log:
        out = subprocess.run(
            ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", f"--log-file={log.name}",
             f"{scheme}://localhost:{proxy.port}/{path}"],
            check=True, capture_output=True, text=True).stdout
        # Begin, status and how long it took in microseconds, a line for each request.
        took = sorted(int(line.split("\t")[2]) for line in log if line.count("\t") >= 2)
    done, failed = re.search(r"requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed", out).groups()
    rate = float(re.search(r"([\d.]+) req/s", out).group(1))
    errors = f"{failed} failed" if int(failed) else None
    return int(done), rate, took[len(took) * 99 // 100] / 1000, errors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--cleartext", action="store_true")
    parser.add_argument("--gateway", default=peers.GATEWAY)
    options = parser.parse_args()
    peers.need("nginx", "haproxy", "openssl", "h2load")
    tls = not options.cleartext
    scheme = "https" if tls else "http"
    with peers.Place() as place:
        proxies = [
            place.nginx(tls, http2=True),
            place.haproxy(tls, http2=True),
            place.ark(options.gateway, tls),
        ]
        for proxy in proxies:
            load(proxy, "1k", 8, 8, 1, scheme)
        cases = {case: (*CASES[case], options.seconds, scheme) for case in options.case or CASES}
        peers.compare(cases, proxies, options.rounds, load, "p99 ms")


if __name__ == "__main__":
    main()
