"""What is used much later is loaded here and now: while Python's folders can surely be read.

The user who serves need not be able to read them, and from then on each import, and each look for a codec that nobody used
before, fails. So whatever would come first at a stranger's odd name, a traceback or a renewed certificate is loaded at once.
What belongs to a checker, its own module loads when it is made (`auth.schemes.prepare`).
"""

from __future__ import annotations

import codecs
import pkgutil
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Final

from twisted.python.failure import Failure

CODECS: Final = ("ascii", "idna", "latin-1", "punycode", "raw_unicode_escape", "unicode_escape", "utf-8", "utf-8-sig")
"""Those of our own code, of host names, and of the files that Python itself reads."""

MODULES: Final = ("tokenize", "twisted.internet.process", "twisted.internet.unix")
"""Imported inside of functions of the standard library and of Twisted."""

PACKAGES: Final = ("cryptography.hazmat.backends", "cryptography.hazmat.primitives", "cryptography.x509")
"""Imported whole: their compiled half asks for one module or another when it first meets a kind of key. It takes 40 ms."""


def load_all() -> None:
    """Import and look up all of it; a second time costs little."""
    for name in CODECS:
        codecs.lookup(name)
    "ö.example".encode("idna").decode("idna")
    for name in MODULES:
        import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of what is imported is deprecated, and not used by anybody here
        for package in PACKAGES:
            for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
                with suppress(ImportError):  # it would not be there later, either
                    import_module(module.name)
    try:
        raise LookupError
    except LookupError:  # a traceback is made of modules that are imported when it is written
        Failure().getTraceback()
        traceback.format_exc()
