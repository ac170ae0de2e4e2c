"""What the readers of our own files say of a file that was made just now, before anybody relies on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailserver.migration.users.converted import Remark


def read_back(kind: str, text: str) -> Sequence[Remark]:
    """Remarks on a file of the kind "passwd-file"."""
    return READERS[kind](text)


def _passwd_file(text: str) -> Sequence[Remark]:
    from mailserver.auth.passwd.table import read_table
    from mailserver.migration.users.converted import Remark

    table = read_table(text.encode("utf-8", "surrogateescape"))
    return [Remark("the new file", f"line {note}" if note[0].isdigit() else note.lstrip()) for note in table.notes]


READERS: Final[Mapping[str, Callable[[str], Sequence[Remark]]]] = {"passwd-file": _passwd_file}
