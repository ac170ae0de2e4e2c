"""``mailserver maildrop list``: a user's messages as the next session would see them."""

from __future__ import annotations

import os
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from mailserver.cli import asking
from mailserver.cli.asking import table, visible
from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.interfaces import IMaildrop, User


@click.command("list", short_help="Show a user's messages as a client would see them.")
@click.argument("name", metavar="USER")
@click.option("--headers", is_flag=True, help="Show From and Subject whole.")
@json_option
@user_option
@config_option
def list_(name: str, headers: bool, as_json: bool, user: str | None, config: str) -> int:
    """Show the messages of USER as the next session would see them: message-number, octets, arrival, flags, From, Subject and
    unique-id.

    It takes no lock, so it keeps nobody out, and marks nothing as read. Of From and Subject there is only so much as tells messages
    apart, since they are their reader's alone: --headers shows them whole. The flags are Maildir's: S seen, R answered, F flagged, T for
    deletion.

    \b
    Examples:
      mailserver maildrop list alice
      mailserver maildrop list alice --json | jq -r 'select(.octets > 10000000) | .file'

    \b
    Exit status:
       0  shown, or there are none
       1  there is no such user
      64  the command line is wrong
      75  the maildrop cannot be read, or a database does not answer
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - a paragraph; click's mark of one that stays as it is
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        return await admin.about(name, maildrops, lambda found: _list(found, maildrops, headers, as_json))

    return admin.run(config, user, work)


async def _list(user: User, maildrops: Maildrops, headers: bool, as_json: bool) -> int:
    from mailserver.cli.admin import say

    maildrop = await maildrops.upkeep().view(user)
    rows = []
    for number in range(1, len(maildrop.messages) + 1):
        row = await _facts(maildrop, number, whole=headers)
        if as_json:
            say(asking.as_json({"user": user.name, **row}))
        else:
            rows.append(row)
    if rows:
        heads = ["NUMBER", "OCTETS", "ARRIVED", "FLAGS", "FROM", "SUBJECT", "UNIQUE-ID"]
        say("\n".join(table(heads, map(_cells, rows))))
    elif not as_json:
        say(f"{visible(user.name)}: no messages")
    return os.EX_OK


async def _facts(maildrop: IMaildrop, number: int, *, whole: bool) -> dict[str, Any]:
    from mailserver.cli.bodies import head_of
    from mailserver.cli.headers import field, redacted_sender, redacted_subject
    from mailserver.errors import StoreError
    from mailserver.snapshot import MICROSECONDS
    from mailserver.store.maildir.filenames import flags
    from mailserver.upkeep import IFiled

    message, file, problem, head = maildrop.messages[number - 1], IFiled(maildrop).file(number), "", b""
    try:
        head = await head_of(maildrop, number)
    except StoreError as error:
        problem = str(error)
    sender, subject = field(head, "From"), field(head, "Subject")
    return {
        "number": number,
        "octets": message.octets,
        "arrived": maildrop.messages.arrivals[number - 1] / MICROSECONDS,
        "flags": flags(os.fsencode(PurePosixPath(file).name)),
        "from": sender if whole else redacted_sender(sender),
        "subject": subject if whole else redacted_subject(subject),
        "uidl": message.uidl.decode("ascii"),
        "file": file,
        "problem": problem,
    }


def _cells(row: dict[str, Any]) -> list[object]:
    arrived = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["arrived"]))
    subject = "(cannot be read)" if row["problem"] else row["subject"]
    return [row["number"], row["octets"], arrived, row["flags"], row["from"], subject, row["uidl"]]
