"""Starts servers and operators' commands by a fork of one process that has imported what they need.

A start of Python and its imports takes half a second of CPU, a fork takes a hundredth, and the tests start hundreds of servers and of
commands. Run as a program this is the process that forks, told by its standard input; imported it is the tests' side. What a
server does from its first line on is the same. What comes before it is not, so the tests of starts, signals and settings start each server as its
user would (`servers.by_fork`), and a server that depends on what its interpreter finds at its start (`Forks.fits`) is started so everywhere.

A command that gives up rights and imports something afterwards would find it here, and perhaps not in an operator's shell: such
tests start it themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

PROGRAMS: Final[Mapping[tuple[str, ...], Callable[[], object]]] = {
    ("-m", "twisted"): lambda: runpy.run_module("twisted", run_name="__main__", alter_sys=True),
    ("-c", "from twisted.scripts.twistd import run; run()"): lambda: import_module("twisted.scripts.twistd").run(),
    ("-m", "mailserver"): lambda: runpy.run_module("mailserver", run_name="__main__", alter_sys=True),
    ("-m", "mailserver.service.worker"): lambda: runpy.run_module(
        "mailserver.service.worker", run_name="__main__", alter_sys=True
    ),
}
"""What stands behind ``python -P``, and what it comes to."""

SERVERS: Final = (
    *("twisted.application.twist._twist", "twisted.scripts.twistd", "twisted.cred.strcred"),
    *("mailserver.cli.launch", "mailserver.service.server", "mailserver.service.workers", "mailserver.service.worker"),
    *("mailserver.auth.plugins", "mailserver.service.preload", "tests.forking_workers"),
)
COMMANDS: Final = (
    *("mailserver.cli.group", "mailserver.cli.checking", "mailserver.cli.exporting", "mailserver.cli.moves"),
    *(
        "mailserver.auth.plugins",
        "mailserver.control.client",
        "mailserver.migration.compare",
        "mailserver.service.preload",
    ),
)
"""What is imported before the fork."""

AT_START: Final = ("LD_", "LC_", "LANG", "PYTHON")
"""Variables that begin so are read before the first line of a program."""
LONGEST: Final = 1 << 17
"""Octets of a request: arguments and environment."""


class Forked:
    """A process as `subprocess.Popen` shows it."""

    def __init__(self, pid: int, stdout: IO[bytes], stderr: IO[bytes] | None, ended: IO[bytes]) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        """None: it is in `stdout`."""
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit status."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._ended, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            with self._ended:
                self.returncode = int(self._ended.read())
        return self.returncode

    def communicate(self, timeout: float) -> tuple[bytes, bytes]:
        """Read all that it says, on standard output and error, and wait for its end. What does not end is killed: TimeoutExpired."""
        assert self.stderr is not None
        said: dict[IO[bytes], list[bytes]] = {self.stdout: [], self.stderr: []}
        until = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector, self.stdout, self.stderr:
            for each in said:
                selector.register(each, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, until - time.monotonic()))
                if not ready:
                    self.kill()
                    raise subprocess.TimeoutExpired(str(self.pid), timeout)
                for key, _events in ready:
                    data = os.read(key.fd, LONGEST)
                    said[key.fileobj].append(data)  # type: ignore[index]  # it is one of them
                    if not data:
                        selector.unregister(key.fileobj)
        self.wait(max(0.0, until - time.monotonic()))
        stdout, stderr = map(b"".join, said.values())
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended since, by another's signal
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that forks, and how to ask it. It imports these modules first."""

    def __init__(self, path: Sequence[str], imported: Sequence[str], **more: str) -> None:
        self._path = list(path)
        self._env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-P", __file__, *imported], stdin=theirs, env=self._env)

        atexit.register(self.close)

    def close(self) -> None:
        """It ends when nobody can ask it."""
        self._socket.close()
        self._process.wait()

    def fits(self, command: Sequence[str], env: Mapping[str, str]) -> bool:
        """Whether a fork is the same: a program of ours, nothing of the test's own at its start, no module that hides another."""
        path = env["PYTHONPATH"].split(os.pathsep)
        return (
            tuple(command[:2]) == (sys.executable, "-P")
            and tuple(command[2:4]) in PROGRAMS
            and _at_start(env) == _at_start(self._env)
            and not any(next(Path(each).glob("*.py"), None) for each in path if each not in self._path)
        )

    def start(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        given: bytes | None = None,
        *,
        workers: bool = False,
    ) -> Forked:
        """As `subprocess.Popen`, with standard output and error in one pipe and nothing to read; with what is `given`, in one each.

        A server's `workers` are forked, too.
        """
        output, their_output = os.pipe()
        errors, their_errors = (None, os.dup(their_output)) if given is None else os.pipe()
        ended, their_ended = os.pipe()
        theirs = [_readable(given or b""), their_output, their_errors, their_ended]
        request = {"command": command, "env": dict(env), "cwd": str(cwd), "known": self._path, "workers": workers}
        socket.send_fds(self._socket, [json.dumps(request).encode()], theirs)
        for each in theirs:
            os.close(each)
        stderr = None if errors is None else os.fdopen(errors, "rb")
        return Forked(int(self._socket.recv(LONGEST)), os.fdopen(output, "rb"), stderr, os.fdopen(ended, "rb"))


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(AT_START) and name != "PYTHONPATH"}


def _readable(data: bytes) -> int:
    """The descriptor of a pipe with these octets, which it must have room for."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    assert os.write(writable, data) == len(data)
    os.close(writable)
    return readable


@cache
def forks(path: tuple[str, ...]) -> Forks:
    """The one process of a run that forks servers, and has these folders on its path."""
    return Forks(path, SERVERS, PYTHONUNBUFFERED="1")


@cache
def commands(path: tuple[str, ...]) -> Forks:
    """The one that forks operators' commands."""
    return Forks(path, COMMANDS)


def requests(asked: socket.socket) -> dict[str, Any] | None:
    """Fork at each request, and say how the forked end. Answers in each of them with its request, and with None at the end."""
    selector = selectors.DefaultSelector()
    selector.register(asked, selectors.EVENT_READ)
    while True:
        for key, _events in selector.select():
            if key.data is not None:
                pid, ended = key.data
                selector.unregister(key.fd)
                os.close(key.fd)
                os.write(ended, b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(ended)
                continue
            data, descriptors, *_ = socket.recv_fds(asked, LONGEST, 4)
            if not data:
                return None
            *standard, ended = descriptors
            pid = os.fork()
            if not pid:
                selector.close()
                for number, descriptor in enumerate(standard):
                    os.dup2(descriptor, number)
                return json.loads(data)
            for descriptor in standard:
                os.close(descriptor)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, ended))
            asked.send(b"%d" % pid)


def become(request: dict[str, Any], first: int = 3) -> Callable[[], object]:
    """Make this the process that the command would have started; answers its program. Descriptors from the first on are closed."""
    os.closerange(first, 1 << 16)
    sys.modules.pop("mailserver.service.worker", None)  # it is a program, and will be __main__
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    path = request["env"]["PYTHONPATH"].split(os.pathsep)
    sys.path[:] = [*path, *(each for each in sys.path if each not in request["known"])]
    for name in [name for name in sys.modules if name.startswith("twisted.plugins")]:
        del sys.modules[name]  # what plugins there are depends on the path
    sys.orig_argv[:] = request["command"]  # by which it starts the next one at a restart
    _python, _safe_path, *program = request["command"]
    sys.argv[:] = [program[0], *program[2:]]
    return PROGRAMS[tuple(program[:2])]


def main() -> None:
    """Import, fork until there is nobody who asks, and be the program in what is forked."""
    for name in sys.argv[1:]:
        import_module(name)
    if preload := sys.modules.get("mailserver.service.preload"):
        preload.load_all()
    assert "twisted.internet.reactor" not in sys.modules, "each process makes its own"
    gc.freeze()
    asked = socket.socket(fileno=os.dup(0))
    request = requests(asked)
    asked.close()
    if request is None:
        return
    program = become(request)
    if request["workers"]:
        import_module("tests.forking_workers").fork_workers(become)
    try:
        program()
    except SystemExit as error:
        if request["command"][2:4] == ["-m", "mailserver"] and isinstance(error.code, int):
            end(error.code)
        raise


def end(status: int) -> None:
    """End as Python does, but take no module apart: that writes to all the pages that forks share, and was half of what a command took."""
    threading._shutdown()  # type: ignore[attr-defined]  # the interpreter calls it, too
    atexit._run_exitfuncs()
    gc.collect()  # a Deferred tells now what nobody has heard
    with contextlib.suppress(OSError):  # which the interpreter tells
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
