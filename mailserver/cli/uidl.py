"""``mailserver uidl``: what clients know messages by. Each of its commands is a module, which is imported when it is used."""

from __future__ import annotations

from typing import Final

import click

from mailserver.cli.group import LazyGroup

COMMANDS: Final = {"compare": "mailserver.cli.compare", "give-back": "mailserver.cli.give_back"}


@click.group(cls=LazyGroup, modules=COMMANDS)
def uidl() -> None:
    """Look after the unique-ids by which clients know messages."""
