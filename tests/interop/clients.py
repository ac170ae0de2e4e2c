"""The programs that people read their mail with, and what each of them cannot keep of a message."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.corpus import CORPUS, canonical
from tests.servers import Server

SECONDS: Final = 120
"""The longest that a client may take; it needs two or three."""


@dataclass(frozen=True)
class Gap:
    """Something a client does to messages that look so."""

    reason: str
    hit: Callable[[bytes], object]


def _is_empty(wire: bytes) -> bool:
    return not wire


def _has_other_lines_than_headers(wire: bytes) -> bool:
    head = wire.partition(b"\r\n\r\n")[0]
    return not all(re.match(rb"[!-9;-~]+:|[ \t]", line) for line in head.split(b"\r\n"))


def _has_no_blank_line(wire: bytes) -> bool:
    return b"\r\n\r\n" not in wire


def _has_a_bare_cr(wire: bytes) -> bool:
    return bool(re.search(rb"\r(?!\n)", wire))


def _has_a_field_with_a_dot(wire: bytes) -> bool:
    return b"\r\n." in wire.partition(b"\r\n\r\n")[0]


def _has_a_long_line(wire: bytes) -> bool:
    return max(map(len, wire.split(b"\r\n"))) > 8000


GAPS: Final[Mapping[str, tuple[Gap, ...]]] = {
    "poplib": (),  # with its limit of 2,048 octets a line lifted, as its documentation says
    "curl": (Gap("writes a line end for a message of no octets", _is_empty),),
    "mpop": (),
    "fetchmail": (
        Gap("drops a CR that ends no line", _has_a_bare_cr),
        Gap("keeps both dots of a field that begins with one, unless it is the first", _has_a_field_with_a_dot),
        Gap("writes headers of its own where others are missing or broken", _has_other_lines_than_headers),
        Gap("spoils a line of more than 8 KB", _has_a_long_line),
        Gap("ends a header that nothing follows with a blank line", _has_no_blank_line),
    ),
}
"""The one table of what is not compared, and why. What a client only adds, it is told not to."""


def kept_by(client: str) -> dict[str, bytes]:
    """The corpus, less the messages that this client changes."""
    gaps = GAPS[client]
    return {name: message for name, message in CORPUS.items() if not any(gap.hit(canonical(message)) for gap in gaps)}


def text_form(message: bytes) -> bytes:
    """What a client writes to a file on this system: lines that end in LF."""
    return canonical(message).replace(b"\r\n", b"\n")


def path_of(program: str) -> str:
    """Where a program is. Where the packages were installed for the tests, a missing one is a failure."""
    path = shutil.which(program)
    if path is None:
        absent = pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip
        absent(f"{program} is missing: apt-get install {program}")
    return path


@dataclass(frozen=True)
class Outcome:
    """How a program ended, and what it wrote."""

    status: int
    output: bytes
    errors: str


class Clients:
    """Runs programs against `server`, with `folder` for their home."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.seconds: float = SECONDS

    def run(self, program: str, *arguments: str, stdin: bytes = b"", status: int | None = 0) -> Outcome:
        """Run a program to its end, which must be with this exit status; None: with any."""
        home = str(self.folder)
        ended = subprocess.run(
            [path_of(program), *arguments],
            input=stdin,
            capture_output=True,
            timeout=self.seconds,
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": home, "FETCHMAILHOME": home, "LC_ALL": "C.UTF-8"},
            check=False,
        )
        outcome = Outcome(ended.returncode, ended.stdout, ended.stderr.decode(errors="backslashreplace"))
        assert status is None or outcome.status == status, outcome
        return outcome

    def file(self, name: str, text: str) -> Path:
        """A file that only its owner reads, for a client's settings and passwords."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path
