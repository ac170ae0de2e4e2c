"""One memory as several processes see it, all of which are this one: POSIX's locks are a process's, and here exclude nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mailserver.net.common.memory import CommonMemory, make

SECRET: Final = bytes(range(32))


@contextmanager
def views(processes: int = 2, connections: int = 100) -> Iterator[list[CommonMemory]]:
    """A view of the same memory for each process."""
    descriptor = make(processes, connections)
    try:
        yield [view(descriptor, number, processes, connections) for number in range(processes)]
    finally:
        os.close(descriptor)


def view(descriptor: int, number: int, processes: int = 2, connections: int = 100) -> CommonMemory:
    """What the process of this number sees; a second one of the same number is the first one's successor."""
    return CommonMemory(descriptor, SECRET, number, processes, connections)
