"""``mailserver status``: what runs."""

from __future__ import annotations

import os

import click

from mailserver.cli.asking import Row, as_lines, as_table, duration, put, socket_option
from mailserver.cli.group import config_option, json_option


@click.command(short_help="Show what runs: the server's processes and their sessions.")
@json_option
@socket_option
@config_option
def status(as_json: bool, socket: str | None, config: str) -> int:
    """Show the processes of the running server, how long each runs, its memory, and the sessions of each listener.

    \b
    Example:
      mailserver status --json | jq .sessions

    \b
    Exit status:
       0  the server runs
      69  no server answers at the socket
      75  a worker process does not answer
      77  only root, the user that serves and the socket's group may ask
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    return put("status", socket, config, as_rows if as_json else _show)


def as_rows(rows: list[Row]) -> int:
    """For programs."""
    as_lines(_ordered(rows))
    return os.EX_OK


def _ordered(rows: list[Row]) -> list[Row]:
    """By the workers' numbers, whichever has answered first."""
    return sorted(rows, key=lambda row: row["worker"])


def _show(rows: list[Row]) -> int:
    listeners = sorted({name for row in rows for name in row["sessions"]})
    lines = [
        [
            row["worker"] or "-",
            str(row["pid"]),
            row["version"],
            duration(row["seconds"]),
            f"{row['memory'] / 1_000_000:.0f} MB",
            *(row["sessions"].get(name, 0) for name in listeners),
        ]
        for row in _ordered(rows)
    ]
    as_table(["WORKER", "PID", "VERSION", "RUNS FOR", "MEMORY", *map(str.upper, listeners)], lines)
    return os.EX_OK
