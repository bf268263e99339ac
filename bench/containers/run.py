#!/usr/bin/env python3
"""Containers under Ark beside what people use otherwise, on the same Docker engine with the same image.

Needs Docker (Debian's docker.io; an engine of its own is started when none answers), and for parts c
and d docker-compose and nginx (Debian's packages); root; and a release build:

    cargo build --release
    bench/containers/run.py [--ark target/release/ark] [--rounds 10] [--parts abcd]

a  an instance started and serving: `ark deploy` (answered by the gateway) and `docker run`
b  100 containers on this host: until all serve, and the memory of Ark's processes
c  a stack of five services: `ark start`, five `ark deploy --detach`, `docker-compose up -d`
d  rollovers under load: Ark, and the steps that Kamal takes, with nginx and a reload in front

The image holds the `ark` program for its sample app, and nothing else. Times are wall clock from the
command's start to the first good answer, medians with the slowest in brackets; nothing is asserted.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

IMAGE = "ark-bench/sample:1"
LABEL = "ark-bench"
HEALTH = "{type: http, path: /_health, interval: 100ms, timeout: 2s}"


def sh(*words, check=True, quiet=False, **more):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **more)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def free_port():
    return free_ports(1)[0]


def answers(address, path="/_health", host=None, timeout=2):
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def until(test, deadline=120):
    end = time.monotonic() + deadline
    while not test():
        if time.monotonic() > end:
            sys.exit("it never came")
        time.sleep(0.005)


def told(times):
    return f"{statistics.median(times):.2f} s ({max(times):.2f})"


class Docker:
    """The engine that answers, or one of this run's own."""

    def __init__(self, place):
        self.own = None
        if sh("docker", "version", check=False).returncode == 0:
            return
        root = place / "dockerd"
        root.mkdir()
        os.environ["DOCKER_HOST"] = f"unix://{root}/docker.sock"
        log = open(root / "log", "w")
        self.own = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", os.environ["DOCKER_HOST"],
             "--data-root", root / "data", "--exec-root", root / "exec", "--pidfile", root / "pid"],
            stdout=log, stderr=log)
        until(lambda: sh("docker", "version", check=False).returncode == 0)

    def end(self):
        ids = sh("docker", "ps", "-aq", "--filter", f"label={LABEL}", check=False).stdout.split()
        if ids:
            sh("docker", "rm", "-fv", *ids, check=False)
        sh("docker", "rmi", "-f", IMAGE, check=False)
        if self.own:
            self.own.terminate()
            self.own.wait(60)


def make_image(ark, place):
    root = place / "image"
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    shutil.copy(ark, root / "bin/ark")
    sh("strip", root / "bin/ark")
    for word in sh("ldd", ark).stdout.split():
        if word.startswith("/"):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)
    sh("sh", "-c", f"tar -C {root} -c . | docker import --change 'WORKDIR /tmp' "
       f"--change 'ENTRYPOINT [\"/bin/ark\", \"sample\"]' - {IMAGE}")


class Ark:
    def __init__(self, program, place):
        self.program, self.data, self.project = program, place / "data", place / "project"
        (self.project / "launch").mkdir(parents=True)
        self.log = open(place / "server.log", "w")
        self.server = subprocess.Popen(
            [program, "up", "--json", "--api", "127.0.0.1:0", "--http", "127.0.0.1:0",
             "--data-dir", self.data],
            stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, text=True)
        up = json.loads(self.server.stdout.readline())
        host, port = up["http"].removeprefix("http://").split(":")
        self.http = (host, int(port))
        self.environment = dict(
            os.environ, ARK_SERVER=up["api"], NO_COLOR="1",
            ARK_TOKEN=pathlib.Path(up["token_file"]).read_text().strip())
        self.environment.pop("ARK_ENV", None)

    def command(self, *words):
        return [self.program, *map(str, words)]

    def run(self, *words, check=True):
        return sh(*self.command(*words), cwd=self.project, env=self.environment, check=check)

    def begin(self, *words):
        return subprocess.Popen(
            self.command(*words), cwd=self.project, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def launch(self, app, count=1, more=""):
        (self.project / "launch" / f"{app}.yml").write_text(
            "run: {type: docker, stop_grace: 30s}\n"
            f"expose: [{{name: default, port: 80, health_check: {HEALTH}}}]\n"
            f"autoscaling: {{min_count: {count}, max_count: {count}}}\n"
            "deploy: {watch: 0s}\n"
            f"env_defaults: {{LISTEN_HOST: 0.0.0.0}}\n{more}")

    def serves(self, app, env):
        return answers(self.http, host=f"{app}.{env}.localhost")

    def ready(self, app, env):
        """How many instances are."""
        host, port = self.environment["ARK_SERVER"].removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", f"/v1/environments/{env}/apps/{app}",
                           headers={"Authorization": f"Bearer {self.environment['ARK_TOKEN']}"})
        app = json.loads(connection.getresponse().read())
        connection.close()
        return app.get("row", app)["ready"]

    def memory(self):
        """Proportional memory of the server, and of the gateway with its supervisor, in MiB."""
        gateway = json.loads((self.data / "gateway.json").read_text())

        def pss(pid):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
            return 0.0
        return pss(self.server.pid), pss(gateway["pid"]) + pss(gateway["supervisor_pid"])

    def end(self):
        sh(*self.command("down", "--yes", "--data-dir", self.data), env=self.environment, check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.server.wait(30)
        self.server.kill()
        cluster = (self.data / "docker/cluster")
        if cluster.exists():
            ids = sh("docker", "ps", "-aq", "--filter", f"label=ark.cluster={cluster.read_text()}",
                     check=False).stdout.split()
            if ids:
                sh("docker", "rm", "-fv", *ids, check=False)


def docker_run(name, port, version="1"):
    return ["docker", "run", "-d", "--name", name, "--label", LABEL, "--init",
            "-e", "PORT=80", "-e", "LISTEN_HOST=0.0.0.0", "-e", f"VERSION={version}",
            "-p", f"127.0.0.1:{port}:80", IMAGE]


def part_a(ark, rounds):
    bare, ours, whole = [], [], []
    # The first container of an environment makes its network; it is not what is compared.
    ark.launch("first")
    ark.run("deploy", "first", "-e", "single", "--image", IMAGE)
    for n in range(rounds):
        name, port = f"{LABEL}-a{n}", free_port()
        begun = time.monotonic()
        sh(*docker_run(name, port))
        until(lambda: answers(("127.0.0.1", port)))
        bare.append(time.monotonic() - begun)
        sh("docker", "rm", "-f", name)

        app = f"a{n}"
        ark.launch(app)
        begun = time.monotonic()
        running = ark.begin("deploy", app, "-e", "single", "--image", IMAGE)
        until(lambda: ark.serves(app, "single"))
        ours.append(time.monotonic() - begun)
        running.wait(60)
        whole.append(time.monotonic() - begun)
        ark.run("stop", app, "-e", "single")
    ark.run("env", "destroy", "single", "--yes")
    more = statistics.median(ours) - statistics.median(bare)
    print(f"\n### An instance started and serving ({rounds} rounds)\n")
    print("| | median (slowest) |\n| --- | --- |")
    print(f"| `docker run`, first answer | {told(bare)} |")
    print(f"| `ark deploy`, first answer through the gateway | {told(ours)} |")
    print(f"| `ark deploy`, the command has ended | {told(whole)} |")
    print(f"| Ark more than `docker run` (goal: at most 1.0 s) | {more:+.2f} s |", flush=True)


def part_b(ark, many):
    before = ark.memory()
    ark.launch("many", many)
    begun = time.monotonic()
    running = ark.begin("deploy", "many", "-e", "hundred", "--image", IMAGE, "--detach")
    running.wait()

    def ready():
        time.sleep(0.05)
        return ark.ready("many", "hundred") >= many
    until(ready, 600)
    ours = time.monotonic() - begun
    time.sleep(5)
    after = ark.memory()
    ark.run("env", "destroy", "hundred", "--yes")
    names = [f"{LABEL}-b{n}" for n in range(many)]
    ports = free_ports(many)
    begun = time.monotonic()
    for at in range(0, many, 8):
        going = [subprocess.Popen(docker_run(n, p), stdout=subprocess.DEVNULL)
                 for n, p in list(zip(names, ports))[at:at + 8]]
        for one in going:
            one.wait()
    for port in ports:
        until(lambda: answers(("127.0.0.1", port)))
    bare = time.monotonic() - begun
    sh("docker", "rm", "-f", *names)
    print(f"\n### {many} containers on one host\n\n| | |\n| --- | --- |")
    print(f"| Ark: one app of {many}, until all are ready | {ours:.1f} s |")
    print(f"| `docker run`, eight at a time, until all answer | {bare:.1f} s |")
    print(f"| memory of Ark's server (PSS) before and with {many} | {before[0]:.0f} and {after[0]:.0f} MiB |")
    print(f"| memory of the gateway (PSS) before and with {many} | {before[1]:.0f} and {after[1]:.0f} MiB |",
          flush=True)


def part_c(ark, rounds, place):
    apps = [f"s{n}" for n in range(5)]
    for app in apps:
        ark.launch(app)
        # `ark start` elsewhere takes these releases; their instances are not needed.
        ark.run("deploy", app, "-e", "known", "--image", IMAGE)
        ark.run("stop", app, "-e", "known")
    compose, at_once, in_turn = [], [], []
    folder = place / "compose"
    folder.mkdir()
    for n in range(rounds):
        ports = free_ports(len(apps))
        services = {app: {
            "image": IMAGE, "init": True, "labels": [LABEL], "ports": [f"127.0.0.1:{port}:80"],
            "environment": {"PORT": "80", "LISTEN_HOST": "0.0.0.0"},
        } for app, port in zip(apps, ports)}
        (folder / "docker-compose.yml").write_text(
            json.dumps({"version": "3", "services": services}))
        begun = time.monotonic()
        sh("docker-compose", "-p", f"{LABEL}{n}", "up", "-d", cwd=folder)
        for port in ports:
            until(lambda: answers(("127.0.0.1", port)))
        compose.append(time.monotonic() - begun)
        sh("docker-compose", "-p", f"{LABEL}{n}", "down", "-t", "1", cwd=folder)

        env = f"at-once-{n}"
        begun = time.monotonic()
        going = [ark.begin("deploy", app, "-e", env, "--image", IMAGE, "--detach") for app in apps]
        for one in going:
            one.wait(60)
        for app in apps:
            until(lambda: ark.serves(app, env))
        at_once.append(time.monotonic() - begun)
        ark.run("env", "destroy", env, "--yes")

        env = f"in-turn-{n}"
        elsewhere = ark.project
        ark.project = place
        begun = time.monotonic()
        going = ark.begin("start", *apps, "-e", env)
        for app in apps:
            until(lambda: ark.serves(app, env))
        in_turn.append(time.monotonic() - begun)
        going.wait(60)
        ark.project = elsewhere
        ark.run("env", "destroy", env, "--yes")
    ark.run("env", "destroy", "known", "--yes")
    print(f"\n### Five services from nothing, each in an environment of its own ({rounds} rounds)\n")
    print("| | all five answer, median (slowest) |\n| --- | --- |")
    print(f"| `docker-compose up -d` ({sh('docker-compose', 'version', '--short').stdout.strip()}) | {told(compose)} |")
    print(f"| five `ark deploy --detach` at once | {told(at_once)} |")
    print(f"| `ark start` of all five (one after the other, each until it is live) | {told(in_turn)} |",
          flush=True)


class Load:
    """Requests at a steady rate, whatever becomes of them: two of three on kept connections, the
    others on new ones; one in ten takes 300 ms. A connection that was closed while nothing was asked
    of it is made anew; anything else but a whole 200 is a failure."""

    def __init__(self, address, host, rate):
        self.address, self.host, self.rate = address, host, rate
        self.good, self.failed, self.words, self.slowest = 0, 0, {}, 0.0
        self.versions = set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.all()))
        self.thread.start()

    async def all(self):
        kept, tasks, n = [], set(), 0
        begun = time.monotonic()
        while not self.over.is_set():
            await asyncio.sleep(max(0, begun + n / self.rate - time.monotonic()))
            task = asyncio.create_task(self.one(kept, n))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            n += 1
        await asyncio.gather(*tasks)
        for _, writer in kept:
            writer.close()

    async def one(self, kept, n):
        begun = time.monotonic()
        try:
            await asyncio.wait_for(self.ask(kept, n), 30)
            self.good += 1
        except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
            self.failed += 1
            words = f"{type(error).__name__}: {error}"[:60]
            self.words[words] = self.words.get(words, 0) + 1
        self.slowest = max(self.slowest, time.monotonic() - begun)

    async def ask(self, kept, n):
        keep, path = n % 3 != 0, "/slow?ms=300" if n % 10 == 0 else "/version"
        reader = writer = None
        while keep and kept and reader is None:
            reader, writer = kept.pop()
            if reader.at_eof() or writer.is_closing():
                writer.close()
                reader = None
        if reader is None:
            reader, writer = await asyncio.open_connection(*self.address)
        done = False
        try:
            close = "" if keep else "connection: close\r\n"
            writer.write(f"GET {path} HTTP/1.1\r\nhost: {self.host}\r\n{close}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if not head.startswith("http/1.1 200"):
                raise ValueError(head.split("\r\n")[0])
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            self.versions.add(fields.get("x-ark-sample-version"))
            await reader.readexactly(int(fields["content-length"]))
            done = fields.get("connection") != "close"
        finally:
            if keep and done:
                kept.append((reader, writer))
            else:
                writer.close()

    def stop(self):
        self.over.set()
        self.thread.join()


class Nginx:
    """In front of one container, as Kamal's proxy stands: told of another by a file and a reload."""

    def __init__(self, place, port):
        self.place, self.port = place / "nginx", free_port()
        self.place.mkdir()
        self.write(port)
        self.process = subprocess.Popen(["nginx", "-p", self.place, "-c", self.place / "conf"])
        until(lambda: answers(("127.0.0.1", self.port)))

    def write(self, port):
        (self.place / "conf").write_text(f"""
daemon off; pid {self.place}/pid; error_log {self.place}/error.log;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  upstream app {{ server 127.0.0.1:{port}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}""")

    def workers(self):
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return set(path.read_text().split())

    def switch(self, port):
        before = self.workers()
        self.write(port)
        sh("nginx", "-p", self.place, "-c", self.place / "conf", "-s", "reload")
        until(lambda: self.workers() - before)
        return before

    def drained(self, before):
        """The old workers have ended, and with them the requests that they had."""
        end = time.monotonic() + 30
        while self.workers() & before and time.monotonic() < end:
            time.sleep(0.005)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def kamal(place, rollovers, rate):
    """A new container beside the old one, health until it is good, the switch, the old one stopped."""
    names, port = [f"{LABEL}-d0"], free_port()
    sh(*docker_run(names[0], port, "0"))
    until(lambda: answers(("127.0.0.1", port)))
    nginx = Nginx(place, port)
    load = Load(("127.0.0.1", nginx.port), "web", rate)
    time.sleep(1)
    times, live = [], []
    for n in range(1, rollovers + 1):
        begun = time.monotonic()
        name, port = f"{LABEL}-d{n}", free_port()
        sh(*docker_run(name, port, str(n)))
        until(lambda: answers(("127.0.0.1", port)))
        before = nginx.switch(port)
        live.append(time.monotonic() - begun)
        # Kamal's proxy answers when the old side has drained, for at most 30 s.
        nginx.drained(before)
        sh("docker", "stop", "-t", "30", names[-1])
        names.append(name)
        times.append(time.monotonic() - begun)
    load.stop()
    nginx.end()
    sh("docker", "rm", "-f", *names)
    return load, live, times


def ark_rollovers(ark, rollovers, rate):
    env, app = "rolling", "web"
    ark.launch(app)
    ark.run("deploy", app, "-e", env, "--image", IMAGE)
    load = Load(ark.http, f"{app}.{env}.localhost", rate)
    time.sleep(1)
    times, live = [], []
    for n in range(1, rollovers + 1):
        ark.launch(app, more=f"team: t{n}\n")
        begun = time.monotonic()
        running = subprocess.Popen(
            ark.command("deploy", app, "-e", env, "--image", IMAGE), cwd=ark.project,
            env=ark.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        seen = None
        for line in running.stdout:
            if seen is None and "live" in line.lower():
                seen = time.monotonic() - begun
        if running.wait() != 0:
            sys.exit("a rollover by Ark failed")
        times.append(time.monotonic() - begun)
        live.append(seen if seen is not None else times[-1])
    load.stop()
    ark.run("env", "destroy", env, "--yes")
    return load, live, times


def part_d(ark, rollovers, rate, place):
    rows = [("Ark, rolling, one instance", ark_rollovers(ark, rollovers, rate)),
            ("Kamal's steps, nginx and a reload", kamal(place, rollovers, rate))]
    print(f"\n### Rollovers under {rate} requests a second ({rollovers} each, one after the other)\n")
    print("| | new side has the traffic, median (slowest) | old side gone | requests | failed | slowest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (load, live, times) in rows:
        print(f"| {name} | {told(live)} | {told(times)} | {load.good + load.failed} | {load.failed} "
              f"| {load.slowest * 1000:.0f} ms |")
    for name, (load, _, _) in rows:
        for words, count in sorted(load.words.items(), key=lambda w: -w[1])[:5]:
            print(f"\n{name}: {count} times `{words}`")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ark", default="target/release/ark")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--many", type=int, default=100)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--parts", default="abcd")
    asked = parser.parse_args()
    program = str(pathlib.Path(asked.ark).resolve())
    place = pathlib.Path(tempfile.mkdtemp(prefix="ark-bench-"))
    place.chmod(0o711)
    docker = Docker(place)
    ark = None
    try:
        make_image(program, place)
        ark = Ark(program, place)
        load = os.getloadavg()[0]
        engine = sh("docker", "version", "--format", "{{.Server.Version}}").stdout.strip()
        print(f"{os.cpu_count()} cores, Docker {engine}, load average {load:.1f} at the start")
        if "a" in asked.parts:
            part_a(ark, asked.rounds)
        if "b" in asked.parts:
            part_b(ark, asked.many)
        if "c" in asked.parts:
            part_c(ark, asked.rounds, place)
        if "d" in asked.parts:
            part_d(ark, asked.rounds, asked.rate, place)
    finally:
        if ark:
            ark.end()
        docker.end()
        shutil.rmtree(place, ignore_errors=True)


main()
