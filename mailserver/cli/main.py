"""The command ``mailserver``: runs a subcommand, and ends with an exit status that says what became of it.

It imports click late, because without it there must be a word on how to get it, and the subcommand's module later still: a mail
server starts ``mailserver deliver`` for each message, and waits for it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NoReturn

MISSING: Final = 'click is not installed: pip install "twisted-mailserver[cli]"'

INTERRUPTED: Final = 130
"""What shells say of a program that Ctrl-C ended: 128 and the signal's number."""


NAME: Final = 100
"""Characters of a name that a message shows."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, or these arguments, and end the process.

    Whatever goes wrong in ``mailserver deliver`` is temporary, even a fault of ours: a mail must not bounce for it.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    delivers = given[:1] == ["deliver"]
    try:
        status = _run(given, delivers=delivers)
        if not delivers and sys.stdout is not None:  # a delivery has said nothing there, and is done
            sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 - Python's own status would be 1, which is an answer
        status = _failed(error, delivers=delivers)
    sys.exit(status)


def _run(arguments: list[str], *, delivers: bool) -> int:
    try:
        import click
    except ImportError:
        tell(f"4.3.5 {MISSING}" if delivers else f"mailserver: {MISSING}")
        return os.EX_TEMPFAIL if delivers else os.EX_UNAVAILABLE
    from mailserver.cli.group import mailserver

    try:
        return mailserver.main(arguments, "mailserver", standalone_mode=False) or os.EX_OK
    except click.UsageError as error:
        if delivers:  # Postfix, too, lets a status code at the beginning of the line count, and tries again
            tell("4.3.5 " + error.format_message().replace("\n", " "))
        else:
            error.show()
        return os.EX_USAGE
    except click.Abort:
        if delivers:
            tell("4.3.0 interrupted")
            return os.EX_TEMPFAIL
        return INTERRUPTED


def _failed(error: Exception, *, delivers: bool) -> int:
    """A fault."""
    if delivers:
        tell(f"4.3.0 a fault of mailserver deliver: {type(error).__name__}")
        return os.EX_TEMPFAIL
    tell(traceback.format_exc().rstrip())
    return os.EX_SOFTWARE


def tell(text: str) -> None:
    """Say something on standard error. That nobody can hear it must not change the exit status, by which mail is kept or not.

    What stands in it may steer no terminal: it may be what a client has sent, or what was pasted as a name.
    """
    lines = text if text.isprintable() else "\n".join(map(_harmless, text.split("\n")))
    with suppress(OSError):
        os.write(2, f"{lines}\n".encode(errors="replace"))


def _harmless(line: str) -> str:
    return "".join(each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in line)


def typed(name: str) -> str:
    """A name as it was typed, for a message: in one line, and not longer than anybody reads."""
    shown = f"{name[:NAME]}..." if len(name) > NAME else name
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in shown) or '""'
