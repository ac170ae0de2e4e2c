"""A server whose serving user can read nothing of Python: neither the standard library nor any package.

`SITE` goes into the server's processes as their sitecustomize. From setuid on it refuses every import and every codec that is
not loaded yet, and every file below Python's folders, and writes down what was wanted. A line of source that a traceback would
show is no loss, so the module linecache may be refused without a word.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers import Site

SITE = r"""
import os, sys, sysconfig

FOLDERS = tuple({os.path.realpath(sysconfig.get_path(name)) + "/" for name in ("stdlib", "purelib", "platlib")}
                | {os.environ["SEALED_PACKAGE"] + "/mailserver/", os.environ["SEALED_PACKAGE"] + "/twisted/"})
RECORD = os.open(os.environ["SEALED_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
real = os.setuid


def note(what):
    frames = []
    frame = sys._getframe(2)
    while frame is not None and len(frames) < 12:
        if "importlib" not in frame.f_code.co_filename:
            frames.append(f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}")
        frame = frame.f_back
    os.write(RECORD, f"{what} by {' < '.join(frames)}\n".encode())


class Sealed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        note(f"import {name}")
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def watch(event, args):
    if event == "open" and isinstance(args[0], str) and args[0].startswith(FOLDERS):
        if not sys._getframe(1).f_code.co_filename.endswith(("linecache.py", "tokenize.py")):
            note(f"open {args[0]}")
        raise PermissionError(13, "Permission denied", args[0])


def setuid(uid):
    real(uid)
    sys.meta_path.insert(0, Sealed)
    sys.addaudithook(watch)
    os.write(RECORD, b"sealed\n")


os.setuid = setuid
"""


class Seal:
    """What the processes of a server wanted after they became the serving user."""

    def __init__(self, site: Site, package: Path) -> None:
        folder = site.folder / "sealed"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SITE)
        self._record = site.folder / "record"
        self._record.touch()
        self._seen = 0
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            "PYTHONPATH": os.pathsep.join(path),
            "SEALED_RECORD": str(self._record),
            "SEALED_PACKAGE": str(package),
        }

    @property
    def sealed(self) -> int:
        """How many processes are."""
        return self._record.read_text().split("\n").count("sealed")

    def news(self) -> list[str]:
        """What was wanted since the last look."""
        lines = [line for line in self._record.read_text().splitlines() if line != "sealed"]
        new, self._seen = lines[self._seen :], len(lines)
        return new
