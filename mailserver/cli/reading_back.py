"""What the readers of our own files say of a file that was made just now, before anybody relies on it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailserver.migration.users.converted import Remark


def read_back(kind: str, text: str) -> Sequence[Remark]:
    """Remarks on a file of one of the kinds in `BECOMES`."""
    return READERS[kind](text)


def _passwd_file(text: str) -> Sequence[Remark]:
    from mailserver.auth.passwd.table import read_table
    from mailserver.migration.users.converted import Remark

    table = read_table(text.encode("utf-8", "surrogateescape"))
    return [Remark("the new file", f"line {note}" if note[0].isdigit() else note.lstrip()) for note in table.notes]


def _sql(text: str) -> Sequence[Remark]:
    from mailserver.auth.sql.settings import read_settings

    return _problems(text, read_settings)


def _ldap(text: str) -> Sequence[Remark]:
    from mailserver.auth.ldap.settings import read_settings

    return _problems(text, read_settings)


def _settings(text: str) -> Sequence[Remark]:
    from mailserver.config.reading import load

    return _problems(text, lambda path: load(path, {}))


def _problems(text: str, read: Callable[[str], object]) -> Sequence[Remark]:
    """What a reader says of a file that is in no folder, so that its secrets come to no disk."""
    from mailserver.errors import Unusable
    from mailserver.migration.users.converted import Remark

    descriptor = os.memfd_create("settings", os.MFD_CLOEXEC)
    try:
        path = f"/proc/self/fd/{descriptor}"
        os.fchmod(descriptor, 0o600)  # as it will have
        os.write(descriptor, text.encode("utf-8", "surrogateescape"))
        read(path)
    except Unusable as error:
        return [Remark("the new file", re.sub(rf"^{path}:(?=\d)", "line ", line)) for line in error.problems]
    finally:
        os.close(descriptor)
    return []


READERS: Final[Mapping[str, Callable[[str], Sequence[Remark]]]] = {
    "ldap": _ldap,
    "passwd-file": _passwd_file,
    "settings": _settings,
    "sql": _sql,
}
