"""Starts what a forked server starts by a fork, too, its workers and its successor: of a process that the server forks before it has done anything.

Each is its server's child, as one that is started, because this process makes it so (clone(2), CLONE_PARENT). It gets what exec would
have left it: its descriptors, its environment, and what the server has set for its children. This process ends when its server does.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import socket
from collections.abc import Callable
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from typing import Any, Final

from twisted.internet.process import Process

from mailserver.service.legacy import VARIABLE

WORKER: Final = ["-P", "-m", "mailserver.service.worker"]
"""The arguments of Python that start one."""

CLONE: Final = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
"""The number of clone(2), where it is known."""
CLONE_PARENT: Final = 0x8000

LIMITS: Final = (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
OF_PYTHON: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""What Python itself ignores."""
LONGEST: Final = 1 << 17
"""Octets of a request: the environment."""
MOST: Final = 253
"""Descriptors that one message can hold."""


def fork_workers(become: Callable[[dict[str, Any], int], Callable[[], object]]) -> None:
    """Let what this server starts be forked from now on, by a process that is forked here. `become` is `forking.become`."""
    if CLONE is None:
        return
    server = os.getpid()
    asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        asking.close()
        serve(asked, become)
    asked.close()
    start = Process._fork

    def fork(  # noqa: PLR0913, PLR0917 - as Twisted's
        self: Any, path: Any, uid: Any, gid: Any, executable: Any, args: Any, environment: Any, **more: Any
    ) -> None:
        """As Twisted's. What is neither a worker of ours nor a successor is started, and so is all of a server that went into the background."""
        succeeds = VARIABLE in (environment or ())
        if not (succeeds or list(args[1:]) == WORKER) or os.getpid() != server:
            start(self, path, uid, gid, executable, args, environment, **more)
            return
        descriptors = more["fdmap"]
        request = {
            "command": list(args),
            "env": dict(environment),
            "cwd": str(path or Path.cwd()),
            "known": environment["PYTHONPATH"].split(os.pathsep),
            "workers": succeeds,
            "descriptors": list(descriptors),
            "limits": [resource.getrlimit(each) for each in LIMITS],
            "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "umask": umask(),
            "groups": os.getgroups(),
            "gids": os.getresgid(),
            "uids": os.getresuid(),
        }
        socket.send_fds(asking, [json.dumps(request).encode()], list(descriptors.values()))
        self.pid = int(asking.recv(LONGEST))
        self.status = -1  # as Twisted's own: it has not ended

    Process._fork = fork


def serve(asked: socket.socket, become: Callable[[dict[str, Any], int], Callable[[], object]]) -> None:
    """Fork at each request, until there is nobody who asks; what is forked ends here."""
    while True:
        data, descriptors, *_ = socket.recv_fds(asked, LONGEST, MOST)
        if not data:
            os._exit(0)
        pid = sibling()
        if not pid:
            request = json.loads(data)
            program = started(request, descriptors, become)
            if request["workers"]:
                fork_workers(become)
            raise SystemExit(program())
        for each in descriptors:
            os.close(each)
        asked.send(b"%d" % pid)


def started(
    request: dict[str, Any], descriptors: list[int], become: Callable[[dict[str, Any], int], Callable[[], object]]
) -> Callable[[], object]:
    """Take what exec would have left; answers the program."""
    numbers = request["descriptors"]
    aside = [fcntl(each, F_DUPFD_CLOEXEC, max(numbers) + 1) for each in descriptors]
    for number, each in zip(numbers, aside, strict=True):
        os.dup2(each, number)
    for kind, limit in zip(LIMITS, request["limits"], strict=True):
        resource.setrlimit(kind, limit)
    for ignored in signal.valid_signals():
        if ignored not in OF_PYTHON and signal.getsignal(ignored) == signal.SIG_IGN:
            signal.signal(ignored, signal.SIG_DFL)  # as a start by posix_spawn(3) does, which is Twisted's
    os.umask(request["umask"])
    if os.geteuid() == 0:
        os.setgroups(request["groups"])
    os.setresgid(*request["gids"])
    os.setresuid(*request["uids"])
    program = become(request, max(numbers) + 1)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["mask"])
    return program


def umask() -> int:
    """This process's, which can only be read by being set."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sibling() -> int:
    """As `os.fork`, but its parent is this process's."""
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)  # both hold Python's lock
    python.PyOS_BeforeFork()
    pid: int = libc.syscall(CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pid
