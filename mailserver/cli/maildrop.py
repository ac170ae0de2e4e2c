"""``mailserver maildrop``: what an operator does with a user's maildrop. Each of its commands is a module, imported when it is used."""

from __future__ import annotations

from typing import Final

import click

from mailserver.cli.group import LazyGroup

COMMANDS: Final = {
    "export": "mailserver.cli.export",
    "list": "mailserver.cli.maildrop_list",
    "repair": "mailserver.cli.maildrop_repair",
    "show": "mailserver.cli.maildrop_show",
    "undelete": "mailserver.cli.maildrop_undelete",
    "verify": "mailserver.cli.maildrop_verify",
}


@click.group(cls=LazyGroup, modules=COMMANDS)
def maildrop() -> None:
    """Look after a user's maildrop."""
