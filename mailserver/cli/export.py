"""``mailserver export``: a user's mail as a Maildir with its unique-ids, for another server or another time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.cli.exporting import Export
    from mailserver.incoming import Usage
    from mailserver.interfaces import User


@click.command(short_help="Write a user's mail into a Maildir of its own.")
@click.argument("name", metavar="USER")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be written.")
@json_option
@user_option
@config_option
def export(  # noqa: PLR0913, PLR0917 - click's way to give them
    name: str, directory: Path, dry_run: bool, as_json: bool, user: str | None, config: str
) -> int:
    """Write the mail of USER into DIR, as a Maildir with its unique-ids.

    DIR must not exist, or be empty. It appears whole or not at all. `mailserver import maildir:DIR` reads it back; Dovecot finds
    the unique-ids in the dovecot-uidlist that is in it. Nothing of the user's changes. Times of arrival stay, and what was seen; other
    flags are not written.

    \b
    Example:
      mailserver export alice /var/backups/alice

    \b
    Exit status:
       0  it is written, or would be
       1  there is no such user
      64  the command line is wrong, or DIR is not empty
      74  DIR cannot be written
      75  the maildrop is in use, or a database does not answer: try again later
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli import admin

    directory = directory.absolute()

    async def work(maildrops: Maildrops) -> int:
        return await admin.about(name, maildrops, lambda found: _export(found, maildrops, directory, dry_run, as_json))

    return admin.run(config, user, work)


async def _export(user: User, maildrops: Maildrops, directory: Path, dry_run: bool, as_json: bool) -> int:
    """Write it; the exit status."""
    import time

    from mailserver.cli.admin import say
    from mailserver.cli.exporting import Export, Unfit
    from mailserver.cli.main import tell

    made = Export(directory, time.time())
    try:
        made.check()
        done = await _written(user, maildrops, None if dry_run else made)
    except Unfit as error:
        tell(f"mailserver: {directory}: {error}")
        return os.EX_USAGE
    except OSError as error:
        tell(f"mailserver: {directory}: {error.strerror}")
        return os.EX_IOERR
    finally:
        made.abort()
    facts = {"user": user.name, **done._asdict(), "directory": str(directory), "dry_run": dry_run}
    say(json.dumps(facts, ensure_ascii=False) if as_json else f"{user.name}: {_sentence(done, directory, dry_run)}")
    return os.EX_OK


async def _written(user: User, maildrops: Maildrops, made: Export | None) -> Usage:
    """What was written; without an export, what would be."""
    from twisted.internet.threads import deferToThread

    from mailserver.cli.exporting import export
    from mailserver.incoming import Usage

    maildrop = await maildrops.store.open(user, "export")
    try:
        if made is None:
            return Usage(len(maildrop.messages), maildrop.messages.total)
        return await export(maildrop, made, deferToThread)
    finally:
        maildrop.release()


def _sentence(done: Usage, directory: Path, dry_run: bool) -> str:
    messages = "message" if done.messages == 1 else "messages"
    return f"{done.messages:,} {messages} ({done.octets:,} octets) {'would be written' if dry_run else 'written'} to {directory}"
