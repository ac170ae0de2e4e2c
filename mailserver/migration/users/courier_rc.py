"""The files of Courier's authlib: lines of a name, blanks and a value, which a backslash continues."""

from __future__ import annotations

from collections.abc import Mapping


def read_rc(text: str) -> Mapping[str, str]:
    """The settings; of two with one name the first counts, as there."""
    found: dict[str, str] = {}
    pending = ""
    for line in text.split("\n"):
        if not pending and (not line.strip() or line.startswith("#")):
            continue
        whole = pending + line.rstrip("\r")
        if whole.rstrip().endswith("\\"):
            pending = whole.rstrip()[:-1] + " "
            continue
        name, _, value = whole.replace("\t", " ").partition(" ")
        found.setdefault(name, " ".join(value.split()) if pending else value.strip())
        pending = ""
    return found
