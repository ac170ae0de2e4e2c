"""``mailserver quota``: how full the maildrops are."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.incoming import Usage
    from mailserver.interfaces import Quota, User


@click.command(short_help="Show how full maildrops are.")
@click.argument("users", metavar="[USER]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All users that the databases can list.")
@json_option
@user_option
@config_option
def quota(users: tuple[str, ...], everybody: bool, as_json: bool, user: str | None, config: str) -> int:
    """Show how full the maildrop of each USER is, and how full it may be.

    It counts what the server counts when mail comes in (Maildir++: octets of files and messages, those in the trash not). The limits
    are the user's own, from the users' database, or else those of [quota].

    \b
    Examples:
      mailserver quota alice bob@example.org
      mailserver quota --all --json | jq -r 'select(.octets_percent >= 90) | .user'

    \b
    Exit status:
       0  shown
       1  there is no such user
      64  the command line is wrong
      75  a database or a disk does not answer: try again later
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if bool(users) == everybody:
        raise click.UsageError("name users, or give --all")
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        names = maildrops.chosen(users, everybody)
        return admin.worst(
            [await admin.about(name, maildrops, lambda found: _show(found, maildrops, as_json)) async for name in names]
        )

    return admin.run(config, user, work)


async def _show(user: User, maildrops: Maildrops, as_json: bool) -> int:
    """Show one user's; the exit status."""
    from mailserver.cli.admin import say

    limits, usage = await maildrops.usage(user)
    facts = {
        "user": user.name,
        **_counted("octets", usage.octets, limits.octets),
        **_counted("messages", usage.messages, limits.messages),
    }
    say(json.dumps(facts, ensure_ascii=False) if as_json else _sentence(user.name, usage, limits))
    return os.EX_OK


def _counted(what: str, used: int, limit: int) -> dict[str, Any]:
    """The facts about one kind of limit; null: there is none."""
    return {what: used, f"{what}_limit": limit or None, f"{what}_percent": _percent(used, limit)}


def _percent(used: int, limit: int) -> float | None:
    return round(100 * used / limit, 1) if limit else None


def _sentence(name: str, usage: Usage, limits: Quota) -> str:
    parts = [_part(usage.octets, limits.octets, "octets"), _part(usage.messages, limits.messages, "messages")]
    return f"{name}: {', '.join(parts)}"


def _part(used: int, limit: int, what: str) -> str:
    if limit:
        return f"{used:,} of {limit:,} {what} ({_percent(used, limit)} %)"
    return f"{used:,} {what[:-1] if used == 1 else what} (no limit)"
