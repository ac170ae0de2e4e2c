"""Long work in a thread, in pieces between which the reactor thread gets the interpreter's lock.

A single call in C keeps the lock until it ends, and Python code for 5 ms (`sys.getswitchinterval`) each time that the reactor
thread wants it, which is up to three times for a command. A short sleep gives it up at once; a call that only releases it, such
as ``sleep(0)``, mostly has it back before the other thread wakes up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from time import monotonic, sleep
from typing import TypeVar

PIECE = 2000
"""Values of a piece: sorting them takes about a millisecond, joining or splitting them 0.1 ms."""

_TURN = 256
"""Values that Python code works on before it looks at the clock: much less than a millisecond."""

_OCTETS = 64 * 1024
"""Octets of a text's piece: about as many values."""

_SPELL = 0.001
"""Seconds of work between two pauses."""

_PAUSE = 0.000_05
"""Seconds of a pause, to which the system adds about as much: the time in which another thread wakes up."""

_T = TypeVar("_T")


def in_turns(values: Iterable[_T], size: int = 1) -> Iterator[_T]:
    """The values, with a pause before every `size` of them if a millisecond has passed since the last one.

    None is kept: 2,000 new rows at once would make the garbage collector look at everything that the process has.
    """
    iterator = iter(values)
    began = monotonic()
    for value in iterator:
        if monotonic() - began > _SPELL:
            sleep(_PAUSE)
            began = monotonic()
        yield value
        yield from islice(iterator, size - 1)


def one_by_one(values: Iterable[_T]) -> Iterator[_T]:
    """The values, in turns with other threads."""
    return in_turns(values, _TURN)


def in_pieces(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The values in pieces, in turns with other threads."""
    return in_turns(values[at : at + PIECE] for at in range(0, len(values), PIECE))


def joined(values: Sequence[bytes]) -> bytes:
    """The values, separated by NULs."""
    return b"\0".join(map(b"\0".join, in_pieces(values)))


def split(text: bytes) -> list[bytes]:
    """The values of `joined`, of which there must be one at least."""
    values: list[bytes] = []
    for piece in texts(text):
        values += piece.split(b"\0")
    return values


def texts(text: bytes) -> Iterator[bytes]:
    """The text in pieces that end before a NUL, in turns with other threads; each is one or more whole values."""
    return in_turns(_texts(text))


def _texts(text: bytes) -> Iterator[bytes]:
    start, end = 0, -1
    while end < len(text):
        end = text.find(b"\0", start + _OCTETS)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def in_order(keys: Sequence[bytes]) -> list[int]:
    """The indexes of the keys, in the order of the keys.

    Sorted pieces are cut at the same keys, which are taken from all of them so that the cuts lie evenly; the slices
    between two cuts, whose keys come before all later ones, are then sorted together.
    """
    key = keys.__getitem__
    runs = [sorted(piece, key=key) for piece in in_pieces(range(len(keys)))]
    if len(runs) <= 1:
        return runs[0] if runs else []
    samples = [keys[at] for run in runs for at in run[:: max(2, PIECE // len(runs))]]
    cuts = [samples[at] for at in in_order(samples)[len(runs) :: len(runs)]]
    order: list[int] = []
    starts = [0] * len(runs)
    for cut in in_turns([*cuts, None]):
        ends = [
            len(run) if cut is None else bisect_left(run, cut, start, key=key)
            for run, start in zip(runs, starts, strict=True)
        ]
        order += sorted([at for run, a, b in zip(runs, starts, ends, strict=True) for at in run[a:b]], key=key)
        starts = ends
    return order
