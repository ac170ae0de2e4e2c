"""A real server for tests: the process that a user would start, on a folder of its own.

    with Site() as site:
        alice = site.account("alice", messages=[b"Subject: hi\\n\\nhello\\n"])
        with Server(site) as server, RawPOP3(server.pop3_port) as client:
            client.login(alice.name, alice.password)

The ports are the kernel's choice (tcp:0), and the server says in its log which they are. That beats handing a bound socket
over: it goes through the endpoints that users write, works for twist and twistd, with workers, and the same line tells
that connections are accepted, so nobody has to try until it works.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from weakref import WeakSet

from twisted.logger import eventFromJSON, formatEvent

import mailserver
from mailserver.tls.certificates import self_signed
from tests.forking import forks

TWIST: Final = (sys.executable, "-P", "-m", "twisted", "--log-format=json", "mailserver")
TWISTD: Final = (
    *(sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"),
    *("--nodaemon", "--pidfile=", "mailserver"),
)

ROOT: Final = str(Path(mailserver.__file__).parents[1])
"""What the tests import is what the process serves, be it a checkout or an installed package."""

PATH: Final = (ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
"""Where all that servers import is, but for what a test adds to PYTHONPATH."""

STARTS: Final = os.environ.get("TEST_STARTS", "")
"""``forked``: all servers are started by `forking`, as ``make quick`` wants it. ``real``: each is started as its user would."""

FORKED: Final = frozenset({"abuse", "auth", "cli", "crash", "interop", "old", "service", "store", "web"})
"""Without TEST_STARTS: whose servers are started by `forking`. What these folders test comes after the start, and they start hundreds."""

START_SECONDS: Final = 120
STOP_SECONDS: Final = 120
"""Each takes less than a second, but on a machine that is busy with other things: only what hangs is to be found."""

RUNNING: Final[WeakSet[Server]] = WeakSet()
"""The servers of the test under way, so that a report of its failure can show their logs."""


def by_fork() -> bool:
    """Whether the test under way starts its servers by `forking`."""
    folder = os.environ.get("PYTEST_CURRENT_TEST", "").removeprefix("tests/").partition("/")[0]
    return STARTS == "forked" or (STARTS != "real" and folder in FORKED)


class Account:
    """A user: a line of the passwd-file, and a Maildir in its home."""

    def __init__(self, name: str, password: str, home: Path) -> None:
        self.name = name
        self.password = password
        self.maildir = home / "Maildir"
        self._serial = 0
        for folder in ("tmp", "new", "cur"):
            (self.maildir / folder).mkdir(parents=True, exist_ok=True)

    def deliver(self, message: bytes, folder: str = "new") -> Path:
        """Write a message as a delivery agent does. They are served in the order of their delivery."""
        self._serial += 1
        name = f"{1_700_000_000 + self._serial}.M{self._serial}P1.host"
        path = self.maildir / folder / (name if folder == "new" else f"{name}:2,S")
        temporary = self.maildir / "tmp" / name
        temporary.write_bytes(message)
        temporary.rename(path)
        return path

    def files(self) -> list[Path]:
        """The messages' files, in the order of their delivery."""
        found = [path for folder in ("new", "cur") for path in (self.maildir / folder).iterdir()]
        return sorted(found, key=lambda path: int(path.name.partition(".")[0]))

    def stored(self) -> list[bytes]:
        """The messages that are there, in the order of their delivery."""
        return [path.read_bytes() for path in self.files()]


class Site:
    """A folder with all that a server needs: users, their Maildirs, a certificate. Servers may follow one another on it."""

    def __init__(self, names: Sequence[str] = ("localhost", "127.0.0.1")) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mailserver-test-")
        self.folder = Path(self._folder.name)
        self.users = self.folder / "users"
        self.certificate = self.folder / "cert.pem"
        self.key = self.folder / "key.pem"
        self.accounts: list[Account] = []
        self.secrets: set[bytes] = set()
        self._names = names
        self.users.touch(mode=0o600)
        self.renew()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def renew(self) -> None:
        """Replace the certificate and its key, as certbot would."""
        certificate, key = self_signed(self._names)
        self.secrets.add(key.splitlines()[1])
        for path, data in ((self.key, key), (self.certificate, certificate)):
            new = path.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_bytes(data)
            new.rename(path)

    def account(
        self, name: str, password: str = "", *, secret: str = "", extra: str = "", messages: Iterable[bytes] = ()
    ) -> Account:
        """Add a user, of whom a running server learns; `secret` is the passwd-file's form of the password, which is {PLAIN} and so allows APOP."""
        password = password or f"sesame of {name}"
        home = self.folder / "mail" / name
        with self.users.open("a", encoding="utf-8") as file:
            file.write(f"{name}:{secret or '{PLAIN}' + password}::::{home}::{extra}\n")
        self.hide(name, password)
        account = Account(name, password, home)
        self.accounts.append(account)
        for message in messages:
            account.deliver(message)
        return account

    def hide(self, name: str, password: str) -> None:
        """No log may hold this password, as it is or as SASL encodes it."""
        plain, user = password.encode(), name.encode()
        self.secrets |= {plain, *map(base64.b64encode, (plain, b"\0%b\0%b" % (user, plain)))}

    def client_tls(self) -> ssl.SSLContext:
        """A client's context that trusts this site's certificate alone."""
        return ssl.create_default_context(cafile=str(self.certificate))


class Server:
    """The process. `settings` are those of mailserver.toml: ``Server(site, workers=2, limits={"idle_seconds": 5})``."""

    def __init__(
        self,
        site: Site,
        *arguments: str,
        program: Sequence[str] = TWIST,
        passed: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        self.site = site
        self.passed = passed
        """Descriptors that the process inherits."""
        self.command = [*program, *arguments]
        self.ports: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        """The log; what is no event of JSON is ``{"text": line}``."""
        self.raw = bytearray()
        self.settings: dict[str, Any] = {
            "hostname": "mail.example.org",
            "listen": {"pop3": ["tcp:0:interface=127.0.0.1"], "pop3s": ["tcp:0:interface=127.0.0.1"]},
            "tls": {"certificate": str(site.certificate), "key": str(site.key)},
            "auth": {"checkers": [f"passwd-file:{site.users}"], "cleartext": "loopback"},
            "limits": {"failure_delay_seconds": 0},
        }
        for name, value in settings.items():
            old = self.settings.get(name, {})
            self.settings[name] = {**old, **value} if isinstance(value, dict) else value
        self._changed = threading.Condition()
        self._ended = False
        self.reading = threading.Event()
        """Cleared: nobody reads the log."""
        self.reading.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None:
            self.check()

    @property
    def pop3_port(self) -> int:
        return self.ports["pop3"]

    @property
    def pop3s_port(self) -> int:
        return self.ports["pop3s"]

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """Start, and wait until connections are accepted, by all of the workers."""
        self.launch()
        self._wait(lambda: self._ended or self._serves(), START_SECONDS, "the server to listen")
        assert self._serves(), f"the server ended instead of listening:\n{self.log()}"

    def _serves(self) -> bool:
        listen, workers = self.settings["listen"], self.settings.get("workers", 1)
        expected = {kind for kind, endpoints in listen.items() if endpoints and kind != "control"}
        serving = re.findall(r"worker \d+ serves", self.log())
        return expected <= self.ports.keys() and (workers < 2 or len(serving) >= workers)

    def launch(self) -> None:
        """Start, and do not wait: for a server that is to end with an error."""
        self.file = config = self.site.folder / f"mailserver-{time.monotonic_ns()}.toml"
        config.write_text(toml(self.settings), encoding="utf-8")
        path = [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        self._run([*self.command, "--config", str(config)], env)
        RUNNING.add(self)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _run(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        if by_fork() and not self.passed and (forking := forks(PATH)).fits(command, env):
            several = self.settings.get("workers", 1) != 1
            self.process = forking.start(command, env, self.site.folder, workers=several)
            return
        self.process = subprocess.Popen(
            command,
            env=env,
            cwd=self.site.folder,
            pass_fds=self.passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def stop(self) -> int:
        """SIGTERM, and wait; the exit status. Whoever drags his feet is killed, and that is a failure."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.process.kill()
        self.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end of the process and of its log; the exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end in {seconds} s:\n{self.log()}") from None
        self._wait(lambda: self._ended, seconds, "the end of the log")
        self._reader.join()  # other tests count threads
        return status

    def reload(self) -> None:
        """SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def told(self, event: str) -> list[dict[str, Any]]:
        """The events of this name so far."""
        return [each for each in list(self.events) if each.get("event") == event]

    def wait_for(self, event: str, count: int = 1, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait until the log holds so many events of this name; the last one."""
        self._wait(lambda: self._ended or len(self.told(event)) >= count, seconds, f"{count} times {event!r}")
        found = self.told(event)
        assert len(found) >= count, f"the server ended before {event!r}:\n{self.log()}"
        return found[count - 1]

    def wait_for_text(self, text: str) -> None:
        """Wait until the log holds these words, in whatever form it is."""
        self._wait(lambda: self._ended or text in self.log(), START_SECONDS, repr(text))
        assert text in self.log(), f"the server ended before {text!r}:\n{self.log()}"

    def log(self) -> str:
        """The log as people read it."""
        return "\n".join(each["text"] for each in list(self.events))

    def check(self) -> None:
        """Nothing failed in the server, no secret is in its log, and nothing was written beside the log."""
        with self._changed:
            raw = bytes(self.raw)
        assert not [secret for secret in self.site.secrets if secret in raw], "a secret is in the log"
        for each in list(self.events):
            assert "fault" not in each.get("event", ""), self.log()
            assert "Traceback" not in each["text"], self.log()
            assert getattr(each.get("log_level"), "name", "info") in ("debug", "info", "warn"), self.log()
            assert each.keys() != {"text"} or "--nodaemon" in self.command, f"beside the log: {each['text']}"

    def _wait(self, met: Any, seconds: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(met, seconds):
                raise AssertionError(f"waited {seconds} s for {what}:\n{self.log()}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.reading.wait()
            for line in output:
                event = parsed(line)
                with self._changed:
                    self.raw += line
                    self.events.append(event)
                    if told := re.search(r"^(?:\S+ \[.*?\] )?(\w+) is served on .*:(\d+)$", event["text"]):
                        self.ports[told[1]] = int(told[2])
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def parsed(line: bytes) -> dict[str, Any]:
    """A line of the log as an event, with its text."""
    text = line.decode("utf-8", "backslashreplace").strip("\x1e\n")
    try:
        event = eventFromJSON(text)
    except ValueError:
        return {"text": text}
    return {"text": f"{formatEvent(event)}{event.get('log_failure', '')}", **event}


def toml(settings: dict[str, Any]) -> str:
    """The settings as a TOML file; JSON's strings, numbers and lists are TOML's."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if not isinstance(value, dict)]
    for table, values in settings.items():
        if isinstance(values, dict):
            lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"
