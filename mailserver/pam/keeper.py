"""The program that asks PAM: it keeps the rights that the server gives up, and so does as little as it can.

It is started as `COMMAND` says: isolated, with this package and the standard library alone. It reads nothing but its lines:
descriptors from `FIRST_LINE` on, each one end of a socket pair that keeps datagrams apart. A request is one datagram of JSON,
and so is its answer. What may be asked is fixed by the arguments: whoever takes over the server can try passwords here, and no
more.

Three kinds of process, each a fork of the one before:

* the first only waits, and forks the second anew if that is killed;
* the second reads requests. It has a child for each, kills the child at the request's time, and says so if a child dies;
* the children ask PAM. A module may hang, crash or leak there without harm, and need not know of threads.

All end at the end of their lines, when the server has ended. None logs anything, but for a fault on standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, NoReturn

from mailserver.pam.libpam import Libraries, Trouble
from mailserver.pam.login import Policy, answer

COMMAND: Final = (
    *("-I", "-S", "-B", "-c"),
    "import sys; sys.path.append(sys.argv[2]); from mailserver.pam.keeper import main; main(sys.argv[1])",
)
"""Behind the interpreter, and before the `Policy` as JSON and the folder with the package. Nothing of the environment or of the
current folder is for import by root.
"""

FOLDER: Final = str(Path(__file__).parents[2])
"""The folder with the package."""

FIRST_LINE: Final = 3
"""The descriptors of the lines begin here, after the standard ones."""

LONGEST: Final = 8192
"""Octets of a datagram: a name of 255 octets and a password of 511, each octet at most six characters of JSON."""

DESCRIPTORS: Final = 1024
"""Modules that run programs close all descriptors up to the limit, one by one, and the server's may be a billion."""

PAUSE_SECONDS: Final = 1.0
"""Between two forks of the second process, so that one which cannot live takes no time of the machine."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


@dataclass
class Child:
    """A child, and the request that it answers."""

    line: socket.socket
    number: int
    until: float
    is_late: bool = False


@dataclass
class Keeper:
    """The second process: it has a child for each line at most, and never waits for one."""

    policy: Policy
    lines: list[socket.socket]
    libraries: Libraries | str
    """Or why there are none."""
    children: dict[int, Child] = field(default_factory=dict)

    def serve(self, *, anew: bool) -> None:
        """Answer until the lines end."""
        woken, wakes = socket.socketpair()
        try:
            for each in (woken, wakes):
                each.setblocking(False)
            signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
            signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
            for line in self.lines if anew else ():
                say(line, {"verdict": "lost"})  # what was asked of the process before this one
            while self._turn(woken):
                pass
            for pid in self.children:
                end(pid)
                os.waitpid(pid, 0)
        finally:
            signal.set_wakeup_fd(-1)
            woken.close()
            wakes.close()

    def _turn(self, woken: socket.socket) -> bool:
        """Wait for a request, the end of a child or the end of a child's time; False at the end of the lines."""
        busy = {child.line for child in self.children.values()}
        free = [line for line in self.lines if line not in busy]
        ended = False
        for each in select.select([woken, *free], [], [], self._patience())[0]:
            if each is woken:
                woken.recv(LONGEST)
            elif not self._take(each):
                ended = True
        self._kill()
        self._reap()
        return not ended

    def _patience(self) -> float | None:
        """The seconds until the first child is late."""
        ends = [child.until for child in self.children.values() if not child.is_late]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _take(self, line: socket.socket) -> bool:
        """Read a request, and begin a child for it; False at the end of the line."""
        try:
            datagram = line.recv(LONGEST)
        except ConnectionResetError:
            return False
        if not datagram:
            return False
        request = json.loads(datagram)
        number, until = int(request["number"]), float(request["until"])
        if until <= time.monotonic():  # whoever asked has gone: this process was stopped
            return True
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(own, line, number, request)
        self.children[pid] = Child(line, number, until)
        return True

    def _become_child(self, parent: int, line: socket.socket, number: int, request: dict[str, Any]) -> NoReturn:
        """Answer, and end without what Python and libraries do at an end."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # modules wait for programs of theirs
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it was killed before that
                os._exit(1)
            os.setsid()  # so that its programs end with it
            os.dup2(0, 2)  # modules may write there
            try:
                answered = answer(request, self.policy, self.libraries)
            except Trouble as trouble:
                answered = {"verdict": "trouble", "reason": str(trouble)}
            say(line, {"number": number, **answered})
            os._exit(0)
        finally:
            os._exit(1)

    def _kill(self) -> None:
        now = time.monotonic()
        for pid, child in self.children.items():
            if child.until <= now and not child.is_late:
                child.is_late = True
                end(pid)

    def _reap(self) -> None:
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended and (child := self.children.pop(pid)) and status:
                why = (
                    "a module did not answer in time"
                    if child.is_late
                    else f"a module ended its process ({how(status)})"
                )
                say(child.line, {"number": child.number, "verdict": "trouble", "reason": why})


def how(status: int) -> str:
    """How a process ended."""
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"


def end(pid: int) -> None:
    """Kill a child with all that it has started; it may be about to make its own group."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def say(line: socket.socket, answered: dict[str, Any]) -> None:
    """Send an answer; nobody waits for one that does not leave at once."""
    with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        line.send(json.dumps(answered).encode("ascii"), socket.MSG_DONTWAIT)


def prctl(option: int, value: int) -> None:
    """Linux's prctl; what an older kernel refuses is only a second guard."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def prepare() -> None:
    """Give up what this process does not need: its terminal, its folder, core files; signals to the server's group are not its."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A service manager signals all processes at once. This one ends with its lines, when the server has drained.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    prctl(PR_SET_DUMPABLE, 0)  # a core could go to a program, too, and nobody is to attach


def keep(keeper: Keeper) -> None:
    """Fork the second process, and again if something kills it; the end of its lines is its only own end."""
    for attempt in count():
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:
            keeper.serve(anew=attempt > 0)
            os._exit(0)
        if os.waitpid(pid, 0)[1] == 0:
            return
        time.sleep(max(0.0, begun + PAUSE_SECONDS - time.monotonic()))


def main(arguments: str) -> int:
    """Serve until the lines end."""
    policy = Policy(**json.loads(arguments))
    prepare()
    lines = [socket.socket(fileno=FIRST_LINE + number) for number in range(policy.lines)]
    for each in lines:
        each.set_inheritable(False)  # a program that a module starts could answer, or outlive the server with them
    try:
        libraries: Libraries | str = Libraries()
    except (OSError, AttributeError) as error:
        libraries = f"PAM's library cannot be used ({error}): install libpam0g (Debian), pam (Fedora)"
    keep(Keeper(policy, lines, libraries))
    return 0
