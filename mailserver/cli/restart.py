"""``mailserver restart``: lets a new process take the place of the running server."""

from __future__ import annotations

from collections.abc import Iterator

import click

from mailserver.cli.asking import Row, put_change, socket_option
from mailserver.cli.group import config_option, json_option


@click.command(short_help="Let a new process take the server's place, without a refused connection.")
@json_option
@socket_option
@config_option
def restart(as_json: bool, socket: str | None, config: str) -> int:
    """Start the server anew, as at SIGUSR2: its program and its settings as they are now, on the sockets that are open.

    The old process serves until the new one does, and ends with its last session, which has 10 seconds and then ends as at a stop. If the
    new one cannot serve, the old one goes on, and its reasons are told.

    \b
    Example:
      pip install --upgrade twisted-mailserver && mailserver restart

    \b
    Exit status:
       0  the new process serves
       1  it cannot, and the old one goes on
      69  no server answers at the socket, or it cannot be restarted so
      75  not now: another restart is under way
      77  only root, the user that serves and the socket's group may ask
      78  it cannot, since the settings are wrong, and the old one goes on
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    return put_change("restart", socket, config, as_json, _done)


def _done(row: Row) -> Iterator[str]:
    yield f"process {row['pid']} serves"
