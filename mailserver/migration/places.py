"""Where users' mail comes from, as an operator writes it: ``mbox:/var/mail/{user}?uidl=qpopper``.

A place is a kind, where it is, and options. In a path, ``{user}``, ``{local}`` and ``{domain}`` stand for the user's name at the
old server, so that one place serves many users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from string import Formatter
from typing import Final, NamedTuple, Protocol

from mailserver.migration.source import Source, SourceError
from mailserver.toml import near_miss


class Listed(Protocol):
    """A reader of another server's lists in a Maildir: a `store.maildir.former.Former`, as far as a source needs it."""

    def entries(self, root: bytes, /) -> Sequence[tuple[bytes, bytes]] | None:
        """Files' names and unique-ids."""

    def unlisted(self, name: bytes, /) -> bytes | None:
        """The unique-id of a file that no list has."""


Formers = Callable[[str], Listed]
"""Makes the reader that `store.former` names. Errors: ValueError for a name that is none, with the known ones in its text."""


@dataclass(frozen=True, slots=True)
class Login:
    """Whose mail it is at the old server, and how to get in there."""

    name: str
    """The user's name there."""
    secret: str = field(default="", repr=False)
    """The user's password there, or that of `master`; files need none."""
    master: str = ""
    """The master user who gets into this user's mail; "": nobody but the user."""


class Place(NamedTuple):
    """A place as it was written, taken apart."""

    kind: str
    """As in `KINDS`."""
    where: str
    """A path, perhaps with fields; for a server, its host and perhaps its port."""
    options: Mapping[str, str]

    def path(self, login: Login) -> str:
        """The path for this user. Errors: SourceError."""
        local, _, domain = login.name.rpartition("@") if "@" in login.name else (login.name, "", "")
        values = {"user": login.name, "local": local, "domain": domain}
        pieces = []
        for literal, name, _, _ in Formatter().parse(self.where):
            pieces += [literal, "" if name is None else _component(name, values[name], login.name)]
        return "".join(pieces)


class Kind(NamedTuple):
    """A kind of places."""

    module: str
    """The module that reads it, which is imported when such a place is opened."""
    opener: str
    """Its function, from a `Place`, a `Login` and `Formers` to a `Source`. Errors: SourceError."""
    options: tuple[str, ...]
    check: str = ""
    """Its function that refuses values of options before any place is opened. Errors: ValueError."""
    files: bool = True
    """Whether it is a path; or else a server."""


_SERVER: Final = Kind(
    "mailserver.migration.network", "open_network", ("imap", "tls", "ca", "auth", "read"), "check_network", files=False
)

KINDS: Final[Mapping[str, Kind]] = {
    "mbox": Kind("mailserver.migration.mbox", "open_mbox", ("uidl", "lines", "xuidl"), "check_mbox"),
    "mmdf": Kind("mailserver.migration.mbox", "open_mmdf", ("uidl", "xuidl"), "check_mbox"),
    "cyrus": Kind(
        "mailserver.migration.cyrus", "open_cyrus", ("uidl", "archive", "meta", "popuseimapflags"), "check_cyrus"
    ),
    "pop3": _SERVER,
    "pop3s": _SERVER,
    "maildir": Kind("mailserver.migration.maildir", "open_maildir", ("former",)),
}

_FIELDS: Final = ("user", "local", "domain")
_LEADING_OUT: Final = re.compile(r"[/\x00-\x1f\x7f]")
"""What a user's name in a path must not have: it would lead to another's file, or end the path."""


def read_place(text: str) -> Place:
    """The place that an operator has written. Errors: ValueError, whose text says what to write."""
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise ValueError(
            f"{text!r} begins with no kind of source{near_miss(kind, KINDS)}; known are {', '.join(KINDS)}"
        )
    where, _, given = rest.partition("?")
    place = Place(kind, where if KINDS[kind].files else where.removeprefix("//"), _options(kind, given))
    if not place.where:
        raise ValueError(f"{text!r} does not say where: write {kind}:{'PATH' if KINDS[kind].files else '//HOST'}")
    if KINDS[kind].files:
        _check_path(place.where)
    if check := KINDS[kind].check:
        getattr(import_module(KINDS[kind].module), check)(place)
    return place


def open_source(place: Place, login: Login, formers: Formers) -> Source:
    """One user's mail there. It may read, and block. Errors: SourceError."""
    kind = KINDS[place.kind]
    opened: Source = getattr(import_module(kind.module), kind.opener)(place, login, formers)
    return opened


def _options(kind: str, text: str) -> dict[str, str]:
    found = {}
    for each in filter(None, text.split("&")):
        name, _, value = each.partition("=")
        known = KINDS[kind].options
        if name not in known:
            raise ValueError(f"{kind}: has no option {name!r}{near_miss(name, known)}; it has {', '.join(known)}")
        found[name] = value
    return found


def _check_path(where: str) -> None:
    if not where.startswith("/"):
        raise ValueError(f"the path {where!r} must be absolute")
    try:
        fields = {name + (spec or "") for _, name, spec, _ in Formatter().parse(where) if name is not None}
    except ValueError:
        raise ValueError(f"the braces of {where!r} have no end; write {{{{ and }}}} for braces of the path") from None
    if unknown := fields.difference(_FIELDS):
        raise ValueError(
            f"the path {where!r} has an unknown {{{min(unknown)}}}; known are {{user}} {{local}} {{domain}}"
        )


def _component(field: str, value: str, name: str) -> str:
    """The value of a field in a path, which is no path itself."""
    if not value or value in {".", ".."} or _LEADING_OUT.search(value):
        raise SourceError(f"{name!r} has no {field} that could be part of a path")
    return value
