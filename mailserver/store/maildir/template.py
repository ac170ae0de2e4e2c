"""Where a user's maildrop lies: the path of a store URL, and the names that may stand in it."""

from __future__ import annotations

import re
from difflib import get_close_matches
from string import Formatter

from mailserver.errors import MaildropUnavailable, PermanentFailure
from mailserver.interfaces import User

_FIELDS = ("home", "user", "local", "domain")

_LIMIT = 255
"""Octets of a user name: one component of a path can be no longer (NAME_MAX)."""

_FORBIDDEN = re.compile(r"[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What leaves the directory, ends a C string, or garbles a terminal; and octets that were not UTF-8."""


_VARIABLE = re.compile(r"%(?:\{ *([a-z]+(?: *\| *[a-z]+)?) *\}|(.?))", re.DOTALL)
_LONG = {"user": "user", "username": "local", "domain": "domain", "home": "home"}
"""Dovecot's long names, also behind a bar: ``%{user | username}``."""
_VARIABLES = {"u": "user", "n": "local", "d": "domain", "h": "home", **_LONG}
_VARIABLES |= {"user|username": "local", "user|domain": "domain"}
"""Dovecot's, of those that a mail location may hold."""
_DOVECOT = re.compile(r"%(?:\{([^}]*)\}|([-0-9.LUEXRNHMTD]*)([undh]))")


class NoMaildrop(MaildropUnavailable):
    """The user's name or settings lead to no maildrop, today or tomorrow."""

    refusal = PermanentFailure


class Template:
    """An absolute path with ``{home} {user} {local} {domain}`` in it.

    What stands before the first of them must exist; what follows is the user's own and may be made for him.
    """

    def __init__(self, text: str) -> None:
        _refuse_variables(text)
        self._parts = [(literal, name) for literal, name, _, _ in Formatter().parse(text)]
        self.fields = [name for _, name in self._parts if name is not None]
        for name in self.fields:
            if name not in _FIELDS:
                near = get_close_matches(name, _FIELDS, 1)
                hint = f"did you mean {{{near[0]}}}?" if near else "known are {home} {user} {local} {domain}"
                raise ValueError(f"the maildir path {text!r} has an unknown {{{name}}}; {hint}")
        if not text.startswith(("/", "{home}")):
            raise ValueError(f"the maildir path {text!r} must be absolute, or begin with {{home}}")
        if not {"home", "user", "local"}.intersection(self.fields):
            raise ValueError(
                f"by the maildir path {text!r} all users would share one maildrop; put {{user}} or {{home}} in it"
            )
        self.needs_home = "home" in self.fields

    def path(self, user: User) -> bytes:
        """The root of `user`'s maildrop, with a slash at its end. Errors: NoMaildrop."""
        values = _values(user)
        pieces: list[str] = []
        for literal, name in self._parts:
            pieces.append(literal)
            if name is not None:
                value = values[name]
                if not value:
                    raise NoMaildrop(f"the maildrop of {user.name!r} needs a {name}, and there is none")
                pieces.append(value)
        return _root("".join(pieces), user)

    def anchor(self, user: User) -> bytes:
        """The directory that must exist before a maildrop is made for `user`: his home, or the literal beginning."""
        literal, name = self._parts[0]
        home = user.home if name == "home" and not literal else None
        return _octets(home or literal[: literal.rindex("/") + 1])


def own_path(url: str, user: User) -> bytes:
    """The root that a user's own store URL names, in Dovecot's notation: ``maildir:/path`` or ``maildir:~/path``.

    ``%u %n %d %h`` are the user's name, its local part, its domain, and his home. The options after a further colon are for
    IMAP folders and indexes, but for INBOX, which is the maildrop.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme != "maildir":
        raise NoMaildrop(f"the mail location {url!r} of {user.name!r} is not a maildir:")
    path, *options = rest.split(":")
    path = next((option[len("INBOX=") :] for option in options if option.startswith("INBOX=")), path)
    values = _values(user)
    path = _VARIABLE.sub(lambda match: _value((match[1] or match[2]).replace(" ", ""), values), path)
    if path == "~" or path.startswith("~/"):
        if not user.home:
            raise NoMaildrop(f"the mail location {url!r} of {user.name!r} needs a home, and there is none")
        path = user.home + path[1:]
    return _root(path, user)


def _refuse_variables(text: str) -> None:
    """Dovecot's notation is none of ours: as it stands, it would lead all users to one maildrop. Errors: ValueError."""
    here = _DOVECOT.sub(_translated, text)
    if here.startswith("~/"):
        here = "{home}" + here[1:]
    if here != text:
        raise ValueError(f"the maildir path {text!r} is in Dovecot's notation; here it is {here}")
    if _DOVECOT.search(text):
        raise ValueError(
            f"the maildir path {text!r} is in Dovecot's notation; here are {{home}} {{user}} {{local}} {{domain}}"
        )


def _translated(match: re.Match[str]) -> str:
    """Our field; the variable itself where there is none, such as parts of names and hashes of them."""
    long, modifiers, letter = match.groups()
    if long is not None:
        name = _LONG.get(long.rpartition("|")[2].strip())
    else:
        name = None if modifiers.strip("L") else _VARIABLES[letter]  # what lower case is, the settings of names say
    return match[0] if name is None else f"{{{name}}}"


def _value(letter: str, values: dict[str, str | None]) -> str:
    """What stands for ``%letter``. One that stayed as it is would lead all users to one maildrop."""
    value = "%" if letter == "%" else values.get(_VARIABLES.get(letter, ""))
    if not value:
        raise NoMaildrop(f"the mail location of {values['user']!r} has a %{letter}, for which nothing is known")
    return value


def _values(user: User) -> dict[str, str | None]:
    name = user.name
    _check_name(name)
    local, _, domain = name.rpartition("@") if "@" in name else (name, "", "")
    return {"home": user.home, "user": name, "local": local, "domain": domain}


def _check_name(name: str) -> None:
    if not name or name in {".", ".."} or _FORBIDDEN.search(name) or len(name.encode()) > _LIMIT:
        raise NoMaildrop(f"the user name {name!r} cannot name a maildrop")


def _root(path: str, user: User) -> bytes:
    path = path.rstrip("/") + "/"
    if not path.startswith("/") or path == "/" or "/../" in path or "/./" in path or "\0" in path:
        raise NoMaildrop(
            f"the maildrop of {user.name!r} would be {path!r}, which is no absolute path to a directory of its own"
        )
    return _octets(path)


def _octets(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")  # whatever the locale: names are UTF-8, as on the wire
