"""``mailserver kick``: ends sessions."""

from __future__ import annotations

import click

from mailserver.cli.asking import put, socket_option
from mailserver.cli.group import config_option, json_option
from mailserver.cli.who import show


@click.command(short_help="End the sessions of a user, or one session.")
@click.argument("name", metavar="USER|SESSION")
@json_option
@socket_option
@config_option
def kick(name: str, as_json: bool, socket: str | None, config: str) -> int:
    """End all sessions that `mailserver who` shows of USER, or the one SESSION, and show them.

    What they have marked as deleted is not deleted, as with any session that ends without QUIT. The client may come back at once:
    to keep a user out, deny him in the users' database.

    \b
    Exit status:
       0  ended
       1  there was none
      69  no server answers at the socket
      75  a worker process does not answer
      77  only root, the user that serves and the socket's group may ask
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    return put("kick", socket, config, lambda rows: show(rows, as_json, name), name=name)
