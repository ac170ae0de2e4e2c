"""The servers under test: how each is configured and started."""

from __future__ import annotations

import os
import random
import resource
import shlex
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.maildrops import USER
from bench.root import ROOT
from bench.running import Running
from bench.tools import program

MAILSERVER = (
    "{twist} --log-level=info --log-format=text --log-file={root}/{name}.log mailserver --config {root}/{name}.toml"
)
BUILT_IN = {
    "limit": f"{program('limit')} {{port}} 20 4000",
    "dovecot": "dovecot -F -c {root}/{name}.conf",
    "mailserver": MAILSERVER,
}

PAGES = " --http unix:{root}/{name}.http"
"""Ends the command of a server that is ours, to make it one that counts what it does."""

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

DESCRIPTORS = 65_536
"""Two for each of 10,000 idle sessions, and room."""


class Server(Running):
    """One server with an account of its own."""

    greeting = b"+OK"

    def __init__(self, name: str, command: str) -> None:
        super().__init__(name, f"popbench-{os.getpid()}-{name}")
        self.template = command
        self.port, self.tls_port = free_ports()
        self.ours = "mailserver" in shlex.split(command)
        self.errors = 0
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
        self.launch(self.command, ROOT / f"{self.name}.out", ROOT)

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

    def enter(self) -> None:
        """Also with descriptors enough."""
        with suppress(ValueError):  # root in a container may not have more
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        super().enter()

    def connected(self) -> socket.socket:
        """By POP3."""
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def refuse_errors(self, figures: dict[str, Any], told: str) -> None:
        """Tell of sessions that failed, and remember them: a server is not quick by refusing."""
        if figures["errors"]:
            self.errors += figures["errors"]
            print(f"  ERROR: {self.name} refused or lost {figures['errors']} sessions: {told[:200]}", flush=True)


def free_ports() -> tuple[int, int]:
    """Two that nobody listens on, below those that the kernel gives to clients; so what else runs here is not met."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with suppress(OSError), socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == len(("plain", "tls")):
            break
    return found[0], found[1]
