"""``mailserver import``: one user's mail, from wherever it is."""

from __future__ import annotations

from pathlib import Path

import click

from mailserver.cli.group import config_option, json_option, user_option
from mailserver.cli.migrate_mail import (
    FILE,
    dry_run_option,
    log_option,
    logins,
    master_option,
    place_of,
    readable,
    state_option,
)


@click.command(short_help="Read one user's mail from somewhere else.")
@click.argument("source")
@click.argument("name", metavar="USER")
@click.option("--old-name", metavar="NAME", help="The user's name at the old server. Default: USER.")
@click.option("--password", metavar="FILE", type=FILE, help="The user's password there: one line. Files need none.")
@master_option
@state_option
@log_option
@dry_run_option
@json_option
@user_option
@config_option
def import_(  # noqa: PLR0913, PLR0917 - click's way to give them
    source: str,
    name: str,
    old_name: str | None,
    password: Path | None,
    master: Path | None,
    state: Path,
    log: Path | None,
    dry_run: bool,
    as_json: bool,
    user: str | None,
    config: str,
) -> int:
    """Read the mail of USER from SOURCE, with its unique-ids, times, and what was seen.

    It is `mailserver migrate mail` for one user. What was read once is not read again, also not by that command, and what the
    user has deleted here since then does not come back.

    \b
    SOURCE                                  is
      maildir:PATH?former=SERVER              a Maildir that SERVER has served (as `store.former`),
                                              or this one, as `mailserver export` writes it
      mbox:PATH?uidl=SERVER, mmdf:...         one file that was served by uw, qpopper, qpopper-readonly,
                                              qpopper-2 or dovecot:FORMAT, or by none
      cyrus:PATH?uidl=FORMAT                  a partition of Cyrus, or a mailbox in it
      pop3://HOST, pop3s://HOST               another server
    A PATH may have {user}, {local} and {domain} of the old name.

    \b
    Examples:
      mailserver import 'mbox:/home/alice/mbox?uidl=none' alice
      mailserver import maildir:/var/backups/alice alice --dry-run

    \b
    Exit status:
       0  all is read, or would be
       1  some messages cannot be read there, or there is no such user
      64  the command line is wrong
      75  not all is read: run it again
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if password is not None and master is not None:
        raise click.UsageError("give --password of the user, or --master, and not both")
    from mailserver.cli import moves
    from mailserver.migration.table import Row, read_password

    secret = ""
    if password is not None:
        with readable("--password", password):
            secret = read_password(password)
    rows = [Row(name, old_name or name, secret)]
    order = moves.Order(place_of(source), rows, logins(master), state.absolute(), log, 1, dry_run, as_json)
    return moves.run(config, user, order)
