"""The manual pages, the completions and the help in docs/commands.md: what the program says of itself, in forms that their readers take."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "etc/man").glob("*"))

mandoc = pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")


def shown(text: str) -> str:
    """A page as a reader sees it."""
    run = subprocess.run(["mandoc", "-T", "utf8"], input=text, capture_output=True, text=True, check=True)
    return re.sub(r".\x08", "", run.stdout)


def test_they_are_what_the_program_says_of_itself() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "docs/manual/build.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, ""), "make manual renews them"


@mandoc
def test_the_pages_are_without_fault() -> None:
    assert len(PAGES) > 30
    run = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *PAGES], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@mandoc
def test_a_page_says_all_that_the_help_does() -> None:
    page = shown((ROOT / "etc/man/mailserver-throttle-list.1").read_text("utf-8"))
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"):
        assert re.search(rf"(?m)^{title}$", page)
    assert "-s, --socket PATH" in page
    assert re.search(r"(?m)^ +75 +a worker process does not answer$", page)


@mandoc
@pytest.mark.parametrize("text", ["\\fBx\\e -- 'y'", ".SH not a section", "'tis so", "a-b --c -1", "x\\"])
def test_text_is_printed_as_it_is(text: str) -> None:
    page = runpy.run_path(str(ROOT / "docs/manual/roff.py"))["Page"]("x", 1, "2026-01-01", "x")
    page.section("x")
    page.lines([text])
    assert text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") in shown(str(page)).replace(
        "'", "\N{RIGHT SINGLE QUOTATION MARK}"
    )


def test_bash_reads_its_completion() -> None:
    subprocess.run(["bash", "-n", ROOT / "etc/completion/bash/mailserver"], check=True)
