"""``mailserver explain``: what would become of a login, door by door."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

import click

from mailserver.cli.asking import Row, as_lines, put_or, socket_option
from mailserver.cli.group import config_option, json_option, some_of, user_option

_LONGEST: Final = 4096
"""Octets of a name. Every line that a client sends is shorter."""

_TICKETS: Final = "GSSAPI"
_FOR_NONE_ELSE: Final = {"USER", "PASS", "APOP", "CRAM-MD5", "LOGIN", "XOAUTH2"}
"""The ways to log in that name one user alone."""

MECHANISMS: Final = (
    *("USER", "APOP", "GSSAPI", "CRAM-MD5", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"),
    *("PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "DIGEST-MD5"),
)
"""The ways to log in that shells complete."""

_MARKS: Final = {"passes": "ok", "waits": "waits", "refuses": "REFUSES", "skips": "-", "unknown": "?"}


def _listeners() -> Iterator[str]:
    from mailserver.config.kinds import KINDS

    return (name for name, kind in KINDS.items() if kind.login)


@click.command(short_help="Say what would become of a user's login, and why.")
@click.argument("name", metavar="USER")
@click.option(
    "--from",
    "peer",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help='The client\'s address; "" is a Unix socket.',
)
@click.option(
    "-l",
    "--listener",
    metavar="KIND",
    default="",
    shell_complete=some_of(_listeners),
    help="pop3, pop3s or kpop, or a whole endpoint. Default: pop3s, or else pop3.",
)
@click.option(
    "-m",
    "--mechanism",
    metavar="NAME",
    default="",
    shell_complete=some_of(lambda: MECHANISMS),
    help="PLAIN, APOP, SCRAM-SHA-256... Default: USER and PASS.",
)
@click.option("--no-tls", is_flag=True, help="The client begins no TLS where it could.")
@click.option(
    "--app", metavar="NAME", default="", help="It uses this app password. Default: any secret that is let in."
)
@click.option(
    "--master", metavar="NAME", default="", help="This master user logs in, for USER; by PLAIN, if no other is named."
)
@click.option(
    "--principal", metavar="PRINCIPAL", default="", help="Whose Kerberos ticket it has, such as alice@EXAMPLE.ORG."
)
@click.option("--offline", is_flag=True, help="Ask no running server, and look at files and databases from here.")
@json_option
@socket_option
@user_option
@config_option
def explain(name: str, as_json: bool, offline: bool, **given: Any) -> int:
    """Say what would become of a login of USER with the right password, and why: which door on the way would refuse it, and what to do.

    The running server answers, by what it really does for a login, but no password is needed, nothing is locked and nothing is counted. Where none runs, the command looks itself, and says what only a server could know. The answer is that of a login: to a typed name, from an address, at a listener, by a mechanism.

    \b
    Examples:
      mailserver explain alice
      mailserver explain alice@example.org --from 192.0.2.7 --listener pop3
      mailserver explain alice --mechanism SCRAM-SHA-256 --json

    \b
    Exit status:
       0  it would be let in, if the secret is right
       1  it would be refused, or depends on a checker of which only a login can tell
      64  there is no such listener, or no client could ask that
      69  what is at the server's socket does not answer, or is of another version
      70  a fault of the server, which its log tells
      77  only root, the user that serves and the socket's group may ask
      78  no server runs, and the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if not 0 < len(name.encode("utf-8", "surrogateescape")) <= _LONGEST or {"\r", "\n"} & set(name):
        raise click.UsageError("no client can send such a name")
    try:
        given["peer"] = str(ip_address(given["peer"])) if given["peer"] else ""
    except ValueError:
        raise click.UsageError(f"{given['peer']!r} is no address") from None
    user, socket, config = (given.pop(each) for each in ("user", "socket", "config"))
    attempt = {"user": name, "tls": not given.pop("no_tls"), **given, "mechanism": _mechanism(given)}

    def alone() -> int:
        from mailserver.cli.explaining import run

        return run(config, user, attempt, lambda rows: show(rows, as_json))

    if offline:
        return alone()
    return put_or(alone, "explain", socket, config, lambda rows: show(rows, as_json), **attempt)


def _mechanism(given: Mapping[str, str]) -> str:
    """The mechanism, "": USER and PASS. Errors: click.UsageError, where it cannot say what the other options do."""
    asked = given["mechanism"].upper()
    if given["master"] and asked in _FOR_NONE_ELSE:
        raise click.UsageError(f"{asked} names no user to act for; with --master, PLAIN does")
    if given["principal"] and asked not in {"", _TICKETS}:
        raise click.UsageError(f"{asked} takes no ticket; with --principal, {_TICKETS} and the ports of KPOP do")
    if asked == _TICKETS and not given["principal"]:
        raise click.UsageError(f"{_TICKETS} takes a ticket: say whose by --principal")
    if given["master"] and not asked:
        return "PLAIN"
    return "" if asked in {"USER", "PASS"} else asked


def show(rows: list[Row], as_json: bool) -> int:
    """Show the doors; the exit status."""
    if as_json:
        as_lines(rows)
    else:
        width = max(len(row["door"]) for row in rows)
        for row in rows[:-1]:
            click.echo(
                f"{row['door']:{width}}  {_MARKS.get(row['verdict'], row['verdict']):7}  {_visible(row['says'])}"
            )
        click.echo(_ending(rows[-1]))
    return os.EX_OK if rows and rows[-1]["verdict"] == "let in" else 1


def _ending(row: Row) -> str:
    if row["verdict"] == "refused":
        return f"would be refused: {_visible(row['says'])}; {row['remedy']}"
    if row["verdict"] == "depends":
        return f"{_visible(row['says'])}; {row['remedy']}"
    doubts = f", as far as can be told (not known here: {', '.join(row['doubts'])})" if row["doubts"] else ""
    return f"would be let in{doubts}"


def _visible(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
