"""``mailserver reload``: lets the running server take its changed settings."""

from __future__ import annotations

from collections.abc import Iterator

import click

from mailserver.cli.asking import Row, put_change, socket_option
from mailserver.cli.group import config_option, json_option


@click.command(short_help="Let the server take its changed settings.")
@json_option
@socket_option
@config_option
def reload(as_json: bool, socket: str | None, config: str) -> int:
    """Let the running server read its settings again, as at SIGHUP, and wait until it has.

    It takes all of them that can change while it runs, or none: what is wrong is told, as `mailserver check` would tell it. Sessions
    that are open end by the settings that they began with. Where no setting has changed, certificates and users are read again.

    \b
    Example:
      mailserver check && mailserver reload

    \b
    Exit status:
       0  done; what needs a restart is named
       1  the user that serves cannot read the settings, which stay as they were; certificates and users were read again
      69  no server answers at the socket
      70  a fault of the server, which its log tells
      75  a restart was under way: the new process was told to reload
      77  only root, the user that serves and the socket's group may ask
      78  nothing was changed: the settings are wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    return put_change("reload", socket, config, as_json, _done)


def _done(row: Row) -> Iterator[str]:
    changed = ", ".join(row["changed"])
    yield f"changed: {changed}" if changed else "certificates and users were read again"
    if row["restart"]:
        yield f"for a restart: {', '.join(row['restart'])}"
