"""The tables of the page."""

from __future__ import annotations

from datetime import tzinfo

from mailserver.web.status.markup import Markup, element
from mailserver.web.status.overview import Overview, Row
from mailserver.web.status.state import days_left
from mailserver.web.status.words import counted, moment, named, number, octets, prose, span, table


def failures(shown: Overview, zone: tzinfo | None) -> Markup:
    """What failed in the last hour, and why."""
    if not shown.troubles:
        return element("p", "Nothing failed in the last hour.", class_="nothing")
    told = sum(row["times"] for row in shown.troubles)
    more = f" {number(shown.failures - told)} more are not shown." if shown.failures > told else ""
    rows = (
        [
            element("span", row["what"], class_="what"),
            named(row["who"]),
            named(row["peer"]),
            prose(row["why"]),
            prose(row["help"]),
            number(row["times"]),
            moment(row["last"], zone),
        ]
        for row in shown.troubles
    )
    caption = f"{counted(shown.failures, 'failure')} in the last hour, the latest first.{more}"
    return table(caption, ["What", "User", "From", "Why", "What helps", "Times", "Last"], rows, class_="failures")


def sessions(shown: Overview) -> Markup:
    """Whose sessions are open."""
    if not shown.sessions:
        return element("p", "Nobody is in.", class_="nothing")
    many = len(shown.sessions)
    caption = f"{counted(shown.open, 'session')} {'is' if shown.open == 1 else 'are'} open." + (
        f" The latest {many} are shown: `mailserver who` shows all." if many < shown.open else ""
    )
    rows = (
        [
            named(row["who"])
            if row.get("who")
            else element("em", "takes mail" if row["listener"] == "lmtp" else "not logged in"),
            named(row["peer"]) if row["peer"] else "this machine",
            row["listener"] + (", TLS" if row["tls"] else ""),
            span(row["seconds"]),
            span(row["idle"]),
            _messages(row),
            octets(row["octets_out"]),
            row["session"],
        ]
        for row in shown.sessions
    )
    return table(
        prose(caption), ["User", "From", "By", "For", "Idle", "Messages", "Sent", "Session"], rows, class_="sessions"
    )


def _messages(row: Row) -> str:
    if "messages" not in row:
        return ""
    marked = f", {number(row['marked'])} marked" if row["marked"] else ""
    return f"{number(row['retrieved'])} of {number(row['messages'])} fetched{marked}"


def processes(shown: Overview) -> Markup:
    """The processes and the ports."""
    listeners = sorted({name for row in shown.processes for name in row["sessions"]})
    rows = (
        [
            _process(row),
            row["pid"],
            row["version"],
            span(row["seconds"]),
            octets(row["memory"]),
            *(str(row["sessions"].get(name, "")) for name in listeners),
        ]
        for row in shown.processes
    )
    heads = ["Process", "PID", "Version", "Runs for", "Memory", *(f"{name} sessions" for name in listeners)]
    ports = ([row["kind"], element("code", named(row["endpoint"]))] for row in shown.ports)
    return Markup(
        table("Processes", heads, rows, class_="processes")
        + table("Ports", ["Port", "Endpoint"], ports, class_="ports")
    )


def _process(row: Row) -> str:
    if row["parent"]:
        return "parent of the workers"
    return f"worker {row['worker']}" if row["worker"] else "server"


def certificates(shown: Overview, zone: tzinfo | None) -> Markup:
    """The certificates in use, and their days."""
    if not shown.certificates:
        return element("p", "No certificate is in use.", class_="nothing")
    rows = (
        [
            element("code", named(row["file"])),
            ", ".join(row["names"]),
            row["kind"],
            _days(days_left(row, shown.now)),
            moment(row["expires"], zone, "%-d %B %Y, %H:%M"),
        ]
        for row in sorted(shown.certificates, key=lambda row: row["expires"])
    )
    return table(
        "Certificates in use, which expires first on top",
        ["File", "Names", "Key", "Left", "Expires"],
        rows,
        class_="certificates",
    )


def _days(days: int) -> str:
    return counted(days, "day") if days >= 0 else f"expired {counted(-days, 'day')} ago"
