"""``mailserver throttle``: who is held back or turned away by a running server, and the end of it."""

from __future__ import annotations

import os
from typing import Final

import click

from mailserver.cli.asking import Row, as_lines, as_table, duration, nothing, put, socket_option
from mailserver.cli.group import config_option, json_option

_WHY: Final = {
    "address": "failed logins from there",
    "user": "failed logins as this user from places that are new to him",
    "regular": "failed logins as this user from there, where he has logged in before",
    "login_delay": "LOGIN-DELAY: he has logged in just now",
    "connections": "all the connections that are allowed",
}


@click.group(short_help="Show who is held back, or forgive the failed logins.")
def throttle() -> None:
    """Show who is held back or turned away, or forget the failed logins for it."""


@throttle.command("list", short_help="Show who is held back or turned away now, and why.")
@click.argument("name", metavar="[USER|ADDRESS|NETWORK]", required=False, default="")
@json_option
@socket_option
@config_option
def list_(name: str, as_json: bool, socket: str | None, config: str) -> int:
    """Show whose failed logins of the last 15 minutes hold back the next attempt, for how long, and who else gets nothing now.

    HELD FOR is the time until the next attempt is verified. WAITING are attempts that wait for it; one without a turn for 20 seconds is refused.
    Where a user has logged in before, only failed logins as this user from there hold him back, whatever others do. At a place that is
    new to him, all failed logins from there hold him back, and all as this user from such places.
    A user whose LOGIN-DELAY is not over is refused, and so is a connection beyond limits.connections_per_address or limits.connections;
    the others of an address are in `mailserver who`. An IPv6 address counts with its /64 network.

    \b
    Examples:
      mailserver throttle list
      mailserver throttle list alice
      mailserver throttle list 192.0.2.0/24 --json

    \b
    Exit status:
       0  shown
       1  nobody is held back or turned away
      69  no server answers at the socket
      75  a worker process does not answer
      77  only root, the user that serves and the socket's group may ask
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    return put("throttle list", socket, config, lambda rows: _show(rows, as_json, name), name=name)


@throttle.command(short_help="Forget failed logins.")
@click.argument("name", metavar="USER|ADDRESS|NETWORK")
@json_option
@socket_option
@config_option
def forget(name: str, as_json: bool, socket: str | None, config: str) -> int:
    """Forget the failed logins of USER, or those from ADDRESS or NETWORK, in all worker processes, and show what they were.

    Attempts that wait for their turn have it at once, if nothing else holds them back: see `mailserver throttle list`. What failed as USER is forgotten
    wherever it came from. The LOGIN-DELAY of USER ends, too. Connections stay; `mailserver kick` ends them. The log tells who asked for it.

    \b
    Examples:
      mailserver throttle forget alice
      mailserver throttle forget 2001:db8::/32

    \b
    Exit status:
       0  forgotten
       1  there was nothing to forget
      69  no server answers at the socket
      75  a worker process does not answer
      77  only root, the user that serves and the socket's group may ask
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    return put("throttle forget", socket, config, lambda rows: _show(rows, as_json, name), name=name)


def _show(rows: list[Row], as_json: bool, name: str) -> int:
    """Show each once, whichever processes tell of it, the longest held first; the exit status."""
    found = {(row["kind"], row["address"], row["user"]): row for row in rows if row["kind"] != "all"}
    shown = sorted(found.values(), key=lambda row: (row["held"], row.get("failures", 0)), reverse=True)
    unnamed = _unnamed(rows, shown)
    if as_json:
        as_lines({name: value for name, value in row.items() if name != "worker"} for row in shown)
        as_lines([{"kind": "others", "lanes": unnamed}] if unnamed else [])
    elif shown:
        as_table(["ADDRESS", "USER", "FAILURES", "LAST", "HELD FOR", "WAITING", "WHY"], map(_cells, shown))
    if not (shown or unnamed or as_json):
        nothing("nobody is held back, and no failed login counts", name)
    if unnamed and not as_json:
        more, have = "more " if shown else "", "has" if unnamed == 1 else "have"
        click.echo(f"{unnamed:,} {more}{have} failed logins: ask for one by his USER or ADDRESS")
    return os.EX_OK if shown or unnamed else 1


def _unnamed(rows: list[Row], shown: list[Row]) -> int:
    """Those who are too many to be told, or whose names were lost with a worker that ended: only its hashes are left."""
    all_told: int = max((row["lanes"] for row in rows if row["kind"] == "all"), default=0)
    return max(0, all_told - sum(1 for row in shown if row.get("failures")))


def _cells(row: Row) -> list[object]:
    why = _WHY[row["kind"]]
    if row["kind"] == "connections":
        why += f": {row['connections']:,} at {', '.join(row['listeners'])}"
    last = f"{duration(row['ago'])} ago" if row.get("failures") else ""
    held = f"{row['held']:.1f} s" if row["held"] else ""
    return [row["address"], row["user"], row.get("failures", ""), last, held, row.get("waiting") or "", why]
