"""``mailserver completion``: prints the script by which a shell completes commands and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete


class Fish(FishComplete):
    """That of fish, whose script cuts a line at each comma, of which the help has some."""

    source_template = FishComplete.source_template.replace("string split ", "string split -m 1 ")


SHELLS: Final[Mapping[str, type[ShellComplete]]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": Fish}


@click.command(short_help="Print a script for a shell to complete words.")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print a script that lets the SHELL complete this command's words.

    \b
    Examples:
      mailserver completion bash > /etc/bash_completion.d/mailserver
      mailserver completion zsh > /usr/local/share/zsh/site-functions/_mailserver
      mailserver completion fish > ~/.config/fish/completions/mailserver.fish
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    click.echo(script_of(shell))


def script_of(shell: str) -> str:
    """The script for a shell."""
    from mailserver.cli.group import mailserver

    script = SHELLS[shell](mailserver, {}, "mailserver", "_MAILSERVER_COMPLETE")
    # Not its `source`, which for bash runs a bash first, to look at its version.
    return script.source_template % script.source_vars()
