"""The stuffing in C (stuffing.c), which is there where the machine that built the installation had a compiler.

A message of 10 MB with bare LFs costs half the CPU with it. `wire.Stuffer` does the same in Python, and all else.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec

_NEW_BYTES = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)


class Stuffing:
    """The library at `path`. Errors: OSError if it cannot be loaded, AttributeError if it or the interpreter lacks a function."""

    __slots__ = ("_new_bytes", "_stuff")

    def __init__(self, path: str) -> None:
        # Makes a bytes object whose octets are still to be written. Python's own C code uses it in this way.
        self._new_bytes = _NEW_BYTES(("PyBytes_FromStringAndSize", ctypes.pythonapi))
        # PyDLL keeps the interpreter's lock. A chunk takes 20 us, and a thread that got the lock meanwhile keeps it for longer.
        self._stuff = ctypes.PyDLL(path).stuff
        self._stuff.restype = ctypes.c_size_t
        self._stuff.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_size_t),
        )

    def __call__(self, data: bytes, *, line_begins: bool) -> tuple[bytes, int]:
        """Return what is sent of `data`, in which there is no CR, and the number of dots that were added."""
        dots = ctypes.c_size_t()
        size = self._stuff(data, len(data), line_begins, None, dots)
        made: bytes = self._new_bytes(None, size)
        self._stuff(data, len(data), line_begins, made, dots)
        return made, dots.value


def load(module: str) -> Stuffing | None:
    """Return the library that was built by the name of this module; None where there is none that can be used."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    try:
        return Stuffing(spec.origin)
    except (OSError, AttributeError):
        return None
