"""``mailserver migrate mail``: the mail of many users, from wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.migration.places import Login, Place
    from mailserver.migration.table import Row

STATE: Final = "/var/lib/mailserver/moves"
"""Where what was moved is noted, if nothing else is said: by `import`, too, so that no other way moves a message twice."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

master_option = click.option(
    "--master", metavar="FILE", type=FILE, help="The old server's master user: one line NAME:PASSWORD."
)
state_option = click.option(
    "--state",
    metavar="DIR",
    default=STATE,
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it is noted what was moved; made if its parent is there.",
)
log_option = click.option(
    "--log",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add a line of JSON for each message that was not moved as it is.",
)
dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Only say what would be moved.")


@click.command(name="mail", short_help="Move the mail of many users.")
@click.argument("source")
@click.argument("names", metavar="[USER]...", nargs=-1)
@click.option("--users", "table", metavar="FILE", type=FILE, help="The users who move: name[:old name[:password]].")
@click.option("--all", "everybody", is_flag=True, help="All users that the databases can list.")
@master_option
@click.option(
    "--parallel", metavar="N", type=click.IntRange(1, 100), default=8, show_default=True, help="Users at a time."
)
@state_option
@log_option
@dry_run_option
@json_option
@user_option
@config_option
def mail(  # noqa: PLR0913, PLR0917 - click's way to give them
    source: str,
    names: tuple[str, ...],
    table: Path | None,
    everybody: bool,
    master: Path | None,
    parallel: int,
    state: Path,
    log: Path | None,
    dry_run: bool,
    as_json: bool,
    user: str | None,
    config: str,
) -> int:
    """Move the mail of many users from SOURCE, with its unique-ids, so that no client fetches anything again.

    SOURCE is a place such as mbox:/var/mail/{user} or pop3s://old.example.org, with {user}, {local} and {domain} of the name at
    the old server. Nothing changes there. The mail goes where the server's settings say; quotas do not count.

    A run moves what no run before has moved, so it can be stopped and killed, and run again: every night until the switch,
    and once after it. What users have deleted here meanwhile does not come back.

    \b
    Examples:
      mailserver migrate mail mbox:/var/mail/{user} --all --dry-run
      mailserver migrate mail pop3s://old.example.org --users table --log moves.log
      mailserver migrate mail pop3://old.example.org --users table --master secret

    \b
    Exit status:
       0  all is moved, or would be
       1  some messages cannot be read at the source, or there is no such user
      64  the command line is wrong
      75  the mail of some users is not moved as a whole: run it again
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if [bool(names), table is not None, everybody].count(True) != 1:
        raise click.UsageError("name users, or give --users or --all")
    from mailserver.cli import moves

    rows = None if everybody else _rows(names, table)
    order = moves.Order(place_of(source), rows, logins(master), state.absolute(), log, parallel, dry_run, as_json)
    return moves.run(config, user, order)


def place_of(source: str) -> Place:
    """Where it is; what reads it is imported, while Python's folders can surely be read."""
    from mailserver.cli.formers import formers
    from mailserver.migration.places import KINDS, read_place

    try:
        place = read_place(source)
        formers(place.options.get("former", ""))  # of a Maildir
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    import_module(KINDS[place.kind].module)
    return place


def _rows(names: Iterable[str], table: Path | None) -> Sequence[Row]:
    """The users by their names, or those of the table, which only root may be able to read: it is read first."""
    from mailserver.migration.table import Row, read_table

    if table is None:
        return [Row(name, name) for name in dict.fromkeys(names)]
    with readable("--users", table):
        return read_table(table)


def logins(master: Path | None) -> Callable[[Row], Login]:
    """How to get at each user's mail at the old server, where a file may name its master user."""
    from mailserver.migration.places import Login
    from mailserver.migration.table import read_master

    if master is None:
        return lambda row: Login(row.old_name, row.secret)
    with readable("--master", master):
        found = read_master(master)
    return lambda row: Login(row.old_name, found.secret, found.name)


@contextmanager
def readable(option: str, path: Path) -> Iterator[None]:
    """What is wrong with a file, as a misuse of the option that names it."""
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"{option}: {path}: {error.strerror}") from None
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None
