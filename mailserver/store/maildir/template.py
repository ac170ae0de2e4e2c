"""The path of a user's maildrop: the template in a store URL, and its fields."""

from __future__ import annotations

import re
from difflib import get_close_matches
from string import Formatter

from mailserver.errors import HomeUnknown, NoMaildrop
from mailserver.interfaces import User

_FIELDS = ("home", "user", "local", "domain")

_LIMIT = 255
"""Octets of a user name: one component of a path can be no longer (NAME_MAX)."""

_FORBIDDEN = re.compile(r"[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that leave the directory, end a C string or garble a terminal, and octets that are not UTF-8."""


_HOMELESS = "use {user} in the URL"

_VARIABLE = re.compile(r"%(?:\{ *([a-z]+(?: *\| *[a-z]+)?) *\}|(.?))", re.DOTALL)
_LONG = {"user": "user", "username": "local", "domain": "domain", "home": "home"}
"""Dovecot's long names, also behind a bar: ``%{user | username}``."""
_VARIABLES = {"u": "user", "n": "local", "d": "domain", "h": "home", **_LONG}
_VARIABLES |= {"user|username": "local", "user|domain": "domain"}
"""Dovecot's short variables that a mail location may contain."""
_DOVECOT = re.compile(r"%(?:\{([^}]*)\}|([-0-9.LUEXRNHMTD]*)([undh]))")


class Template:
    """An absolute path with the fields ``{home} {user} {local} {domain}``.

    The directory before the first field must exist; the rest is the user's own and is made when it is missing.
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
                f"with the maildir path {text!r} all users would share one maildrop; put {{user}} or {{home}} in it"
            )
        self.needs = frozenset({"home"}.intersection(self.fields))

    def path(self, user: User) -> bytes:
        """The root of `user`'s maildrop, with a slash at its end. Errors: NoMaildrop."""
        values = _values(user)
        pieces: list[str] = []
        for literal, name in self._parts:
            pieces.append(literal)
            if name is not None:
                value = values[name]
                if not value and name == "home":
                    raise HomeUnknown("the store's URL needs a home directory and none is known", _HOMELESS)
                if not value:
                    raise NoMaildrop(f"the maildrop of {user.name!r} needs a {name}, and there is none")
                pieces.append(value)
        return _root("".join(pieces), user)

    @property
    def common(self) -> str:
        """The directory that must exist before anybody's maildrop is made; "": each user's home must."""
        literal, _ = self._parts[0]
        return literal[: literal.rindex("/") + 1] if literal else ""

    def anchor(self, user: User) -> bytes:
        """The directory that must exist before `user`'s maildrop is made: the home, or the part before the first field."""
        literal, name = self._parts[0]
        home = user.home if name == "home" and not literal else None
        return _octets(home or literal[: literal.rindex("/") + 1])


def own_path(url: str, user: User) -> bytes:
    """The root in a user's own store URL, in Dovecot's notation: ``maildir:/path`` or ``maildir:~/path``.

    ``%u %n %d %h`` are the user's name, its local part, its domain, and the user's home. Of the options after a further
    colon only INBOX counts, which is the maildrop; the others are for IMAP folders and indexes.
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
    """Refuse Dovecot's notation, which the template does not expand: all users would get one maildrop. Errors: ValueError."""
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
    """The field for a variable; the variable itself where there is none, as for parts and hashes of names."""
    long, modifiers, letter = match.groups()
    if long is not None:
        name = _LONG.get(long.rpartition("|")[2].strip())
    else:
        name = (
            None if modifiers.strip("L") else _VARIABLES[letter]
        )  # L is lower case, which the names settings decide here
    return match[0] if name is None else f"{{{name}}}"


def _value(letter: str, values: dict[str, str | None]) -> str:
    """The value of ``%letter``. An unknown one is an error: left as it is, it would give all users one maildrop."""
    value = "%" if letter == "%" else values.get(_VARIABLES.get(letter, ""))
    if not value:
        raise NoMaildrop(f"the mail location of {values['user']!r} has a %{letter}, which is unknown or has no value")
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
            f"the maildrop of {user.name!r} would be {path!r}, which is not an absolute path to a directory of its own"
        )
    return _octets(path)


def _octets(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")  # in every locale, names are UTF-8, as on the wire
