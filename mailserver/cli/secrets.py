"""How the commands hear a password: from the terminal, twice, or from standard input; never from the command line, which others see."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def heard(*, twice: bool) -> bytes:
    """The password: asked at a terminal, or the first line of standard input. Errors: click.UsageError, where it is empty."""
    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True)
        password = text.encode("utf-8", "surrogateescape")
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    if not password:
        raise click.UsageError("the password is empty: give it on standard input, as its first line")
    return password


def scheme_option(command: Decorated) -> Decorated:
    """The scheme of a new secret."""
    return click.option("--scheme", metavar="SCHEME", help="How the secret is stored. Default: BLF-CRYPT.")(command)
