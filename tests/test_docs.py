"""The pages: their links lead somewhere, their tables are true, and their programs run."""

import ast
import dataclasses
import json
import os
import poplib
import re
import signal
import subprocess
import sys
import tomllib
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from mailserver.cli.launch import _FLAGS, _REPEATABLE
from mailserver.config import settings as config

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/embedding.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_project_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert [each for each in targets if "://" not in each and not (page.parent / each).exists()] == []


def anchors(page):
    """By what links name the sections of a page."""
    outside = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in re.findall(r"^#+ (.*)$", outside, re.MULTILINE))
    return {title.strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_section_leads_to_one(page):
    targets = [
        each.partition("#") for each in re.findall(r"\]\(([^)\s]*#[^)\s]+)", page.read_text()) if "://" not in each
    ]
    assert [(name, at) for name, _, at in targets if at not in anchors(page.parent / name if name else page)] == []


def test_the_site_leads_to_every_page_once():
    """With what it is built by, `make docs` finds out whether a link leads nowhere there."""
    nav = tomllib.loads((ROOT / "docs/site/zensical.toml").read_text())["project"]["nav"]
    named = re.findall(r"[\w-]+\.md", json.dumps(nav))
    assert sorted(named) == sorted(page.name if page.name != "README.md" else "index.md" for page in PAGES)


def docstrings(cls):
    """The text under each field of a class of the settings."""
    tree = ast.parse(Path(sys.modules[cls.__module__].__file__).read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__).body
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            yield field.target.id, text.value.value


def rows(cls=config.Config, prefix=""):
    """The rows of the table of settings."""
    texts = dict(docstrings(cls))
    for item in dataclasses.fields(cls):
        if not item.metadata.get("setting", True):
            continue
        if dataclasses.is_dataclass(item.default_factory):
            yield from rows(item.default_factory, f"{item.name}.")
        else:
            value = {} if item.default_factory is dict else item.default
            default = value if value and isinstance(value, str) else json.dumps(value)
            yield f"| `{prefix}{item.name}` | `{default}` | {texts[item.name]} |"


@pytest.mark.parametrize("page", ["architecture.md", "flow.md"])
def test_the_files_that_a_page_names_are_there(page):
    """Those of the package by their path below it, or by their name alone; NAME stands for what is to come."""
    folders = ("mailserver", "twisted", "tests", "bench", "docs")
    tree = [path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    named = {
        name for name in re.findall(r"[\w/]+\.py\b", (ROOT / "docs" / page).read_text("utf-8")) if "NAME" not in name
    }
    assert named
    assert [
        name for name in sorted(named) if not any(f"/{path}".endswith(f"/{name.lstrip('/')}") for path in tree)
    ] == []


def test_the_table_of_settings_is_that_of_the_code():
    shown = [line for line in (ROOT / "docs/configuration.md").read_text().splitlines() if line.startswith("| `")]
    assert shown == [*rows(), *rows(config.Certificate, "tls.certificates.")], "the rows above belong into the table"


def test_the_page_names_every_flag_of_the_server():
    section = (ROOT / "docs/configuration.md").read_text().partition("## Flags\n\n")[2].partition("\n\n## ")[0]
    ours = {"config", *_FLAGS, *_REPEATABLE}
    assert set(re.findall(r"`--([a-z0-9-]+)`", section)) == {*ours, "help-auth", "version"}


@pytest.mark.parametrize("program", PROGRAMS, ids=["portal", "service"])
def test_a_program_of_the_page_on_embedding_serves(program):
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            port = int(process.stdout.readline().rpartition(" ")[2])
            with closing(poplib.POP3("127.0.0.1", port, timeout=30)) as client:
                client.user("alice")
                client.pass_("wonderland")
                assert client.stat()[0] in (0, 1)
                client.quit()
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode in (0, -signal.SIGTERM)
