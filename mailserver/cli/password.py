"""``mailserver password``: makes a stored secret, or tries one."""

from __future__ import annotations

import json
import os

import click

from mailserver.cli.group import FILE, json_option
from mailserver.cli.main import tell
from mailserver.cli.secrets import heard, scheme_option


@click.command(short_help="Make a secret for a users' database, or try one.")
@scheme_option
@click.option(
    "--try",
    "tried",
    metavar="FILE",
    type=FILE,
    help="Do not make one: tell whether the secret in FILE's first line is of this password.",
)
@click.option("--schemes", is_flag=True, help="List the schemes of new secrets, and end.")
@json_option
def password(scheme: str | None, tried: str | None, schemes: bool, as_json: bool) -> int:
    """Make a secret of a password, as passwd-files and other users' databases store it; or try a password with a secret.

    The password is asked for at the terminal, or is the first line of standard input. A secret is no password, but who has it can
    guess: so it is read from a file, or from standard input (--try -, whose second line is the password).

    \b
    Examples:
      mailserver password
      mailserver password --scheme SCRAM-SHA-256 < password
      mailserver password --try secret < password

    \b
    Exit status:
       0  made; or the password is right
       1  the password is wrong
      64  the command line is wrong
      78  the scheme is unknown, or needs a package
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.auth.making import DEFAULT, MAKERS, make_secret
    from mailserver.auth.secret import SchemeError

    if schemes:
        for each in MAKERS:
            click.echo(json.dumps({"scheme": each}) if as_json else each)
        return os.EX_OK
    try:
        if tried is not None:
            return _try(tried, as_json)
        made = make_secret(scheme or DEFAULT, heard(twice=True)).decode("utf-8", "surrogateescape")
        click.echo(json.dumps({"secret": made}) if as_json else made)
    except SchemeError as error:
        tell(f"mailserver: {error}")
        return os.EX_CONFIG
    return os.EX_OK


def _try(path: str, as_json: bool) -> int:
    """Try a password with the secret in a file; the exit status. Errors: SchemeError."""
    from mailserver.auth.schemes import plausible, read_secret
    from mailserver.auth.secret import SchemeError
    from mailserver.saslprep import prepared

    try:
        with click.open_file(path, "rb") as file:
            secret = read_secret(file.readline().rstrip(b"\r\n"))
    except OSError as error:
        raise SchemeError(f"{path} cannot be read: {error.strerror}") from None
    given = heard(twice=False)
    right = plausible(given) and any(secret.verify(each) for each in {given, prepared(given)})
    click.echo(json.dumps({"right": right}) if as_json else "right" if right else "wrong")
    return os.EX_OK if right else 1
