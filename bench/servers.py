"""The servers under test: how each is started and configured, and each one's processes."""

from __future__ import annotations

import os
import random
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.accounting import Processes, kind
from bench.maildrops import USER
from bench.root import ROOT
from bench.tools import program

MAILSERVER = (
    "{twist} --log-level=info --log-format=text --log-file={root}/{name}.log mailserver --config {root}/{name}.toml"
)
BUILT_IN = {
    "limit": f"{program('limit')} {{port}} 20 4000",
    "dovecot": "dovecot -F -c {root}/{name}.conf",
    "mailserver": MAILSERVER,
}

WORKERS = " --workers {}"
"""Ends the command of a server that is ours, to make it one of several processes."""

SETTINGS = """
{user}

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
connections = 20000
connections_per_address = 20000
"""

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

START_SECONDS = 60
"""Until a server greets: a second on a quiet machine."""

STOP_SECONDS = 10
"""Until it is killed."""

DESCRIPTORS = 65_536
"""Two for each of 10,000 idle sessions, and room."""


class Server:
    """One server with an account of its own."""

    def __init__(self, name: str, command: str) -> None:
        self.name, self.template = name, command
        self.port, self.tls_port = _free_ports()
        self.ours = "mailserver" in shlex.split(command)
        self.errors = 0
        self.account = kind()(f"popbench-{os.getpid()}-{name}")
        self.start()

    @property
    def command(self) -> list[str]:
        """What is run."""
        files = {"users": ROOT / "users", "cert": ROOT / "cert.pem", "key": ROOT / "key.pem", "root": ROOT}
        twist = Path(sys.executable).with_name("twist")
        return shlex.split(
            self.template.format(port=self.port, tls_port=self.tls_port, name=self.name, twist=twist, **files)
        )

    def port_for(self, *, tls: bool) -> int:
        """Where it serves."""
        return self.tls_port if tls else self.port

    def start(self) -> None:
        """Start it in the foreground, and wait until it greets."""
        self._configure()
        with (ROOT / f"{self.name}.out").open("w") as out:
            self.process = subprocess.Popen(
                self.command, preexec_fn=self._enter, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT
            )
        if isinstance(self.account, Processes):
            self.account.leader = self.process.pid
        deadline = time.monotonic() + START_SECONDS
        while not self._greets():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                text = (ROOT / f"{self.name}.out").read_text()[-2000:]
                raise SystemExit(f"{self.name} does not serve: {shlex.join(self.command)}\n{text}")
            time.sleep(0.1)
        time.sleep(0.3)  # workers and processes in reserve start, too

    def _configure(self) -> None:
        values = {"root": ROOT, "port": self.port, "tls_port": self.tls_port}
        if self.template == BUILT_IN["dovecot"]:
            for sub in ("run", "state"):
                (ROOT / "dovecot" / sub).mkdir(parents=True, exist_ok=True)
            (ROOT / f"{self.name}.conf").write_text(DOVECOT.format(**values))
        if self.template.startswith(MAILSERVER):
            user = f'user = "{USER}"' if os.geteuid() == 0 else ""
            (ROOT / f"{self.name}.toml").write_text(SETTINGS.format(user=user, **values))
            (ROOT / f"{self.name}.log").unlink(missing_ok=True)

    def _enter(self) -> None:
        os.setsid()
        with suppress(ValueError):  # root in a container may not have more
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        self.account.enter()

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as client:
                return client.recv(3) == b"+OK"
        except OSError:
            return False

    def stop(self) -> None:
        """End all its processes."""
        for pid in self.account.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while self.account.pids() and time.monotonic() < deadline:
            time.sleep(0.1)  # those that its first process did not wait for
        self.account.close()

    def refuse_errors(self, figures: dict[str, Any], told: str) -> None:
        """Tell of sessions that failed, and remember them: a server is not quick by refusing."""
        if figures["errors"]:
            self.errors += figures["errors"]
            print(f"  ERROR: {self.name} refused or lost {figures['errors']} sessions: {told[:200]}", flush=True)


def _free_ports() -> tuple[int, int]:
    """Two that nobody listens on, below those that the kernel gives to clients; so what else runs here is not met."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with suppress(OSError), socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == len(("plain", "tls")):
            break
    return found[0], found[1]
