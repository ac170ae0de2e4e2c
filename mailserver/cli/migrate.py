"""``mailserver migrate``: moving in from another server. Each of its commands is a module, which is imported when it is used."""

from __future__ import annotations

from typing import Final

import click

from mailserver.cli.group import LazyGroup

COMMANDS: Final = {"mail": "mailserver.cli.migrate_mail", "users": "mailserver.cli.migrate_users"}


@click.group(cls=LazyGroup, modules=COMMANDS)
def migrate() -> None:
    """Move in from another server."""
