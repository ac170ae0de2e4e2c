"""``mailserver uidl give-back``: the way back to the server that was there before."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.incoming import Given
    from mailserver.interfaces import IStore, User


@click.command("give-back", short_help="Give the unique-ids back to another server.")
@click.argument("users", metavar="[USER]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All users that the databases can list.")
@click.option("--to", "server", metavar="SERVER", help="dovecot, dovecot:FORMAT or courier. Default: `store.former`.")
@click.option("-n", "--dry-run", is_flag=True, help="Write nothing; only say what would be entered.")
@json_option
@user_option
@config_option
def give_back(  # noqa: PLR0913, PLR0917 - click gives the options by their names
    users: tuple[str, ...],
    everybody: bool,
    server: str | None,
    dry_run: bool,
    as_json: bool,
    user: str | None,
    config: str,
) -> int:
    """Enter the unique-ids of each USER's messages into the list of another server, in the Maildir.

    Once it serves the Maildir again, its clients find what they have fetched from us, and fetch nothing again. FORMAT is Dovecot's
    pop3_uidl_format; its list holds any unique-id, and our order. Courier's holds those of its own forms alone: the others are told as
    lost. Dovecot may run meanwhile, since its lock is heeded; stop Courier, which has none.

    \b
    Examples:
      mailserver uidl give-back --all --dry-run
      mailserver uidl give-back --to dovecot:%v.%u alice bob@example.org

    \b
    Exit status:
       0  the other server shows the same unique-ids, or would
       1  it shows others for some messages, or there is no such user
      64  the command line is wrong
      75  a maildrop is in use, or a database or a disk does not answer: try again later
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if bool(users) == everybody:
        raise click.UsageError("name users, or give --all")
    from mailserver.cli import admin

    async def work(maildrops: Maildrops) -> int:
        to = maildrops.config.store.former if server is None else server
        names = maildrops.chosen(users, everybody)
        return admin.worst(
            [
                await admin.about(name, maildrops, lambda found: _give(found, maildrops.store, to, dry_run, as_json))
                async for name in names
            ]
        )

    return admin.run(config, user, work)


async def _give(user: User, store: IStore, server: str, dry_run: bool, as_json: bool) -> int:
    """Give one user's back; the exit status."""
    from mailserver.cli.admin import say
    from mailserver.errors import ConfigError, NoMaildrop
    from mailserver.incoming import IGivesBack

    maildrop = await store.open(user, "give-back")
    try:
        if not IGivesBack.providedBy(maildrop):
            raise NoMaildrop(f"the mail of {user.name!r} is not in a Maildir of his own")
        given: Given = await IGivesBack(maildrop).give_back(server, dry_run)
    except ValueError as error:
        raise ConfigError([f"--to, or store.former: {error}"]) from None
    finally:
        maildrop.release()
    if as_json:
        say(json.dumps({"user": user.name, **given._asdict(), "dry_run": dry_run}, ensure_ascii=False))
    else:
        say(f"{user.name}: {_sentence(given, dry_run)}")
    return 1 if given.lost else os.EX_OK


def _sentence(given: Given, dry_run: bool) -> str:
    text = f"{given.messages:,} {'message' if given.messages == 1 else 'messages'}, {given.entered:,} {'to enter' if dry_run else 'entered'}"
    return f"{text}, {given.lost:,} with a unique-id that its list cannot hold" if given.lost else text
