"""``mailserver user``: adds, changes and removes the users of a passwd-file."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mailserver.cli.group import FILE, config_option, json_option
from mailserver.cli.main import tell
from mailserver.cli.secrets import heard, scheme_option

if TYPE_CHECKING:
    from mailserver.auth.entry import Entry
    from mailserver.interfaces import User
    from mailserver.names import Names

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_REMEDIES: Final = {
    errno.EACCES: "; run this as root, or as the owner of its folder",
    errno.EPERM: "; run this as root, or as the owner of its folder",
    errno.ENOENT: "; make its folder first",
    errno.EROFS: "; mount its file system writable",
    errno.ENOSPC: "; make room on its disk",
    errno.EDQUOT: "; raise the quota of its owner",
}
"""What an operator can do about a passwd-file, by the error: a new one is written beside it, in its folder."""


@click.group()
def user() -> None:
    """Add, change and remove the users of a passwd-file.

    The file is changed in one step, under a lock, and keeps its owner and mode; other lines stay as they are. The server sees the
    change at the next login.
    """


def _file_option(command: Decorated) -> Decorated:
    return click.option("--file", metavar="FILE", type=FILE, help="The passwd-file. Default: that of auth.checkers.")(
        command
    )


def _fields_option(command: Decorated) -> Decorated:
    return click.option(
        "--field",
        "fields",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="An extra field, such as allow_nets=192.0.2.0/24; repeatable.",
    )(command)


@user.command()
@click.argument("name")
@click.option("--home", metavar="DIR", type=FILE, help="The home directory, for a store with {home}.")
@_fields_option
@scheme_option
@_file_option
@json_option
@config_option
def add(  # noqa: PLR0913 - the options of a command
    name: str,
    *,
    home: str | None,
    fields: tuple[str, ...],
    scheme: str | None,
    file: str | None,
    as_json: bool,
    config: str,
) -> int:
    """Add the user NAME, whose password is asked for, or is the first line of standard input.

    \b
    Examples:
      mailserver user add alice --home /home/alice
      pwgen 16 1 | tee letter | mailserver user add bob@example.org

    \b
    Exit status:
       0  added
       1  there is such a user already, or the line could not be read by the server
      64  the command line is wrong
      77  the file cannot be changed by who runs this
      78  the configuration is wrong, or the scheme is unknown
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.auth.passwd import editing

    if not editing.is_name(os.fsencode(name)):
        raise click.UsageError(f"{name!r} cannot be a user's name")
    _check_home(home)

    def change(path: str, domain: str, names: Names) -> Entry:
        line = editing.Line(os.fsencode(name), _secret(scheme), b"", b"", b"", os.fsencode(home or ""), b"", b"")
        return editing.add(path, line.with_extra(_read_fields(fields), frozenset()), domain, names)

    return _changed(name, config, file, as_json, change)


@user.command("set")
@click.argument("name")
@click.option("--password", is_flag=True, help="Give a new password, from the terminal or standard input.")
@click.option("--home", metavar="DIR", type=FILE, help="Give another home directory.")
@_fields_option
@click.option("--unset", multiple=True, metavar="NAME", help="Take an extra field away; repeatable.")
@scheme_option
@_file_option
@json_option
@config_option
def set_(  # noqa: PLR0913 - the options of a command
    name: str,
    *,
    password: bool,
    home: str | None,
    fields: tuple[str, ...],
    unset: tuple[str, ...],
    scheme: str | None,
    file: str | None,
    as_json: bool,
    config: str,
) -> int:
    """Change the user NAME: the password, the home, or extra fields.

    \b
    Examples:
      mailserver user set alice --password
      mailserver user set alice --field userdb_quota_rule=*:storage=1G --unset allow_nets
      mailserver user set alice --field nologin

    \b
    Exit status:
       0  changed
       1  there is no such user, or the line could not be read by the server
      64  the command line is wrong
      77  the file cannot be changed by who runs this
      78  the configuration is wrong, or the scheme is unknown
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if not (password or scheme or home is not None or fields or unset):
        raise click.UsageError("say what to change: --password, --home, --field or --unset")
    _check_home(home)
    from mailserver.auth.passwd import editing

    def change(path: str, domain: str, names: Names) -> Entry:
        given = _read_fields(fields)
        secret = _secret(scheme) if password or scheme else None

        def changed(line: editing.Line) -> editing.Line:
            line = line if secret is None else line._replace(secret=secret)
            line = line if home is None else line._replace(home=os.fsencode(home))
            return line.with_extra(given, frozenset(unset))

        return editing.edit(path, os.fsencode(name), changed, domain, names)

    return _changed(name, config, file, as_json, change)


@user.command()
@click.argument("name")
@_file_option
@json_option
@config_option
def remove(name: str, file: str | None, as_json: bool, config: str) -> int:
    """Remove the user NAME. The maildrop stays where it is; sessions that are open end as they would: see `mailserver kick`.

    \b
    Exit status:
       0  removed
       1  there is no such user
      64  the command line is wrong
      77  the file cannot be changed by who runs this
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.auth.passwd import editing

    def change(path: str, domain: str, _names: Names) -> None:
        editing.remove(path, os.fsencode(name), domain)

    return _changed(name, config, file, as_json, change)


def _secret(scheme: str | None) -> bytes:
    """The secret of a password that is heard. Errors: SchemeError."""
    from mailserver.auth.making import DEFAULT, make_secret

    return make_secret(scheme or DEFAULT, heard(twice=True))


def _check_home(home: str | None) -> None:
    """Errors: click.UsageError."""
    if not set(home or "").isdisjoint(":\r\n\0"):
        raise click.UsageError(f"{home!r} is no home: a passwd-file holds none with a colon or a line end")


def _read_fields(fields: tuple[str, ...]) -> dict[str, str]:
    """Extra fields by their names. Errors: click.UsageError."""
    for each in fields:
        if not each.partition("=")[0] or any(c.isspace() or not c.isprintable() for c in each):
            raise click.UsageError(f"{each!r} is no field: NAME or NAME=VALUE, without spaces")
    return {name: value for name, _, value in (each.partition("=") for each in fields)}


def _changed(
    name: str, config: str, file: str | None, as_json: bool, change: Callable[[str, str, Names], Entry | None]
) -> int:
    """Change the file; the exit status."""
    from mailserver.auth.passwd import editing
    from mailserver.auth.secret import SchemeError
    from mailserver.errors import ConfigError
    from mailserver.names import PLAIN

    path = file or config
    problems: list[str] = []
    status = os.EX_CONFIG
    try:
        path, domain, names, needs = _configured(config) if file is None else (file, "", PLAIN, frozenset[str]())
        entry = change(path, domain, names)
    except editing.Unchanged as error:
        problems, status = [f"{error}; nothing was changed"], 1
    except ConfigError as error:
        problems = [*error.problems]
    except SchemeError as error:
        problems = [str(error)]
    except OSError as error:
        problems = [f"{path} cannot be changed: {error.strerror}{_REMEDIES.get(error.errno or 0, '')}"]
        status = os.EX_NOPERM if isinstance(error, PermissionError) else status
    else:
        denied = "" if entry is None else entry.user.denied or entry.trouble
        if denied:
            problems = [f"done; with this line the user cannot log in: {denied}"]
        elif entry is not None and _is_homeless(entry.user, needs):
            problems = ["done; but store.url has {home}, and this line has none: give it one by --home"]
        status = os.EX_OK
        if as_json:
            click.echo(json.dumps({"user": name, "file": path, "denied": denied}))
    for problem in problems:
        tell(f"mailserver: {problem}")
    return status


def _is_homeless(user: User, needs: frozenset[str]) -> bool:
    """Whether a store that needs something of its users lacks this one's home. A user's own `mail` tells all that is needed."""
    return "home" in needs and not (user.home or user.mail)


def _configured(config: str) -> tuple[str, str, Names, frozenset[str]]:
    """The passwd-file of the settings, its domain, how names are read, and what the store needs of users. Errors: ConfigError."""
    from mailserver.auth.passwd import editing
    from mailserver.config.problems import load_usable
    from mailserver.store import needs_of

    settings, _ = load_usable(config)
    try:
        needs = needs_of(settings.store.url)
    except ValueError:  # which `mailserver check` tells
        needs = frozenset()
    return (*editing.place_of(settings.auth.checkers), settings.naming(), needs)
