"""``mailserver locks``: which maildrops are locked now, and by whom."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from mailserver.cli import asking
from mailserver.cli.asking import duration, socket_option, table, visible
from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.admin import Maildrops
    from mailserver.interfaces import User
    from mailserver.upkeep import Held

Sessions = Mapping[str, Mapping[str, Any]]
"""What the server tells of its sessions, by their names."""

_WORDS: Final = 3
"""Of what a session writes about itself: its listener, its client's address and its name."""


@click.command(short_help="Show which maildrops are locked, and by whom.")
@click.argument("users", metavar="[USER]...", nargs=-1)
@json_option
@socket_option
@user_option
@config_option
def locks(users: tuple[str, ...], as_json: bool, socket: str | None, user: str | None, config: str) -> int:
    """Show the locks of maildrops that are held now, of each USER or of all users that can be listed: by which process
    and session, and since when.

    It asks the kernel and reads what the holder has written, and never tries a lock, so it keeps no client out. A lock ends
    with its process: none can be stale, but a process may hang, and then the table is followed by what to do. Holders on other
    machines, by a network file system, and in other containers are not seen. If the server answers, its sessions' idle time is shown.

    \b
    Examples:
      mailserver locks
      mailserver locks alice --json | jq .pid

    \b
    Exit status:
       0  shown
       1  nothing is locked, or there is no such user
      64  the command line is wrong
      69  a checker cannot list its users; those of the others are shown
      75  a database does not answer: try again later
      77  it must run as root, or as the user that serves
      78  the configuration is wrong
    """  # noqa: D301 - a paragraph; click's mark of one that stays as it is
    from mailserver.cli import admin

    asked_at, sessions = time.time(), _sessions(socket, config)

    async def work(maildrops: Maildrops) -> int:
        rows: list[dict[str, Any]] = []

        async def look(found: User) -> int:
            held = await maildrops.upkeep().locks(found)
            rows.extend(_facts(found.name, each, sessions, asked_at) for each in held)
            return os.EX_OK

        names = maildrops.listed() if not users else maildrops.chosen(users, everybody=False)
        status = admin.worst([await admin.about(name, maildrops, look) async for name in names])
        if as_json:
            for row in rows:
                admin.say(asking.as_json(row))
        elif rows:
            admin.say("\n".join(_lines(rows)))
        elif not status:
            asking.nothing("nothing is locked", ", ".join(users))
        return status or (os.EX_OK if users else admin.unlisted(maildrops)) or int(not rows)

    return admin.run(config, user, work)


def _sessions(socket: str | None, config: str) -> Sessions | None:
    """The sessions of the server; None if it does not tell of all."""
    from mailserver.cli.asking import configured
    from mailserver.control.client import Declined, NoServer, ask

    try:
        answer = ask(socket or configured(config), "who")
    except (NoServer, Declined):
        return None
    return None if answer.silent else {row["session"]: row for row in answer.rows}


def _facts(user: str, held: Held, sessions: Sessions | None, asked_at: float) -> dict[str, Any]:
    words = held.holder.split()
    session = words[-1] if held.purpose == "session" and len(words) == _WORDS else ""
    known = (sessions or {}).get(session, {})
    return {
        "user": user,
        "lock": held.purpose,
        "pid": held.pid,
        "program": held.program,
        "since": round(held.since, 3),
        "holder": held.holder,
        "session": session,
        "idle": known.get("idle"),
        "file": held.path,
        "remedy": _remedy(held, lost=bool(session and sessions is not None and not known and held.since < asked_at)),
    }


def _remedy(held: Held, *, lost: bool) -> str:
    """What to do about it; "": nothing."""
    pid = held.pid
    if not held.state:
        return f"process {pid}, which took it, has ended, but one that it started has it: `fuser {shlex.quote(held.path)}` tells which"
    if held.state in "Tt":
        return f"process {pid} is stopped: `kill -CONT {pid}` lets it go on"
    if held.state == "D":
        return f"process {pid} waits for a disk: see that the maildrop's answers"
    if held.purpose != "quota" and not held.holder:
        return f"process {pid} ({held.program}) is no process of this server's: end it, if it should not be there"
    return (
        f"the server has no such session: if it stays, `kill {pid}`, and the server replaces that process"
        if lost
        else ""
    )


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    heads = ["USER", "LOCK", "PID", "PROGRAM", "FOR", "IDLE", "HOLDER"]
    shown = list(table(heads, map(_cells, rows)))
    return shown + [visible(f"{row['user']}: {row['remedy']}") for row in rows if row["remedy"]]


def _cells(row: dict[str, Any]) -> list[object]:
    idle = "" if row["idle"] is None else duration(row["idle"])
    since = duration(max(0, time.time() - row["since"]))
    return [row["user"], row["lock"], str(row["pid"]), row["program"], since, idle, row["holder"]]
