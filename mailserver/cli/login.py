"""``mailserver login``: a real login, such as a health check makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from mailserver.cli.asking import as_lines
from mailserver.cli.group import FILE, config_option, json_option, some_of
from mailserver.cli.main import tell

VARIABLE: Final = "MAILSERVER_PASSWORD"
"""The environment variable that may have the password, as containers hand secrets over."""


@click.command(short_help="Log in as a client does, for health checks.")
@click.argument("name", metavar="[USER]", required=False, default="")
@click.option(
    "--host", metavar="HOST", default="", help="The server. Default: this machine, where the settings let it listen."
)
@click.option("-p", "--port", metavar="PORT", type=click.IntRange(1, 65535), help="Its port. Default: the listener's.")
@click.option(
    "-l",
    "--listener",
    metavar="KIND",
    default="",
    shell_complete=some_of(lambda: ("pop3", "pop3s")),
    help="pop3s (TLS from the first octet) or pop3. Default: pop3s, or else pop3.",
)
@click.option(
    "-m",
    "--mechanism",
    metavar="NAME",
    type=click.Choice(["USER", "PLAIN", "XOAUTH2"], case_sensitive=False),
    help="USER (USER and PASS), PLAIN or XOAUTH2, for which the password is a token. Default: what the server has.",
)
@click.option(
    "--tls",
    type=click.Choice(["verify", "unverified", "none"]),
    help="How far its certificate is believed; none: no TLS either. Default: verify, and unverified for this machine.",
)
@click.option(
    "--ca",
    metavar="FILE",
    type=FILE,
    default="",
    help="Whose certificates are believed. Default: the system's authorities.",
)
@click.option(
    "--password-file",
    metavar="FILE",
    type=FILE,
    help=f"Where the password is; - is standard input. Default: {VARIABLE} of the environment, or else standard input or the terminal.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="For each answer.",
)
@json_option
@config_option
def login(name: str, as_json: bool, **given: Any) -> int:
    """Connect to a server, begin TLS, log in as USER, ask STAT, and end; without USER only see that it is there. Each step is told with its time.

    The password never stands on the command line. It is a whole login: the maildrop is locked for that moment, LOGIN-DELAY counts, and a wrong password
    is one. A health check that logs in should have a user of its own.

    \b
    Examples:
      mailserver login
      mailserver login health --password-file /run/secrets/health
      mailserver login alice --host pop.example.org --listener pop3s < password
      HEALTHCHECK CMD ["mailserver", "login"]

    \b
    Exit status:
       0  it serves, and lets USER in
       1  it does not let USER in
      64  the command line is wrong, or there is no password
      69  no server is there
      75  not now: the maildrop is in use, a delay is not over, or the server is too busy
      76  what is there is no POP3 server, or its TLS is not to be believed
      78  the settings name no port that can be asked
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli.logging_in import NoKind, NoPort, Visit, visit

    path = given.pop("password_file")
    secret = _secret(path) if name else ""
    try:
        seen, trouble = visit(Visit(name, secret, **given))
    except NoKind as error:
        raise click.UsageError(str(error)) from None
    except NoPort as error:
        tell(f"mailserver: {error}")
        return os.EX_CONFIG
    if as_json:
        as_lines([seen])
    else:
        for key, value in seen.items():
            click.echo(f"{key.replace('_', ' '):18}{_shown(value)}")
    if trouble is None:
        return os.EX_OK
    tell(f"mailserver: {trouble.text}")
    return trouble.status


def _shown(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _secret(path: str | None) -> str:
    """The password. Errors: click.UsageError."""
    from mailserver.cli.secrets import heard

    if path is None and VARIABLE in os.environ:
        octets = os.environb[VARIABLE.encode()]
    elif path in {None, "-"}:
        octets = heard(twice=False)
    else:
        try:
            octets = Path(str(path)).read_bytes().split(b"\n")[0].rstrip(b"\r")
        except OSError as error:
            raise click.UsageError(f"{path}: {error.strerror}") from None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise click.UsageError("the password is not UTF-8") from None
    if not text:
        raise click.UsageError("the password is empty")
    return text
