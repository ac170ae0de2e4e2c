"""Renew what is made from the commands' and the settings' own texts: manual pages, completions, and the texts of --help in docs/commands.md.

``python docs/manual/build.py`` writes etc/man, etc/completion and docs/commands.md. With ``--check`` it writes nothing, names the files that
are not as they should be, and ends with status 1 if there are any.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.pop("MAILSERVER_CONFIG", None)
os.environ["COLUMNS"] = "80"

import click
from commands import contexts, page_of
from settings import server_page, settings_page

from mailserver.cli.completion import SHELLS, script_of
from mailserver.cli.group import mailserver

COMPLETIONS: Final = {"bash": "mailserver", "fish": "mailserver.fish", "zsh": "_mailserver"}
"""The names by which the shells look for them, each in a folder of the shell's own."""

_BLOCK: Final = re.compile(r"(?m)^## (mailserver.*)\n\n```text\n((?:.*\n)*?)```")


def files() -> Iterator[tuple[Path, str]]:
    """All that is made, with its text."""
    found = list(contexts(mailserver, click.Context(mailserver, info_name="mailserver", **mailserver.context_settings)))
    for name, text in [*map(page_of, found), settings_page(), server_page()]:
        yield ROOT / "etc/man" / name, text
    for shell in SHELLS:
        yield ROOT / "etc/completion" / shell / COMPLETIONS[shell], script_of(shell)
    helps = {context.command_path: context.get_help() for context in found}
    yield ROOT / "docs/commands.md", _with_helps((ROOT / "docs/commands.md").read_text(encoding="utf-8"), helps, found)


def _with_helps(page: str, helps: dict[str, str], found: list[click.Context]) -> str:
    """The page of the commands with their --help as it is. A command that it lacks comes at its end."""
    shown = {match[1] for match in _BLOCK.finditer(page)}
    for context in found:
        if context.command_path not in shown and not isinstance(context.command, click.Group):
            page = f"{page.rstrip()}\n\n## {context.command_path}\n\n```text\n```\n"
    return _BLOCK.sub(lambda match: f"## {match[1]}\n\n```text\n{helps[match[1]]}\n```", page)


def main() -> int:
    """Write, or with --check only compare; the exit status."""
    made = dict(files())
    there = [each for folder in ("man", "completion") for each in (ROOT / "etc" / folder).rglob("*") if each.is_file()]
    surplus = [each for each in there if each not in made]
    outdated = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in (*outdated, *surplus):
            sys.stderr.write(f"{path.relative_to(ROOT)}: not what the program says of itself: make manual\n")
        return bool(outdated or surplus)
    for path in outdated:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path], encoding="utf-8")
    for path in surplus:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
