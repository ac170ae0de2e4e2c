"""SIGKILL at every step of a deposit for two users with a quota."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.store.maildir.crash_deposits import FRESH, KNOWN, LARGE, NEW, OLD


@pytest.fixture(scope="module")
def kills() -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    # A kill leaves what is in memory as it leaves a disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(dir=memory) as directory:
        run = subprocess.run(
            [sys.executable, "-m", "tests.store.maildir.crash_deposits", directory],
            cwd=Path(__file__).parents[3], env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_the_kills_fall_on_every_kind_of_step(kills: list[dict[str, Any]]) -> None:
    for case in (FRESH, KNOWN, LARGE):
        died = [kill["died"] for kill in kills if kill["case"] == case and not kill["torn"]]
        assert {"open", "write", "fsync", "link", "unlink", "close"} <= set(died), case
        assert died.count("link") == 2
        assert died.count("write") == 3 + (2 if case == LARGE else 0) + (2 if case == FRESH else 0)


def test_a_message_is_there_whole_or_not_at_all(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        new = (NEW * 3 if kill["case"] == LARGE else NEW).decode()
        old = [] if kill["case"] == FRESH else [OLD.decode()]
        for found in kill["found"].values():
            assert found in (old, [*old, new]), kill
    for user in ("alice", "bob"):
        assert {len(kill["found"][user]) for kill in kills if kill["case"] == KNOWN} == {1, 2}


def test_what_was_answered_is_there(kills: list[dict[str, Any]]) -> None:
    answered = [kill for kill in kills if kill["answered"]]
    assert len([kill for kill in answered if kill["died"] == ""]) == 3, "those that outlived their work"
    for kill in answered:
        assert kill["tmp"] == 0, kill
        assert [len(found) for found in kill["found"].values()] == [1 if kill["case"] == FRESH else 2] * 2, kill


def test_what_is_left_is_one_file_in_tmp(kills: list[dict[str, Any]]) -> None:
    assert all(kill["tmp"] <= 2 for kill in kills), "the message, and a maildirsize that is made"


def test_the_next_message_comes_in(kills: list[dict[str, Any]]) -> None:
    assert all(kill["next"] for kill in kills)


def test_no_kill_makes_a_maildrop_seem_emptier_than_it_is(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        for counted, there in kill["counted"].values():
            assert counted >= there, kill
    assert [kill for kill in kills if kill["counted"]["bob"][0] > kill["counted"]["bob"][1]], "between line and link"
