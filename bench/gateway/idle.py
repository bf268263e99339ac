#!/usr/bin/env python3
"""Memory per idle connection of Ark's gateway, nginx and HAProxy: connections that have had one
request each and stay open, HTTP/1.1 without and with TLS, and HTTP/2 with it.

Needs nginx, haproxy, openssl (Debian's packages) and a release build; see `run.py`.

    bench/gateway/idle.py [--connections 2000]

Resident memory of the gateway's processes with the connections open, less what it was before the
first of them (but after a request, so that what is made once is not counted).
"""

import argparse
import resource
import socket
import ssl
import time

import peers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# GET https://localhost/1k, in HPACK without the dynamic table (RFC 7541, appendix A).
REQUEST = b"\x82\x87" + b"\x04\x03/1k" + b"\x01\x09localhost"
HEADERS = bytes([0, 0, len(REQUEST), 1, 5, 0, 0, 0, 1]) + REQUEST


def connect(port, tls):
    stream = socket.create_connection(("127.0.0.1", port))
    if not tls:
        return stream
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([tls])
    return context.wrap_socket(stream, server_hostname="localhost")


def ask(stream, http2):
    if http2:
        stream.sendall(PREFACE + HEADERS)
    else:
        stream.sendall(b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while got.count(b"x") < 1024:
        got += stream.recv(65536)


def measure(proxy, tls, count):
    http2 = tls == "h2"
    first = connect(proxy.port, tls)
    ask(first, http2)
    time.sleep(0.5)
    before = peers.rss_kib(proxy.pids)
    streams = []
    for _ in range(count):
        stream = connect(proxy.port, tls)
        ask(stream, http2)
        streams.append(stream)
    time.sleep(1)
    per_connection = (peers.rss_kib(proxy.pids) - before) / count
    for stream in [first, *streams]:
        stream.close()
    return per_connection


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--gateway", default=peers.GATEWAY)
    options = parser.parse_args()
    peers.need("nginx", "haproxy", "openssl")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kinds = {"cleartext": None, "TLS": "http/1.1", "TLS, HTTP/2": "h2"}
    print(f"KiB per idle connection, {options.connections} of them")
    print(f"{'':12} {'nginx':>8} {'haproxy':>8} {'ark':>8}")
    for kind, tls in kinds.items():
        row = []
        for start in ["nginx", "haproxy", "ark"]:
            # A fresh process each: memory that was freed may be used again.
            with peers.Place() as place:
                http2 = tls == "h2"
                proxy = (place.ark(options.gateway, bool(tls)) if start == "ark"
                         else getattr(place, start)(bool(tls), http2))
                row.append(measure(proxy, tls, options.connections))
        print(f"{kind:12} " + " ".join(f"{value:8.1f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
