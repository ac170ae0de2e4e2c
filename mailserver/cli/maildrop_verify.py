"""``mailserver maildrop verify``: all that is wrong with maildrops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from mailserver.cli import asking
from mailserver.cli.asking import visible
from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.interfaces import User
    from mailserver.upkeep import Finding


@click.command(short_help="Tell all that is wrong with maildrops.")
@click.argument("users", metavar="[USER]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All users that the databases can list.")
@json_option
@user_option
@config_option
def verify(users: tuple[str, ...], everybody: bool, as_json: bool, user: str | None, config: str) -> int:
    """Tell all that is wrong with the maildrop of each USER, and what to do about it.

    It reads every message, and compares the files with their names, the index, the map of unique-ids, the journal and the quota's file. It
    takes no lock and writes nothing, so the server may run. docs/maildir.md has what it can find. What `mailserver maildrop repair`
    mends is marked.

    \b
    Examples:
      mailserver maildrop verify alice
      mailserver maildrop verify --all --json | jq -r 'select(.findings != []) | .user'

    \b
    Exit status:
       0  nothing is wrong
       1  something is, or there is no such user
      64  the command line is wrong
      75  a maildrop cannot be read, or a database does not answer
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if bool(users) == everybody:
        raise click.UsageError("name users, or give --all")
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        async def look(found: User) -> int:
            findings = await maildrops.upkeep().verify(found)
            if as_json:
                admin.say(asking.as_json({"user": found.name, "findings": facts(findings)}))
            else:
                admin.say("\n".join([f"{visible(found.name)}: {_sum(findings)}", *lines(findings)]))
            return int(bool(findings))

        names = maildrops.chosen(users, everybody)
        return admin.worst([await admin.about(name, maildrops, look) async for name in names])

    return admin.run(config, user, work)


def facts(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """For programs."""
    return [each._asdict() for each in findings]


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """For people: a finding, and its remedy below it."""
    for each in findings:
        yield f"  {each.kind}: {f'{each.file}: ' if each.file else ''}{each.text}"
        yield f"    {'(mends) ' if each.mendable else ''}{each.remedy}"


def _sum(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing is wrong"
    mendable = sum(each.mendable for each in findings)
    things = "1 thing is" if len(findings) == 1 else f"{len(findings):,} things are"
    return f"{things} wrong, {mendable:,} of which `mailserver maildrop repair` mends"
