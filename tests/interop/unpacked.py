"""Programs out of Debian's packages that are unpacked beside the tests (Makefile), because to install them would change the machine.

Mail servers are such: a machine has one, and Postfix, Exim and whatever is there push one another out. Unpacked, each runs with
a folder of its own for all that it reads and writes, and with users of its own: `libnss_wrapper` tells it of them, since their
packages would make them. What is not found this way is a failure where the packages were installed for the tests.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.databases import absent
from tests.waiting import eventually

FOLDER: Final = Path(sys.prefix) / "debian"

USERS: Final = {"Debian-exim": 65531, "postfix": 65532}
"""Of nobody else: the user for whom a mail server works must not be that of another service."""

GROUPS: Final = {**USERS, "postdrop": 65533}

SECONDS: Final = 30

LAST: Final = 4000
"""Characters of a log that a failure shows."""

FIRST: Final = 60000
"""The number of a user of the machine."""


def unpacked(path: str, package: str) -> Path:
    """Where a file of such a package is."""
    found = FOLDER / path
    if not found.exists():
        absent(f"{package} is not unpacked in {FOLDER}: make debian")
    return found


def environment(folder: Path, users: Sequence[str] = ()) -> Mapping[str, str]:
    """Where a program finds its libraries and its users, with more of these names."""
    known = {**USERS, **{name: FIRST + number for number, name in enumerate(users)}}
    passwd, group = folder / "passwd", folder / "group"
    root = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    passwd.write_text(root + "".join(f"{name}:x:{each}:{each}::/:/bin/false\n" for name, each in known.items()))
    group.write_text("root:x:0:\nnogroup:x:65534:\n" + "".join(f"{name}:x:{each}:\n" for name, each in GROUPS.items()))
    return {
        "PATH": os.pathsep.join(str(FOLDER / each) for each in ("usr/sbin", "usr/bin")) + ":" + os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "LD_LIBRARY_PATH": os.pathsep.join(str(FOLDER / each) for each in ("usr/lib/postfix", "usr/lib")),
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": str(passwd),
        "NSS_WRAPPER_GROUP": str(group),
    }


class Log:
    """What a mail server writes about its mail."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self) -> str:
        """All of it."""
        return self.path.read_text(errors="backslashreplace") if self.path.exists() else ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches, and give the last that does."""
        found: list[re.Match[str]] = []

        def met() -> bool:
            found[:] = re.finditer(pattern, self.text(), re.MULTILINE)
            return bool(found)

        eventually(met, lambda: f"{pattern!r} in\n{self.text()[-LAST:]}", SECONDS)
        return found[-1]
