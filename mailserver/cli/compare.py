"""``mailserver uidl compare``: what clients that leave their mail at the server would download again after a move."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from mailserver.cli.group import FILE, json_option
from mailserver.cli.line import Line
from mailserver.cli.main import tell

if TYPE_CHECKING:
    from mailserver.migration.compare import Comparison, Side
    from mailserver.migration.sides import Opener
    from mailserver.migration.table import Master, Row

JOBS: Final = 8
"""Users at a time: two sessions each, fewer than servers let in from one address."""


class Read(click.ParamType):  # type: ignore[type-arg]  # not all versions of click have it generic
    """What a function makes of the text; its ValueError is told."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Called by click."""
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _side(text: str) -> Opener:
    from mailserver.migration.sides import read_side

    return read_side(text)


class Server(NamedTuple):
    """One of the two."""

    opener: Opener
    master: Master | None

    def open(self, name: str, secret: str) -> Side:
        """The mail of the user of this name there. Errors: SourceError."""
        from mailserver.cli.formers import formers
        from mailserver.migration.places import Login

        login = Login(name, secret) if self.master is None else Login(name, self.master.secret, self.master.name)
        return self.opener(login, formers)


@click.command(short_help="Say what clients would download again.")
@click.option("--old", required=True, type=Read(_side), metavar="PLACE", help="The server that clients know.")
@click.option("--new", required=True, type=Read(_side), metavar="PLACE", help="The server that they go to.")
@click.option("--users", required=True, metavar="FILE", type=FILE, help="The users: lines NAME[:OLD NAME[:PASSWORD]].")
@click.option(
    "--old-master", metavar="FILE", type=FILE, help="Who may log in for others at the old server: NAME:PASSWORD."
)
@click.option("--new-master", metavar="FILE", type=FILE, help="The same at the new server.")
@click.option("--line", type=Read(Line.read), default="100Mbit", show_default=True, help="The speed of your line.")
@click.option("--jobs", type=click.IntRange(1, 100), default=JOBS, show_default=True, help="Users at a time.")
@click.option("--thorough", is_flag=True, help="Compare all headers, also where sizes are equal.")
@json_option
def compare(  # noqa: PLR0913, PLR0917 - click gives the options by their names
    old: Opener,
    new: Opener,
    users: str,
    old_master: str | None,
    new_master: str | None,
    line: Line,
    jobs: int,
    thorough: bool,
    as_json: bool,
) -> int:
    """Say which messages would be downloaded again by clients that leave mail at the server, if they went from an old server to a new one.

    Such a client downloads whatever has a unique-id that it does not know. The command lists each user's mail at both servers, and
    reads headers (TOP) where sizes differ. It marks nothing as read, deletes nothing, and says no QUIT. A server may refuse a user
    who is fetching mail at that moment: then call it again.

    A PLACE is HOST:PORT of a POP3 server (port 995: with TLS), or pop3s://HOST; with ?ca=FILE, ?tls=unverified or ?tls=none behind it
    where the certificate is not one that this machine believes. Or it is files, as `mailserver import` takes them, such as
    maildir:PATH?former=dovecot; with former=ours:dovecot it is what this server would show there if `store.former` were dovecot.

    \b
    It says of each user, and in sum, how many messages
      would be downloaded again, and how many octets;
      have the unique-id of another one, which is worse: clients would never download them;
      only one of the servers has.

    \b
    Examples:
      mailserver uidl compare --old old.example.org:995 --new localhost:110 --users users
      mailserver uidl compare --old localhost:110 --new 'maildir:/var/mail/{user}?former=ours:dovecot' --users users
      mailserver uidl compare ... --json | jq -r 'select(.again > 0) | .user'

    \b
    Exit status:
       0  nothing would be downloaded again, and nothing is missing
       1  something would, or is missing, or has another's unique-id, or is not known to be the same
      64  the command line is wrong
      75  a user could not be compared
      78  a file of the command line is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.migration.table import read_master, read_table

    try:
        rows = read_table(Path(users))
        before, after = (
            Server(opener, None if master is None else read_master(Path(master)))
            for opener, master in ((old, old_master), (new, new_master))
        )
    except OSError as error:
        tell(f"mailserver: {error.filename}: cannot be read: {error.strerror}")
        return os.EX_CONFIG
    except ValueError as error:
        tell(f"mailserver: {error}")
        return os.EX_CONFIG
    from mailserver.cli.admin import Unheard
    from mailserver.migration.parallel import in_parallel

    outcomes = in_parallel(partial(_compared, before, after, thorough), rows, jobs)
    try:
        return _tell(zip(rows, outcomes, strict=True), line, as_json)
    except Unheard as error:
        if str(error):
            tell(f"mailserver: standard output: {error}")
        return os.EX_IOERR


def _compared(old: Server, new: Server, thorough: bool, row: Row) -> Comparison | str:
    """What is found out of a user, or why nothing."""
    from mailserver.migration.compare import compare
    from mailserver.migration.source import SourceError

    with ExitStack() as opened:
        try:
            before = old.open(row.old_name, row.secret)
            opened.callback(before.close)
            after = new.open(row.name, row.secret)
            opened.callback(after.close)
            return compare(before, after, thorough=thorough)
        except SourceError as error:
            return str(error)


def _tell(outcomes: Iterator[tuple[Row, Any]], line: Line, as_json: bool) -> int:
    """Say what was found out, a user at a time; the exit status. Errors: Unheard."""
    from mailserver.cli import compared
    from mailserver.cli.admin import say
    from mailserver.migration.compare import Comparison

    report = compared.Objects(line) if as_json else compared.Sentences(line)
    total, users, failed = Comparison(), 0, 0
    for row, found in outcomes:
        users += 1
        if isinstance(found, Comparison):
            total += found
            say("\n".join(report.user(row.name, found)))
        else:
            failed += 1
            tell(f"mailserver: {row.name}: {found}")
    say("\n".join(report.sum(users, failed, total)))
    return os.EX_TEMPFAIL if failed else int(not total.safe)
