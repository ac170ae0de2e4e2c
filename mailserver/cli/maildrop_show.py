"""``mailserver maildrop show``: one message, its header or the whole of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from mailserver.cli import asking
from mailserver.cli.group import config_option, json_option, user_option
from mailserver.cli.main import tell, typed

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.interfaces import IMaildrop, User


@click.command(short_help="Show the header of a message, or the whole of it.")
@click.argument("name", metavar="USER")
@click.argument("message")
@click.option("--whole", is_flag=True, help="Show the whole message, as a client gets it.")
@json_option
@user_option
@config_option
def show(  # noqa: PLR0913, PLR0917 - click's way to give them
    name: str, message: str, whole: bool, as_json: bool, user: str | None, config: str
) -> int:
    """Show the header of one message of USER. MESSAGE is its number, as `mailserver maildrop list` shows it, or its unique-id.

    It is what a client would get, with CRLF at the end of each line; where standard output is a terminal, without what could steer
    that. It takes no lock, and marks nothing as read.

    \b
    Examples:
      mailserver maildrop show alice 17
      mailserver maildrop show alice 17 --whole > message.eml

    \b
    Exit status:
       0  shown
       1  there is no such message, or no such user
      64  the command line is wrong
      74  standard output takes no more
      75  the message cannot be read, or a database does not answer
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        return await admin.about(name, maildrops, lambda found: _show(found, maildrops, message, whole, as_json))

    return admin.run(config, user, work)


async def _show(user: User, maildrops: Maildrops, wanted: str, whole: bool, as_json: bool) -> int:
    from mailserver.cli.admin import say
    from mailserver.cli.bodies import copy

    maildrop = await maildrops.upkeep().view(user)
    number = _number(maildrop, wanted)
    if not number:
        tell(f"mailserver: {user.name}: there is no message {typed(wanted)}")
        return 1
    if as_json:
        say(asking.as_json(await _facts(user, maildrop, number, whole)))
    elif whole:
        await copy(maildrop, number, _put)
    else:
        await _put(await _header(maildrop, number))
    return os.EX_OK


def _number(maildrop: IMaildrop, wanted: str) -> int:
    """The message-number; 0: there is none. A unique-id of digits alone goes after a number."""
    digits = wanted.lstrip("0") if wanted.isascii() and wanted.isdecimal() else ""
    if digits and len(digits) <= len(str(len(maildrop.messages))) and int(digits) <= len(maildrop.messages):
        return int(digits)
    uidls = list(maildrop.messages.uidls)
    uidl = os.fsencode(wanted)
    return uidls.index(uidl) + 1 if uidl in uidls else 0


async def _facts(user: User, maildrop: IMaildrop, number: int, whole: bool) -> dict[str, Any]:
    from mailserver.cli.bodies import copy
    from mailserver.upkeep import IFiled

    message = maildrop.messages[number - 1]
    facts = {
        "user": user.name,
        "number": number,
        "octets": message.octets,
        "uidl": message.uidl.decode("ascii"),
        "file": IFiled(maildrop).file(number),
        "header": _text(await _header(maildrop, number)),
    }
    if whole:
        chunks: list[bytes] = []

        async def keep(chunk: bytes) -> None:
            chunks.append(chunk)

        await copy(maildrop, number, keep)
        facts["message"] = _text(b"".join(chunks))
    return facts


async def _header(maildrop: IMaildrop, number: int) -> bytes:
    from mailserver.cli.bodies import head_of
    from mailserver.wireform import Canonical

    canonical = Canonical()
    return canonical.feed(await head_of(maildrop, number)) + canonical.end()


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


async def _put(octets: bytes) -> None:
    """Write to standard output. Errors: Unheard."""
    from mailserver.cli.admin import unheard

    if os.isatty(1):
        octets = "\r\n".join(map(_harmless, _text(octets).split("\r\n"))).encode()
    with unheard():
        view = memoryview(octets)
        while view:
            view = view[os.write(1, view) :]


def _harmless(line: str) -> str:
    """A line for a terminal, which a message must not steer: a bare CR would write over what stands there."""
    return "".join(each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in line)
