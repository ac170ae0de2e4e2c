#!/usr/bin/env python3
"""Measure POP3 servers side by side: CPU and memory per session, on the same maildrops, in one run.

    bench/compare.py [--seconds 3] [--rounds 3] [--only small,tls,bulk,many,idle] [--json OUT] [--server 'NAME=COMMAND']...

Three servers are built in: `limit` (limit.c, the least work that a POP3 server can do on this kernel: the floor), `dovecot`
(Debian's dovecot-pop3d in a private instance, with its fast settings) and `mailserver` (the twist beside this Python).
A --server's COMMAND runs in the foreground and serves the same maildrops; in it {port} and {tls_port} are the ports to
listen on, {users} is a passwd-file "NAME:{PLAIN}secret:UID:GID::HOME" (maildrop: HOME/Maildir), {cert} and {key} PEM files.

CPU is that of the server's whole cgroup, so processes that came and went count. Machines are shared and noisy: quote the
ratios of one run, never a figure alone. Needs root, cgroup v1, gcc, libssl-dev and dovecot-pop3d.

mailserver is measured as it is used: it logs at `info` into a file. Limits that its users would meet only in a benchmark, all
of whose clients have one address, are raised for both servers. A session that is refused or breaks off would be cheap:
it is an error, told with the line that says so, and the exit status is 1. Use a Python that is built with PGO, such as
Debian's; the heading tells what was used.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import random
import shlex
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("BENCH_ROOT") or Path(tempfile.gettempdir()) / "mailserver-bench")

USER = "vmail"
"""Serves and owns the maildrops; made where there is none."""

MAILSERVER = "{twist} --log-level=info --log-format=text --log-file={root}/mailserver.log mailserver --config {root}/mailserver.toml"

SETTINGS = """
user = "{user}"

[listen]
pop3 = ["tcp:{port}:interface=127.0.0.1"]
pop3s = ["tcp:{tls_port}:interface=127.0.0.1"]

[tls]
certificate = "{root}/cert.pem"
key = "{root}/key.pem"

[auth]
checkers = ["passwd-file:{root}/users"]
cleartext = "always"

[limits]
connections_per_address = 10000
"""


class Maildrops(NamedTuple):
    """Accounts that are alike."""

    users: int
    name: str
    messages: int
    octets: int


IDLE = 400
"""Idle sessions, of an account each: a maildrop admits one."""

MAILDROPS = {
    "small": Maildrops(100, "user%d", 20, 4000),
    "bulk": Maildrops(12, "bulk%d", 2, 10_000_000),  # more accounts than connections: a maildrop admits one session
    "many": Maildrops(6, "many%d", 20_000, 2000),
    "idle": Maildrops(IDLE, "idle%d", 20, 500),
}


class Scenario(NamedTuple):
    """One line of the table: what `connections` clients do, over and over."""

    label: str
    arguments: str
    maildrops: str
    tls: bool
    connections: int


SCENARIOS = {
    "small": [
        Scenario("login + STAT", "", "small", False, 16),
        Scenario("login + LIST + UIDL", "--list --uidl", "small", False, 16),
        Scenario("fetch 20 x 4 KB", "--list --uidl --retr 20", "small", False, 16),
        Scenario("fetch 20 x 4 KB, pipelined", "--list --uidl --retr 20 --pipeline", "small", False, 16),
    ],
    "tls": [
        Scenario("TLS login + LIST + UIDL", "--list --uidl", "small", True, 16),
        Scenario("TLS login + LIST + UIDL, resumed", "--list --uidl --resume", "small", True, 16),
        Scenario("TLS fetch 20 x 4 KB", "--list --uidl --retr 20", "small", True, 16),
    ],
    "bulk": [
        Scenario("2 x 10 MB", "--retr 2", "bulk", False, 4),
        Scenario("TLS 2 x 10 MB", "--retr 2", "bulk", True, 4),
    ],
    "many": [Scenario("20,000 messages: LIST + UIDL", "--list --uidl", "many", False, 2)],
}

DOVECOT = """
base_dir = {root}/dovecot/run
state_dir = {root}/dovecot/state
log_path = {root}/dovecot/log
protocols = pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root}/cert.pem
ssl_key = <{root}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain
mail_location = maildir:~/Maildir
first_valid_uid = 100
default_process_limit = 4000
mail_max_userip_connections = 100000
login_trusted_networks = 127.0.0.0/8
passdb {{
  driver = passwd-file
  args = {root}/users
}}
userdb {{
  driver = passwd-file
  args = {root}/users
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 2
  client_limit = 4000
}}
service pop3 {{
  service_count = 1000
  process_min_avail = 4
  process_limit = 4096
}}
service auth {{
  client_limit = 20000
}}
service anvil {{
  client_limit = 20000
}}
"""


def make_maildrops() -> None:
    """Write the passwd-file, and the maildrops that are not there yet."""
    uid = pwd.getpwnam(USER).pw_uid
    chance = random.Random(1)  # noqa: S311 - the same mail in every run
    letters = "abcdefghijklmnopqrstuvwxyz     ."
    lines = ["".join(chance.choice(letters) for _ in range(72)) + "\n" for _ in range(500)]
    accounts = []
    for users, name, messages, octets in MAILDROPS.values():
        for user in range(users):
            account = name % user
            home = ROOT / "mail" / account
            accounts.append(f"{account}:{{PLAIN}}secret:{uid}:{uid}::{home}\n")
            new = home / "Maildir" / "new"
            if new.exists() and len(os.listdir(new)) + len(os.listdir(new.parent / "cur")) == messages:
                continue
            for sub in ("new", "cur", "tmp"):
                (home / "Maildir" / sub).mkdir(parents=True, exist_ok=True)
            for number in range(messages):
                head = f"From: a@example.org\nTo: {account}@example.org\nSubject: message {number}\n\n"
                body = "".join(chance.choices(lines, k=(octets - len(head)) // 73))
                (new / f"{1_700_000_000 + number}.M{number}P1.host").write_text(head + body)
    subprocess.run(["chown", "-R", f"{uid}:{uid}", ROOT / "mail"], check=True)
    (ROOT / "users").write_text("".join(accounts))


def make_tools() -> None:
    """Compile the load generator and the floor, and make a certificate."""
    for name, libraries in (("popload", ["-lssl", "-lcrypto"]), ("limit", [])):
        source, program = HERE / f"{name}.c", ROOT / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-o", program, source, *libraries], check=True)
    if not (ROOT / "cert.pem").exists():
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 300 -subj /CN=localhost"
        command = f"openssl req -x509 {curve} -keyout key.pem -out cert.pem -addext {names}"
        subprocess.run(shlex.split(command), check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
    (ROOT / "key.pem").chmod(0o644)  # a throw-away key that every server under test may read
    if subprocess.run(["id", USER], capture_output=True, check=False).returncode:
        subprocess.run(["useradd", "-r", "-d", "/nonexistent", USER], check=True)


class Server:
    """One server in cgroups of its own."""

    def __init__(self, name: str, command: str, port: int, tls_port: int) -> None:
        self.name, self.command, self.port, self.tls_port = name, command, port, tls_port
        self.errors = 0
        self.groups = {kind: Path(f"/sys/fs/cgroup/{kind}/popbench-{name}") for kind in ("cpuacct", "memory")}
        for group in self.groups.values():
            group.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it in the foreground, inside its cgroups."""

        def enter() -> None:
            os.setsid()
            for group in self.groups.values():
                (group / "tasks").write_text(str(os.getpid()))

        with (ROOT / f"{self.name}.out").open("w") as out:
            self.process = subprocess.Popen(
                shlex.split(self.command), preexec_fn=enter, stdout=out, stderr=subprocess.STDOUT
            )

    def pids(self) -> list[int]:
        """List the processes and threads that run now."""
        return [int(pid) for pid in (self.groups["cpuacct"] / "tasks").read_text().split()]

    def cpu_seconds(self) -> float:
        """Return the CPU used so far, by processes that ended too."""
        return int((self.groups["cpuacct"] / "cpuacct.usage").read_text()) / 1e9

    def rss_mb(self) -> float:
        """Return the memory that all its processes have to themselves."""
        lines = (self.groups["memory"] / "memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("rss "))

    def stop(self) -> None:
        """End it."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def popload(self, scenario: Scenario, seconds: float) -> list[str]:
        """Return the load generator's command line."""
        drops = MAILDROPS[scenario.maildrops]
        port = self.tls_port if scenario.tls else self.port
        command = (
            f"{ROOT}/popload --port {port} --userfmt {drops.name} --users {drops.users} --conns {scenario.connections}"
        )
        return shlex.split(f"{command} --seconds {seconds} {'--tls' if scenario.tls else ''} {scenario.arguments}")

    def load(self, scenario: Scenario, seconds: float) -> dict[str, Any]:
        """Run the load and return its figures with ours."""
        before = self.cpu_seconds()
        run = subprocess.run(
            self.popload(scenario, seconds), capture_output=True, text=True, timeout=seconds + 60, check=False
        )
        figures: dict[str, Any] = json.loads(run.stdout)
        figures["server_cpu_us"] = (self.cpu_seconds() - before) / (figures["sessions"] or 1) * 1e6
        figures["rss_mb"] = self.rss_mb()
        self.refuse_errors(figures, run.stderr)
        return figures

    def refuse_errors(self, figures: dict[str, Any], told: str) -> None:
        """Tell of sessions that failed, and remember them: a server is not quick by refusing."""
        if figures["errors"]:
            self.errors += figures["errors"]
            print(f"  ERROR: {self.name} refused or lost {figures['errors']} sessions: {told[:200]}", flush=True)


def measure(servers: list[Server], scenario: Scenario, seconds: float, rounds: int) -> dict[str, Any]:
    """Run one scenario against all servers in turn, so that what disturbs the machine disturbs them alike."""
    small = scenario.maildrops == "small" and not scenario.tls  # all that the floor can serve
    able = [server for server in servers if server.name != "limit" or small]
    results: dict[str, list[dict[str, Any]]] = {server.name: [] for server in able}
    for server in able:
        server.load(scenario, min(seconds, 1.5))  # indexes and caches get warm
    for _ in range(rounds):
        for server in able:
            results[server.name].append(server.load(scenario, seconds))
    print(f"\n{scenario.label}")
    reference = results.get("dovecot")
    for name, figures in results.items():
        medians = {
            key: statistics.median(f[key] for f in figures) for key in ("sessions_s", "server_cpu_us", "mb_s", "p99_ms")
        }
        line = (
            f"  {name:12} {medians['server_cpu_us']:8.0f} us CPU/session {medians['sessions_s']:8.1f} sessions/s "
            f"{medians['mb_s']:7.1f} MB/s p99 {medians['p99_ms']:6.1f} ms errors {sum(f['errors'] for f in figures)}"
        )
        if reference:
            base = statistics.median(f["server_cpu_us"] for f in reference)
            line += f" {base / (medians['server_cpu_us'] or base):6.2f} x dovecot's CPU economy"
        print(line, flush=True)
    return results


def measure_idle(servers: list[Server]) -> dict[str, float]:
    """Measure the memory of a logged-in session that does nothing, in a fresh server each."""
    print(f"\nmemory per logged-in idle session ({IDLE} sessions of {IDLE} accounts)")
    results = {}
    for server in servers:
        if server.name == "limit":
            continue
        for tls in (False, True):
            server.stop()
            server.start()
            time.sleep(5)
            warm = Scenario("", "", "idle", tls, 4)
            server.load(warm, 4)  # every account once: indexes are written and cached
            before = server.rss_mb()
            load = subprocess.Popen(
                server.popload(Scenario("", "--idle", "idle", tls, IDLE), 8),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            time.sleep(7)
            grown = server.rss_mb() - before
            answer, told = load.communicate()
            figures = json.loads(answer)
            server.refuse_errors(figures, told)
            each = grown * 1000 / max(1, figures["held"])
            label = "TLS  " if tls else "plain"
            results[f"{server.name} {label}"] = each
            print(
                f"  {server.name:12} {label} {each:8.1f} KB, held {figures['held']}, base {before:.1f} MB, "
                f"{len(server.pids())} tasks",
                flush=True,
            )
    return results


def commands(extra: list[str]) -> dict[str, str]:
    """Return the servers' command lines by their names."""
    twist = Path(sys.executable).with_name("twist")
    found = {"limit": f"{ROOT}/limit {{port}} 20 4000", "dovecot": f"dovecot -F -c {ROOT}/dovecot/dovecot.conf"}
    found["mailserver"] = MAILSERVER.replace("{twist}", str(twist))
    return {**found, **dict(server.split("=", 1) for server in extra)}


def build() -> str:
    """Name the interpreter that runs mailserver and its build: one with PGO takes a fifth to a third less CPU."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    # Debian's rules build with PGO by `make profile-opt`, which leaves no trace in the options.
    debian = Path("/etc/debian_version").exists() and Path(sys.executable).resolve().parent == Path("/usr/bin")
    optimised = debian or "--enable-optimizations" in options
    return f"CPython {sys.version.split()[0]}, built {'with' if optimised else 'without'} PGO"


def start(arguments: argparse.Namespace) -> list[Server]:
    """Start every server that is wanted, on ports of its own."""
    servers = []
    for index, (name, command) in enumerate(commands(arguments.server).items()):
        if name in arguments.without.split(","):
            continue
        port, tls_port = 21110 + 100 * index, 21995 + 100 * index
        if name == "dovecot":
            for sub in ("run", "state"):
                (ROOT / "dovecot" / sub).mkdir(parents=True, exist_ok=True)
            (ROOT / "dovecot/dovecot.conf").write_text(DOVECOT.format(root=ROOT, port=port, tls_port=tls_port))
        if name == "mailserver":
            (ROOT / "mailserver.toml").write_text(SETTINGS.format(user=USER, root=ROOT, port=port, tls_port=tls_port))
            (ROOT / "mailserver.log").unlink(missing_ok=True)
        files = {"users": ROOT / "users", "cert": ROOT / "cert.pem", "key": ROOT / "key.pem", "root": ROOT}
        servers.append(Server(name, command.format(port=port, tls_port=tls_port, **files), port, tls_port))
    time.sleep(5)
    return servers


def main() -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="small,tls,bulk,many,idle")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--server", action="append", default=[])
    parser.add_argument("--without", default="")
    arguments = parser.parse_args()
    ROOT.mkdir(exist_ok=True)
    make_tools()
    make_maildrops()
    print(f"mailserver on {build()}; log at info into a file")
    servers: list[Server] = []
    results: dict[str, Any] = {"python": build()}
    try:
        servers = start(arguments)
        for group in arguments.only.split(","):
            for scenario in SCENARIOS.get(group, []):
                results[scenario.label] = measure(servers, scenario, arguments.seconds, arguments.rounds)
            if group == "idle":
                results["idle KB/session"] = measure_idle(servers)
    finally:
        for server in servers:
            server.stop()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    return 1 if any(server.errors for server in servers) else 0


if __name__ == "__main__":
    sys.exit(main())
