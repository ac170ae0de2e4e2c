"""A server whose place other processes take, and clients that come all the while.

with Site() as site, Dynasty(site, listen={"control": str(site.folder / "control")}) as server:
    with Load(server, clients=4) as load:
        server.restarted()
    assert load.failures == []
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from mailserver.service.legacy import VARIABLE
from tests.cli.running import run
from tests.rawpop3 import RawPOP3
from tests.servers import START_SECONDS, Server
from tests.waiting import eventually


class Dynasty(Server):
    """A server that ends with the last process of it."""

    def __init__(self, site, *arguments, **given):
        super().__init__(site, *arguments, **given)
        self.socket = str(site.folder / "control")

    @property
    def now(self):
        """The process that serves."""
        done = self.told("restart.done")
        return done[-1]["pid"] if done else self.pid

    def restart(self):
        """`mailserver restart`: its status, and what it answers."""
        told = run("restart", "--json", "--socket", self.socket)
        row = json.loads(told.stdout)
        assert told.returncode == row["status"]
        return row

    def restarted(self):
        """A restart that works, when the process before has ended."""
        before = self.now
        while (row := self.restart())["status"] == os.EX_TEMPFAIL:
            assert "still has sessions" in row["problems"][0]
        assert row["problems"] == []
        assert row["pid"] != before
        self.wait_for_the_end_of(before)
        return row["pid"]

    def wait_for_the_end_of(self, pid):
        """It was killed, or had its last session."""
        eventually(lambda: gone(pid), self.log)

    def child(self):
        """The process that is being started."""
        workers = {event["pid"] for event in self.told("worker.serving")}
        children = Path(f"/proc/{self.now}/task/{self.now}/children")
        found = []

        def there():
            found[:] = [int(pid) for pid in children.read_text().split() if int(pid) not in workers]
            return bool(found)

        eventually(there, self.log)
        return found[0]

    @contextmanager
    def halted(self):
        """A restart whose new process stands still at its beginning."""
        begun = len(self.told("restart.begun"))
        os.kill(self.now, signal.SIGUSR2)
        self.wait_for("restart.begun", begun + 1)
        child = self.child()
        environment = Path(f"/proc/{child}/environ")  # before it runs its own program, it has the sockets of the other
        own = f"{VARIABLE}={self.now}".encode()
        eventually(lambda: own in environment.read_bytes().split(b"\0"), self.log)
        os.kill(child, signal.SIGSTOP)
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):  # it was killed
                os.kill(child, signal.SIGCONT)

    def end(self):
        """SIGTERM to the last process, and wait for it."""
        os.kill(self.now, signal.SIGTERM)
        self._wait(lambda: self._ended, START_SECONDS, "the end of the log")
        self.process.wait()
        self._reader.join()


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Load:
    """Clients that come again and again, so many a second as far as the server keeps pace, until the end of the block.

    Each has a user of its own: user0, user1...
    """

    def __init__(self, server, clients=4, per_second=200):
        self.server = server
        self.sessions = 0
        """Those that have ended as they should."""
        self.failures = []
        """What became of the others: of whom was refused, and who was cut."""
        self.longest = 0.0
        """Seconds that a session took from its beginning to its end."""
        self._per_second = per_second
        self._begun = 0
        self._counting = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._go, args=(number,)) for number in range(clients)]

    def __enter__(self):
        self._since = time.monotonic()
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for each in self._threads:
            each.join()

    def goes_on(self):
        """Wait for sessions that begin now."""
        now = self.sessions
        eventually(lambda: self.sessions > now + 2 * len(self._threads), self.server.log)

    def catches_up(self, seconds):
        """Wait until those who were due have come, but no longer than this."""
        until = time.monotonic() + seconds
        while self._next_due() < time.monotonic() < until:
            self._over.wait(0.01)

    def __str__(self):
        seconds = time.monotonic() - self._since
        refused = sum(isinstance(error, ConnectionRefusedError) for error in self.failures)
        return (
            f"{self.sessions} sessions in {seconds:.0f} s, {self.sessions / seconds:.0f} a second; "
            f"{refused} refused, {len(self.failures) - refused} cut; the longest took {self.longest:.2f} s"
        )

    def _next_due(self):
        return self._since + self._begun / self._per_second

    def _go(self, number):
        while True:
            with self._counting:
                due = self._next_due()
                self._begun += 1
            if self._over.wait(max(0.0, due - time.monotonic())):
                return
            began = time.monotonic()
            try:
                with RawPOP3(self.server.pop3_port) as client:
                    client.login(f"user{number}", f"sesame of user{number}").ok(b"STAT")
                    client.ok(b"QUIT")
                    assert client.rest() == b""
            except (OSError, AssertionError) as error:
                self.failures.append(error)
            else:
                with self._counting:
                    self.sessions += 1
                    self.longest = max(self.longest, time.monotonic() - began)
