#!/usr/bin/env python3
"""Ark's gateway beside nginx and HAProxy over HTTP/1.1: the same backend, the same load, in turns.

Needs nginx, haproxy, openssl and wrk (Debian's packages) and a release build:

    cargo build --release -p ark-gateway --example gateway
    bench/gateway/run.py [--rounds 5] [--seconds 4] [--case 1k/64 ...]

Prints per case requests per second, p99 and CPU per request of the gateway's processes (user and
system time from /proc), and Ark's ratio to the others. CPU per request is the number to judge by:
the rate depends on what else runs on the machine. Medians over the rounds.
"""

import argparse
import re
import subprocess

import peers

CASES = {
    "1k/64": ("1k", 64),
    "1k/8": ("1k", 8),
    "128k/64": ("128k", 64),
    "1k/1000": ("1k", 1000),
    "128k/8": ("128k", 8),
    "128k/1000": ("128k", 1000),
}


def load(proxy, path, connections, seconds):
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
         f"http://127.0.0.1:{proxy.port}/{path}"],
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
    parser.add_argument("--gateway", default=peers.GATEWAY)
    options = parser.parse_args()
    peers.need("nginx", "haproxy", "openssl", "wrk")
    with peers.Place() as place:
        proxies = [
            place.nginx(tls=False, http2=False),
            place.haproxy(tls=False, http2=False),
            place.ark(options.gateway, tls=False),
        ]
        for proxy in proxies:
            load(proxy, "1k", 64, 1)
        cases = {case: (*CASES[case], options.seconds) for case in options.case or CASES}
        peers.compare(cases, proxies, options.rounds, load, "p99 ms")


if __name__ == "__main__":
    main()
