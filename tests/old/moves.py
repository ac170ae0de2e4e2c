"""Our commands, as an operator runs them to move in."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.cli.running import run
from tests.old.person import Person
from tests.servers import Server, Site, toml

WHOEVER: Final = pwd.getpwuid(os.geteuid()).pw_name
"""Who runs the tests is the user that serves, root as well."""


def configured(site: Site, **settings: object) -> Path:
    """The file of settings of a server of this site, for commands beside it."""
    path = site.folder / "mailserver.toml"
    path.write_text(toml(Server(site, user=WHOEVER, **settings).settings), encoding="utf-8")
    return path


def table(site: Site, people: Iterable[Person]) -> Path:
    """The table of users with their passwords at the old server, where they had the same names."""
    path = site.folder / "moving"
    path.touch(mode=0o600)
    path.write_text("".join(f"{person.name}::{person.password}\n" for person in people), encoding="utf-8")
    return path


def moved(site: Site, place: str, people: Iterable[Person], *options: object, status: int = 0) -> str:
    """Move their mail from this place by ``mailserver migrate mail``; what it said."""
    arguments = ("migrate", "mail", place, "--users", table(site, people), "--state", site.folder / "moves")
    ended = command(configured(site), *arguments, *options, status=status)
    return (ended.stdout + ended.stderr).decode()


def command(config: Path, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, which must be with this exit status."""
    ended = run(*map(str, arguments), MAILSERVER_CONFIG=str(config))
    said = (ended.returncode, ended.stdout.decode(), ended.stderr.decode())
    assert ended.returncode == status, said
    assert "Traceback" not in said[2], said
    return ended
