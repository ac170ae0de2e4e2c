"""Text as a manual page: man(7)'s macros, of which mandoc and groff make the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_CODE: Final = re.compile(r"``?([^`]+)``?")


class Page:
    """A manual page, written from its top to its end."""

    def __init__(self, name: str, section: int, date: str, source: str) -> None:
        self._lines = [f'.TH "{name.upper()}" "{section}" "{date}" "{source}" "mailserver"']

    def section(self, title: str) -> None:
        """Begin a section."""
        self._lines.append(f'.SH "{title.upper()}"')

    def subsection(self, title: str) -> None:
        """Begin a part of a section."""
        self._lines.append(f'.SS "{escaped(title)}"')

    def paragraph(self, text: str) -> None:
        """Write text whose lines may be broken anywhere; `words` in backquotes are literal."""
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")
        self._lines += marked(text)

    def lines(self, texts: Iterable[str]) -> None:
        """Write lines as they are."""
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")
        self._lines += [".nf", ".RS 4", *map(_line, texts), ".RE", ".fi"]

    def item(self, head: str, text: str) -> None:
        """Write a row of a list: an option, an exit status."""
        self._lines += [".TP", f"\\fB{escaped(head)}\\fP", *marked(text)]

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


def escaped(text: str) -> str:
    """Text that roff prints as it is. A hyphen may be copied into a shell, so it stays one."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def marked(text: str) -> Iterator[str]:
    """A paragraph's lines, a sentence each where that can be told; words in backquotes are set as literal ones."""
    for sentence in re.split(r"(?<=[.:;?]) +(?=[A-Z])", " ".join(text.split())):
        yield _line(sentence, literal=True)


def _line(text: str, *, literal: bool = False) -> str:
    line = escaped(text)
    if literal:
        line = _CODE.sub(r"\\fB\1\\fP", line)
    return f"\\&{line}" if line.startswith((".", "'")) else line
