"""Dovecot's configuration as `doveconf -n` prints it, or as a file like dovecot-sql.conf.ext has it: a tree of blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mailserver.migration.users.converted import Unconvertible

HIDDEN: Final = "# hidden, use -P to show it"
"""What stands for a secret where `doveconf -n` was told to show none."""

_OPENING: Final = re.compile(r"""([\w/]+)(?:[ \t]+("(?:\\.|[^"\\])*"|\S+))?[ \t]*\{""")
_SETTING: Final = re.compile(r"([\w/*]+(?:[ .]\S+?)?)[ \t]*=[ \t]*(.*)")
_CLOSED: Final = re.compile(r"""(?:[^#'"]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')*""")
"""The beginning of a line up to a ``#`` or to a quote that is not closed, behind which a ``#`` begins no comment."""


@dataclass(slots=True)
class Block:
    """A block, or the whole."""

    name: str = ""
    label: str = ""
    """What stands behind the name: ``unix_listener auth-client {``."""
    values: dict[str, str] = field(default_factory=dict, repr=False)
    """The settings; of two with one name the last counts, as there."""
    hidden: list[str] = field(default_factory=list)
    """Names of settings whose values were not shown."""
    blocks: list[Block] = field(default_factory=list)

    def get(self, *names: str, default: str = "") -> str:
        """The first of these settings that is given: newer versions have other names."""
        return next((self.values[each] for each in names if each in self.values), default)

    def yes(self, *names: str, default: bool = False) -> bool:
        """Whether a setting says yes."""
        return is_yes(self.get(*names), default)

    def within(self, name: str, label: str = "") -> Iterator[Block]:
        """The blocks of this name directly in it and, if there is one, with this label."""
        return (each for each in self.blocks if each.name == name and label in ("", each.label))


def is_yes(value: str, default: bool) -> bool:
    """Whether a value says yes; `default`: there is none."""
    return value[:1].lower() in ("y", "t", "1") if value else default


def parse(text: str, path: str) -> Block:
    """Errors: Unconvertible."""
    root = Block()
    open_blocks = [root]
    for number, line in _lines(text):
        block = open_blocks[-1]
        if line == "}":
            if len(open_blocks) == 1:
                raise Unconvertible(f'{path}:{number}: a "}}" too many: give what `doveconf -nP` prints')
            open_blocks.pop()
        elif match := _OPENING.fullmatch(line):
            block.blocks.append(Block(match[1], _unquoted(match[2] or "")))
            open_blocks.append(block.blocks[-1])
        elif match := _SETTING.fullmatch(line):
            _set(block, match[1], match[2])
        elif line.startswith("!"):
            raise Unconvertible(
                f"{path}:{number}: it includes other files: give what `doveconf -nP` prints, which is all of them"
            )
        else:
            raise Unconvertible(
                f"{path}:{number}: it is no line of Dovecot's configuration: give what `doveconf -nP` prints"
            )
    if len(open_blocks) > 1:
        raise Unconvertible(f'{path}: a "}}" is missing: give all of what `doveconf -nP` prints')
    return root


def _set(block: Block, name: str, text: str) -> None:
    if text == HIDDEN:
        block.hidden.append(name)
        return
    block.values[name] = _unquoted(text)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with those that a backslash continues, and without comments."""
    pending, first = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        line = line if line.endswith(HIDDEN) else _bare(line)
        first = first if pending else number
        if line.endswith("\\"):
            pending += line[:-1].rstrip() + " "
            continue
        yield first, pending + line
        pending = ""
    if pending:
        yield first, pending.rstrip()


def _bare(line: str) -> str:
    end = _CLOSED.match(line)
    if end is None or not line.startswith("#", end.end()):
        return line
    return line[: end.end()].rstrip()


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
