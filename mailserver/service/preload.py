"""Loads modules and codecs that are needed much later, while Python's folders can surely be read.

The user that serves may not be able to read them: then every later import, and every first use of a codec, would fail. So
everything that an odd name, a traceback or a renewed certificate could need is loaded now. A checker's module loads its own
libraries when the checker is made (`auth.schemes.prepare`).
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
"""The codecs of our own code, of host names, and of the files that Python itself reads."""

MODULES: Final = ("tokenize", "twisted.internet.process", "twisted.internet.unix")
"""Modules that functions of the standard library and of Twisted import when they are called."""

PACKAGES: Final = ("cryptography.hazmat.backends", "cryptography.hazmat.primitives", "cryptography.x509")
"""Packages that are imported completely: their compiled code imports modules at the first key of a kind. It takes 40 ms."""


def load_all() -> None:
    """Import and look up everything; repeating it costs little."""
    for name in CODECS:
        codecs.lookup(name)
    "ö.example".encode("idna").decode("idna")
    for name in MODULES:
        import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the modules are deprecated, and not used here
        for package in PACKAGES:
            for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
                with suppress(ImportError):  # it would be missing later as well
                    import_module(module.name)
    try:
        raise LookupError
    except LookupError:  # formatting a traceback imports modules
        Failure().getTraceback()
        traceback.format_exc()
