"""``mailserver maildrop undelete``: deleted messages come back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from mailserver.cli import asking
from mailserver.cli.asking import visible
from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.interfaces import IStore, User


@click.command(short_help="Bring back the messages that the last session deleted.")
@click.argument("name", metavar="USER")
@click.option("-n", "--dry-run", is_flag=True, help="Only say how many messages would come back.")
@json_option
@user_option
@config_option
def undelete(name: str, dry_run: bool, as_json: bool, user: str | None, config: str) -> int:
    """Bring back the messages that the last session of USER deleted.

    They are kept for the days that `delivery.delete = "keep N days"` says, from the session's QUIT. With "trash", what went into
    the folder Trash last comes back from there: all that was put there within moments, be it by a session or by a mail program. Once more
    goes a session further back. They come back with their old unique-ids, so a mail program that has them already fetches them not again.

    \b
    Example:
      mailserver maildrop undelete alice

    \b
    Exit status:
       0  they came back, or would
       1  nothing of the user's is kept, or there is no such user
      64  the command line is wrong
      75  the maildrop is in use, or a database does not answer: try again later
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        return await admin.about(name, maildrops, lambda found: _undelete(found, maildrops.store, dry_run, as_json))

    return admin.run(config, user, work)


async def _undelete(user: User, store: IStore, dry_run: bool, as_json: bool) -> int:
    """Bring back one user's messages; the exit status."""
    from mailserver.cli.admin import say
    from mailserver.incoming import IKeeps

    keeps = IKeeps(store)
    count = await (keeps.kept(user) if dry_run else keeps.undelete(user))
    if as_json:
        say(asking.as_json({"user": user.name, "messages": count, "dry_run": dry_run}))
    else:
        say(f"{visible(user.name)}: {_sentence(count, dry_run)}")
    return os.EX_OK if count else 1


def _sentence(count: int, dry_run: bool) -> str:
    if not count:
        return "nothing is kept"
    return f"{count} {'message' if count == 1 else 'messages'} {'would come' if dry_run else 'came'} back"
