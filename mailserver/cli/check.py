"""``mailserver check``: everything that could keep the server from its work, without binding a port."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from mailserver.cli.group import config_option, json_option, user_option

if TYPE_CHECKING:
    from mailserver.cli.checking import Findings


@click.command(short_help="Check the settings and all that they name, beside a running server.")
@click.option("--users", is_flag=True, help="Look at the maildrop of each user that the databases can list, too.")
@json_option
@user_option
@config_option
def check(users: bool, as_json: bool, user: str | None, config: str) -> int:
    """Check the settings, and all that a start would read: certificates and keys, keytabs, users' databases, the maildrops' place.

    It reads them with the rights of the user that serves, and tells all problems at once, each with its file and line, as a start
    would. It binds no port, so it may run beside the server, before a reload or a restart. What would not keep the server from starting,
    such as a certificate that ends soon, is a warning.

    \b
    Examples:
      mailserver check && systemctl restart mailserver
      mailserver check --config new.toml --users

    \b
    Exit status:
       0  no problem; there may be warnings
       1  some maildrop cannot be opened (with --users)
      64  the command line is wrong
      75  a database does not answer now (with --users)
      77  it must run as root, or as the user that serves
      78  the server would not start
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli import checking

    findings = checking.run(config, user, users=users)
    _show(findings, as_json)
    return findings.status


def _show(findings: Findings, as_json: bool) -> None:
    from mailserver.cli.admin import say

    if as_json:
        for kind, texts in findings.told():
            for text in texts:
                say(json.dumps({kind: text}, ensure_ascii=False))
        return
    for kind, texts in findings.told():
        for text in texts:
            say(text if kind == "problem" else f"{kind}: {text}")
    if findings.status == os.EX_OK:
        say(f"no problem found{f' ({len(findings.warnings)} warnings)' if findings.warnings else ''}")
