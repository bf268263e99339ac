"""What the comparisons of this folder share: a backend, the gateways before it, and how a case is
measured in rounds that take turns. All load client, backend and gateways are on this machine."""

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
GATEWAY = ROOT / "target/release/examples/gateway"

HAPROXY = """
global
    nbthread 2
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend front
    bind 127.0.0.1:PROXY BIND
    http-request set-header X-Forwarded-Proto SCHEME
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend app
backend app
    server one 127.0.0.1:BACKEND
"""


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")


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


def table(backend):
    return {
        "generation": {"epoch": 1, "number": 1},
        "routes": [
            {
                "key": {"env": "bench", "app": "web", "expose": "http"},
                "hosts": ["bench.test", "127.0.0.1", "localhost"],
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


class Proxy:
    """A gateway that runs: where, and which processes it is."""

    def __init__(self, name, port, pids):
        self.name, self.port, self.pids = name, port, pids


class Place:
    """A directory with bodies and a certificate, a backend that serves them, and what was started."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="ark-bench-"))
        self.path.chmod(0o755)
        self.running = []
        www, self.data = self.path / "www", self.path / "data"
        self.certs = self.data / "certs"
        www.mkdir()
        self.certs.mkdir(parents=True)
        (www / "1k").write_bytes(b"x" * 1024)
        (www / "128k").write_bytes(b"x" * (128 << 10))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost",
             "-keyout", self.certs / "local.key", "-out", self.certs / "local.pem"],
            check=True, capture_output=True)
        self.backend = free_port()
        self.start_nginx("backend", BACKEND=self.backend)
        wait_for(self.backend)
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(self.path, ignore_errors=True)

    def start(self, command, **more):
        # A session of its own, as Ark's supervisor makes one: the kernel shares the processors out
        # between sessions, and all must stand alike.
        process = subprocess.Popen([str(part) for part in command], start_new_session=True, **more)
        self.running.append(process)
        return process

    def start_nginx(self, name, **values):
        text = (HERE / f"nginx-{name}.conf").read_text().replace("PLACE", str(self.path))
        for key, value in values.items():
            text = text.replace(key, str(value))
        conf = self.path / f"{name}.conf"
        conf.write_text(text)
        return self.start(["nginx", "-c", conf, "-p", self.path, "-g", "daemon off;"])

    def nginx(self, tls, http2):
        port = free_port()
        listen = f"{port}{' ssl' if tls else ''}{' http2' if http2 else ''} backlog=4096;"
        if tls:
            listen += f" ssl_certificate {self.certs}/local.pem; ssl_certificate_key {self.certs}/local.key;"
        process = self.start_nginx(
            "proxy", **{"PROXY backlog=4096;": listen, "BACKEND": self.backend})
        wait_for(port)
        while len(children(process.pid)) < 2:
            time.sleep(0.02)
        return Proxy("nginx", port, [process.pid, *children(process.pid)])

    def haproxy(self, tls, http2):
        port = free_port()
        both = self.path / "both.pem"
        both.write_text((self.certs / "local.pem").read_text() + (self.certs / "local.key").read_text())
        bind = f"ssl crt {both} alpn {'h2' if http2 else 'http/1.1'}" if tls else "proto h2" if http2 else ""
        text = HAPROXY.replace("PROXY", str(port)).replace("BACKEND", str(self.backend))
        text = text.replace("BIND", bind).replace("SCHEME", "https" if tls else "http")
        (self.path / "haproxy.cfg").write_text(text)
        process = self.start(["haproxy", "-f", self.path / "haproxy.cfg", "-db"], stderr=subprocess.DEVNULL)
        wait_for(port)
        return Proxy("haproxy", port, [process.pid])

    def ark(self, gateway, tls):
        """It speaks HTTP/1.1 and HTTP/2 on the same port."""
        port = free_port()
        (self.data / "gateway-table.json").write_text(json.dumps(table(self.backend)))
        addresses = [f"127.0.0.1:{free_port()}", f"tls:127.0.0.1:{port}"] if tls else [f"127.0.0.1:{port}"]
        self.start([gateway, self.data, *addresses])
        wait_for(port)
        while not (self.data / "gateway.json").exists():
            time.sleep(0.02)
        return Proxy("ark", port, [json.loads((self.data / "gateway.json").read_text())["pid"]])


def compare(cases, proxies, rounds, load, slowest):
    """Each case of `cases`, a name and what `load` takes beside a proxy, on each proxy in turn.
    `load` returns requests, rate, a time in milliseconds (what, `slowest` says) and errors."""
    print(f"{'case':9} {'proxy':10} {'req/s':>8} {slowest:>8} {'us CPU/req':>11} {'of it user':>11} {'RSS KiB':>9}")
    for case, parameters in cases.items():
        rows = {proxy.name: [] for proxy in proxies}
        for _ in range(rounds):
            for proxy in proxies:
                before = cpu_us(proxy.pids)
                requests, rate, ms, errors = load(proxy, *parameters)
                user, system = [
                    (now - then) / max(requests, 1) for now, then in zip(cpu_us(proxy.pids), before)]
                rows[proxy.name].append((rate, ms, user + system, user))
                if errors:
                    print(f"  {proxy.name}: {errors}", file=sys.stderr)
        medians = {
            name: [statistics.median(column) for column in zip(*of)] for name, of in rows.items()}
        for proxy in proxies:
            rate, ms, cpu, user = medians[proxy.name]
            memory = rss_kib(proxy.pids)
            print(f"{case:9} {proxy.name:10} {rate:8.0f} {ms:8.2f} {cpu:11.2f} {user:11.2f} {memory:9}")
        for proxy in proxies:
            if proxy.name != "ark":
                ratio = [medians["ark"][i] / medians[proxy.name][i] for i in range(4)]
                print(f"{case:9} to {proxy.name:7} {ratio[0]:8.2f} {ratio[1]:8.2f} {ratio[2]:11.2f} {ratio[3]:11.2f}",
                      flush=True)
