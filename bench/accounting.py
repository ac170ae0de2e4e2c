"""The CPU time and the memory of a server with all its processes: by cgroups where that can be, else by /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

GROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


class Account(Protocol):
    """What one server uses."""

    def enter(self) -> None:
        """Put this process and its children on the account; called in the server's process before it is one."""

    def pids(self) -> list[int]:
        """List the processes that run now."""

    def cpu_seconds(self) -> float:
        """Return the CPU used so far, by processes that ended too."""

    def rss_mb(self) -> float:
        """Return the memory that all its processes have to themselves."""

    def close(self) -> None:
        """Give back what the account took; all its processes have ended."""


class Cgroups1:
    """A cgroup in each of two hierarchies of version 1."""

    told = "cgroups of version 1"

    def __init__(self, name: str) -> None:
        self.cpu, self.memory = (GROUPS / kind / name for kind in ("cpuacct", "memory"))
        for group in (self.cpu, self.memory):
            group.mkdir(exist_ok=True)

    @staticmethod
    def usable() -> bool:
        """Whether they can be made here."""
        return all(os.access(GROUPS / kind / "tasks", os.W_OK) for kind in ("cpuacct", "memory"))

    def enter(self) -> None:
        """Move this process."""
        for group in (self.cpu, self.memory):
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> list[int]:
        """List the processes."""
        return [int(pid) for pid in (self.cpu / "cgroup.procs").read_text().split()]

    def cpu_seconds(self) -> float:
        """In nanoseconds there."""
        return int((self.cpu / "cpuacct.usage").read_text()) / 1e9

    def rss_mb(self) -> float:
        """Anonymous memory."""
        return _line(self.memory / "memory.stat", "rss") / 1e6

    def close(self) -> None:
        """Remove both."""
        for group in (self.cpu, self.memory):
            with suppress(OSError):  # a process that is slow to end: an empty cgroup is left behind
                group.rmdir()


class Cgroup2:
    """A cgroup of version 2."""

    told = "a cgroup of version 2"

    def __init__(self, name: str) -> None:
        self.group = GROUPS / name
        self.group.mkdir(exist_ok=True)

    @staticmethod
    def usable() -> bool:
        """Whether one can be made here."""
        return (GROUPS / "cgroup.controllers").exists() and os.access(GROUPS / "cgroup.procs", os.W_OK)

    def enter(self) -> None:
        """Move this process."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> list[int]:
        """List the processes."""
        return [int(pid) for pid in (self.group / "cgroup.procs").read_text().split()]

    def cpu_seconds(self) -> float:
        """In microseconds there; every group has this file, whatever its controllers are."""
        return _line(self.group / "cpu.stat", "usage_usec") / 1e6

    def rss_mb(self) -> float:
        """Anonymous memory; by /proc, since a child group has the controller of memory only if its parent shares it."""
        return sum(_anonymous_kb(pid) for pid in self.pids()) / 1e3

    def close(self) -> None:
        """Remove it."""
        with suppress(OSError):  # as above
            self.group.rmdir()


class Processes:
    """Without cgroups: the processes of a session of the kernel's, which the server's first process leads."""

    told = "/proc, in steps of 10 ms, without processes whose parent did not wait for them"

    def __init__(self, name: str) -> None:
        del name
        self.tick = os.sysconf("SC_CLK_TCK")
        self.leader = 0

    def enter(self) -> None:
        """Nothing: the server is made the leader of a session anyway, and `lead` tells which."""

    def pids(self) -> list[int]:
        """List the processes of the session."""
        return [int(stat[0]) for stat in self._stats()]

    def cpu_seconds(self) -> float:
        """User and system time, own and of children that ended."""
        return sum(int(ticks) for stat in self._stats() for ticks in stat[13:17]) / self.tick

    def rss_mb(self) -> float:
        """Anonymous memory."""
        return sum(_anonymous_kb(pid) for pid in self.pids()) / 1e3

    def close(self) -> None:
        """Nothing was taken."""

    def _stats(self) -> list[list[str]]:
        stats = []
        for process in PROC.glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                before, _, after = (process / "stat").read_text().rpartition(")")
                stat = [before.partition(" ")[0], "", *after.split()]
                if int(stat[5]) == self.leader and stat[2] != "Z":
                    stats.append(stat)
        return stats


def kind() -> type[Cgroups1 | Cgroup2 | Processes]:
    """The best way that this machine and this user allow."""
    return Cgroups1 if Cgroups1.usable() else Cgroup2 if Cgroup2.usable() else Processes


def _line(file: Path, name: str) -> int:
    """The figure of a line `name figure`."""
    words = (line.split() for line in file.read_text().splitlines())
    return next(int(line[1]) for line in words if line[:1] == [name])


def _anonymous_kb(pid: int) -> int:
    try:
        return _line(PROC / str(pid) / "status", "RssAnon:")
    except (OSError, StopIteration):  # it has ended, or is a zombie, which has no memory
        return 0
