"""What a run needs beside the servers (load generator, floor, certificate, user), and what of it this machine lacks."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.accounting import Cgroups1, kind
from bench.maildrops import USER
from bench.root import HERE, ROOT
from mailserver.tls.certificates import self_signed

PROGRAMS = {"popload": ("-lssl", "-lcrypto"), "limit": ()}
"""The programs in C, with the libraries that each is linked with."""


class Tools(NamedTuple):
    """What there is."""

    root: bool
    popload: bool
    limit: bool
    dovecot: bool
    accounting: str
    """Where CPU time is read."""

    def lacks(self) -> list[str]:
        """A sentence for each thing that is missing, with what it costs the run."""
        sentences = [
            (self.popload, "No load generator (gcc with libssl-dev): nothing of many sessions at once is measured."),
            (self.limit, "No gcc: without the floor, the least that a server can do on this kernel."),
            (self.root, "Not root: Dovecot cannot be started, so there are no ratios; servers run as this user."),
            (self.dovecot or not self.root, "No Dovecot (dovecot-pop3d): there are no ratios."),
            (self.accounting == Cgroups1.told, f"CPU and memory are read from {self.accounting}."),
        ]
        return [sentence for there, sentence in sentences if not there]

    def serves(self, name: str) -> bool:
        """Whether a built-in server can run."""
        return {"limit": self.limit, "dovecot": self.dovecot and self.root}.get(name, True)


def make() -> Tools:
    """Make what can be made, once."""
    root = os.geteuid() == 0
    if root and USER not in (each.pw_name for each in pwd.getpwall()):
        subprocess.run(["useradd", "-r", "-d", "/nonexistent", USER], check=True)
    if not (ROOT / "cert.pem").exists():
        certificate, key = self_signed(["localhost", "127.0.0.1"])
        (ROOT / "cert.pem").write_bytes(certificate)
        (ROOT / "key.pem").write_bytes(key)
    (ROOT / "key.pem").chmod(0o644)  # a throw-away key that every server under test may read
    made = {name: _compile(name, libraries) for name, libraries in PROGRAMS.items()}
    return Tools(root, made["popload"], made["limit"], shutil.which("dovecot") is not None, kind().told)


def program(name: str) -> Path:
    """Where a program is; by its source, because checkouts with others share this folder."""
    source = HERE / f"{name}.c"
    return ROOT / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"


def _compile(name: str, libraries: tuple[str, ...]) -> bool:
    target = program(name)
    if target.exists():
        return True
    if shutil.which("gcc") is None:
        return False
    command = ["gcc", "-O2", "-o", str(target), str(HERE / f"{name}.c"), *libraries]
    return subprocess.run(command, check=False).returncode == 0
