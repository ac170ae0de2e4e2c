"""A server under test as processes: how it is started and ended, and what it uses."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench.accounting import Processes, kind

START_SECONDS = 60
"""Until a server greets: a second on a quiet machine."""

STOP_SECONDS = 10
"""Until it is killed."""


class Running(ABC):
    """One server with an account of its own, which the kernel knows as `account`. A subclass says how it greets."""

    greeting: bytes
    """How what it says first begins."""

    def __init__(self, name: str, account: str) -> None:
        self.name = name
        self.account = kind()(account)

    @abstractmethod
    def connected(self) -> socket.socket:
        """A connection. Errors: OSError."""

    def greets(self) -> bool:
        """Whether it serves."""
        try:
            with self.connected() as client:
                return client.recv(len(self.greeting)) == self.greeting
        except OSError:
            return False

    def enter(self) -> None:
        """Become its first process; called in the process that will be."""
        os.setsid()
        self.account.enter()

    def launch(self, command: Sequence[str], out: Path, folder: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it in the foreground in `folder`, and wait until it greets. What it prints goes to `out`."""
        with out.open("w") as file:
            self.process = subprocess.Popen(
                command, preexec_fn=self.enter, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=env
            )
        if isinstance(self.account, Processes):
            self.account.leader = self.process.pid
        deadline = time.monotonic() + START_SECONDS
        while not self.greets():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = out.read_text()[-2000:]
                self.close()
                raise SystemExit(f"{self.name} does not serve: {shlex.join(command)}\n{text}")
            time.sleep(0.1)
        time.sleep(0.5)  # workers and processes in reserve start, too

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
