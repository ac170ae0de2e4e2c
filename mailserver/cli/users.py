"""``mailserver users``: whom the users' databases know, and what they say of each."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from mailserver.cli import asking
from mailserver.cli.asking import table
from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.interfaces import Quota, User


@click.command(short_help="Show the users that the databases can list.")
@click.argument("pattern", default="*")
@json_option
@user_option
@config_option
def users(pattern: str, as_json: bool, user: str | None, config: str) -> int:
    """Show the users whose names fit PATTERN, of all checkers that can list theirs: by which checker each is known, and
    the maildrop, the quota, and what the user may not do.

    PATTERN is as a shell has it for files: * stands for anything, ? for one character; without it all are shown. A checker
    that cannot list its users (PAM, an LDAP server or a database without a listing) is told.

    \b
    Examples:
      mailserver users '*@example.org'
      mailserver users --json | jq -r 'select(.disabled) | .user'

    \b
    Exit status:
       0  shown
       1  there is none
      64  the command line is wrong
      69  a checker cannot list its users; those of the others are shown
      75  a database does not answer: try again later
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - a paragraph; click's mark of one that stays as it is
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        rows = [await _facts(name, maildrops) async for name in maildrops.listed() if fnmatchcase(name, pattern)]
        found = [row for row in rows if row is not None]
        if as_json:
            for row in found:
                admin.say(asking.as_json(row))
        elif found:
            heads = ["USER", "CHECKER", "MAILDROP", "QUOTA", "MAY NOT"]
            admin.say("\n".join(table(heads, map(_cells, found))))
        else:
            asking.nothing(*(("there are no users", "") if pattern == "*" else ("there is no such user", pattern)))
        return admin.unlisted(maildrops) or int(not found)

    return admin.run(config, user, work)


async def _facts(name: str, maildrops: Maildrops) -> dict[str, Any] | None:
    """What is known of a user; None of one who is gone since. Errors: a Refusal."""
    from mailserver.errors import NoMaildrop
    from mailserver.interfaces import IUsers

    checker = ""
    for checker, each in maildrops.checkers:  # noqa: B007 - the one that knows the name is told below
        if IUsers.providedBy(each) and await IUsers(each).lookup(name) is not None:
            break
    found = await maildrops.users.lookup(name)
    if found is None:
        return None
    try:
        place, problem = await maildrops.upkeep().place(found), found.unserved
    except NoMaildrop as error:
        place, problem = "", found.unserved or str(error)
    return {
        "user": name,
        "checker": checker,
        "maildrop": place,
        "maildrop_problem": problem,
        **_told(found, maildrops.limits(found)),
    }


def _told(user: User, quota: Quota) -> dict[str, Any]:
    """What the databases say, and the settings where they say nothing; null: nobody says anything."""
    return {
        "quota_octets": quota.octets or None,
        "quota_messages": quota.messages or None,
        "disabled": user.denied,
        "read_only": user.read_only,
        "listeners": sorted(user.listeners),
        "networks": [] if user.denied else list(map(str, user.networks)),  # a denied one's are nobody's
        "expire_days": user.expire_days,
        "login_delay": user.login_delay,
    }


def _cells(row: dict[str, Any]) -> list[object]:
    limits = [(row["quota_octets"], "octets"), (row["quota_messages"], "messages")]
    quota = ", ".join(f"{limit:,} {what}" for limit, what in limits if limit)
    maildrop = row["maildrop_problem"] or row["maildrop"]
    return [row["user"], row["checker"], maildrop, quota, "; ".join(_bounds(row))]


def _bounds(row: dict[str, Any]) -> list[str]:
    """What a user may not do, in words."""
    bounds = [("log in", row["disabled"]), ("delete", "read-only" if row["read_only"] else "")]
    bounds += [
        ("use others than", ", ".join(row["listeners"])),
        ("come from elsewhere than", ", ".join(row["networks"])),
    ]
    return [f"{what}: {why}" if what in {"log in", "delete"} else f"{what} {why}" for what, why in bounds if why]
