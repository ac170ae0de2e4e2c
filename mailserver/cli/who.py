"""``mailserver who``: whose sessions are open."""

from __future__ import annotations

import os

import click

from mailserver.cli.asking import Row, as_lines, as_table, duration, nothing, put, socket_option
from mailserver.cli.group import config_option, json_option


@click.command(short_help="Show whose sessions are open.")
@click.argument("name", metavar="[USER|SESSION]", required=False, default="")
@json_option
@socket_option
@config_option
def who(name: str, as_json: bool, socket: str | None, config: str) -> int:
    """Show the sessions that are open now, or only those of USER, or the one SESSION.

    USER is the name as the log has it, also that of a master user who has opened another's maildrop. A session without MESSAGES takes mail, or has not logged in yet: its
    USER is whom it has tried.

    \b
    Exit status:
       0  shown
       1  there is none
      69  no server answers at the socket
      75  a worker process does not answer
      77  only root, the user that serves and the socket's group may ask
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    return put("who", socket, config, lambda rows: show(rows, as_json, name), name=name)


def show(rows: list[Row], as_json: bool, name: str) -> int:
    """Show sessions; the exit status."""
    if as_json:
        as_lines(rows)
    elif rows:
        heads = ["SESSION", "USER", "FROM", "PORT", "TLS", "FOR", "IDLE", "SENT", "MESSAGES", "RETRIEVED", "MARKED"]
        as_table(heads, map(_cells, sorted(rows, key=lambda row: row["seconds"])))
    else:
        nothing("no session is open", name)
    return os.EX_OK if rows else 1


def _cells(row: Row) -> list[object]:
    messages = [row.get(name, "") for name in ("messages", "retrieved", "marked")]
    tls = "yes" if row["tls"] else "no"
    times = duration(row["seconds"]), duration(row["idle"])
    return [row["session"], row.get("who", ""), row["peer"], row["listener"], tls, *times, row["octets_out"], *messages]
