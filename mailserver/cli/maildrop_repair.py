"""``mailserver maildrop repair``: mends what is wrong with a maildrop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailserver.cli import asking
from mailserver.cli.asking import visible
from mailserver.cli.group import config_option, json_option, user_option
from mailserver.cli.maildrop_verify import facts, lines

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.interfaces import User
    from mailserver.upkeep import Repair


@click.command(short_help="Mend what is wrong with maildrops.")
@click.argument("users", metavar="USER...", nargs=-1, required=True)
@json_option
@user_option
@config_option
def repair(users: tuple[str, ...], as_json: bool, user: str | None, config: str) -> int:
    """Mend what `mailserver maildrop verify` finds in the maildrop of each USER, and nothing else.

    It holds the maildrop's lock, as a session does. No message is lost, also if the power goes in the middle, and each keeps its
    unique-id, so nothing is fetched again. What is in the way of something else goes to mailserver-aside/ in the maildrop. Then it verifies
    once more, and tells what is left for you.

    \b
    Example:
      mailserver maildrop repair alice

    \b
    Exit status:
       0  nothing is wrong now
       1  something is left, or there is no such user
      64  the command line is wrong
      75  the maildrop is in use, or cannot be read or written; or a database does not answer
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        async def mend(found: User) -> int:
            done = await maildrops.upkeep().repair(found)
            admin.say(_as_json(found, done) if as_json else _as_text(found, done))
            return int(bool(done.left))

        names = maildrops.chosen(users, everybody=False)
        return admin.worst([await admin.about(name, maildrops, mend) async for name in names])

    return admin.run(config, user, work)


def _as_json(user: User, done: Repair) -> str:
    found = {"user": user.name, "mended": facts(done.mended), "left": facts(done.left)}
    return asking.as_json(found)


def _as_text(user: User, done: Repair) -> str:
    if not (done.mended or done.left):
        return f"{visible(user.name)}: nothing was wrong"
    mended = [f"  mended: {each.kind}: {f'{each.file}: ' if each.file else ''}{each.text}" for each in done.mended]
    left = ["  left:", *lines(done.left)] if done.left else []
    return "\n".join([f"{visible(user.name)}: {len(done.mended):,} mended, {len(done.left):,} left", *mended, *left])
