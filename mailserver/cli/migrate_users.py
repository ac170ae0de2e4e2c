"""``mailserver migrate users``: another server's users, passwords and settings as files of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mailserver.cli.group import FILE, json_option

if TYPE_CHECKING:
    from mailserver.migration.users.converted import Converted, Remark

KINDS: Final = (
    "courier-ldap",
    "courier-sql",
    "courier-userdb",
    "cyrus",
    "dovecot",
    "dovecot-sql",
    "dovecot-users",
    "sasldb",
    "sql",
)


@click.command(short_help="Turn another server's users and settings into ours.")
@click.argument("kind", metavar="KIND", type=click.Choice(KINDS))
@click.argument("file", metavar="FILE", type=FILE)
@click.option(
    "-o", "--output", metavar="PATH", type=FILE, help="Write the file, with its secrets, for its owner alone (0600)."
)
@click.option(
    "--realm",
    "realms",
    metavar="REALM",
    multiple=True,
    help="Of a sasldb: its users have no domain, since this realm is a machine's name; repeatable.",
)
@click.option(
    "--scheme", default="", metavar="SCHEME", help="Of dovecot-users: that of secrets without {SCHEME}. Default: CRYPT."
)
@json_option
def users(kind: str, file: str, output: str | None, as_json: bool, **reading: Any) -> int:
    """Turn another server's users, passwords or settings into a file of ours.

    Without --output it is a dry run: it shows the file without its secrets. Standard error says of each user and each setting what
    cannot be taken over, and what to do. FILE is only read, and PATH must not exist yet.

    \b
    KIND            FILE ("-": standard input)                             becomes
    courier-ldap    authldaprc                                             an ldap.toml
    courier-sql     authmysqlrc, authpgsqlrc, authsqliterc                 a sql.toml
    courier-userdb  /etc/courier/userdb, a file or a directory             a passwd-file
    cyrus           imapd.conf                                             a mailserver.toml
    dovecot         what doveconf -nP prints                               a mailserver.toml
    dovecot-sql     dovecot-sql.conf.ext; of 2.4 what doveconf -nP prints  a sql.toml
    dovecot-users   a passwd-file                                          a passwd-file
    sasldb          Cyrus' /etc/sasldb2, or what db_dump says of it        a passwd-file
    sql             a sql.toml of ours, whose database is asked            a passwd-file

    \b
    Examples:
      mailserver migrate users sasldb /etc/sasldb2 --realm mail.example.org
      mailserver migrate users courier-userdb /etc/courier/userdb -o /etc/mailserver/users
      doveconf -nP | mailserver migrate users dovecot - -o /etc/mailserver/mailserver.toml
      mailserver migrate users dovecot-sql /etc/dovecot/dovecot-sql.conf.ext -o /etc/mailserver/sql.toml

    \b
    Exit status:
       0  all of it is taken over
       1  something is not; standard error says what
      64  the command line is wrong
      65  FILE is not such a file, or cannot be read
      69  a program is missing
      73  PATH exists, or cannot be written
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli.main import tell
    from mailserver.migration.users.converted import NoProgram, Unconvertible
    from mailserver.migration.users.kinds import convert

    try:
        converted = _rows(file) if kind == "sql" else convert(kind, file, **reading)
    except (Unconvertible, NoProgram) as error:
        tell(f"mailserver: {error}")
        return os.EX_UNAVAILABLE if isinstance(error, NoProgram) else os.EX_DATAERR
    remarks = [*converted.remarks, *_read_back(kind, converted.text)]
    if output is not None and (why := _write(output, converted.text)):
        tell(f"mailserver: {output}: {why}")
        return os.EX_CANTCREAT
    _say(converted, remarks, output, as_json)
    return 1 if remarks else os.EX_OK


def _rows(file: str) -> Converted:
    """The users of a database. Errors: Unconvertible, NoProgram."""
    from mailserver.cli.sql_rows import read_rows  # which imports the checker

    return read_rows(file)


def _read_back(kind: str, text: str) -> Sequence[Remark]:
    """What the server's own reader says of the file."""
    from mailserver.cli.reading_back import read_back
    from mailserver.migration.users.kinds import BECOMES

    return read_back(BECOMES[kind], text)


def _write(path: str, text: str) -> str:
    """Write a file of the owner's alone; why it cannot be written, "": it is."""
    from mailserver.cli.new_file import write_new

    try:
        write_new(path, text.encode("utf-8", "surrogateescape"))
    except FileExistsError:
        return "it exists, and is left as it is: name a new file"
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return ""


def _say(converted: Converted, remarks: Sequence[Remark], output: str | None, as_json: bool) -> None:
    """Show the file, or where it is; and the remarks."""
    from mailserver.cli.main import tell
    from mailserver.migration.users.accounts import printable

    if as_json:
        facts = {"output": output, "file": converted.shown, "remarks": [each._asdict() for each in remarks]}
        click.echo(json.dumps(facts))
        return
    if output is None:
        click.echo(converted.shown.encode("utf-8", "backslashreplace"), nl=False)
    for about, text in remarks:
        tell(printable(f"mailserver: {about}: {text}"))
