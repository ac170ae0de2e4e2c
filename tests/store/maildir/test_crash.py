"""SIGKILL at every step of a commit, and at every step of the login that finishes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.store.maildir.crash import ALL, KEPT, TARGETS

OURS = {"new", "cur", "tmp", "mailserver-lock", "mailserver-index", ".Trash", "mailserver-kept"}


PLACES = {"expunge": "", "trash": ".Trash/cur/", "keep": "mailserver-kept/1800000000000000000-7/"}


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return PLACES[request.param]


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory, place: str) -> list[dict[str, Any]]:
    return killed(tmp_path_factory.mktemp("crash"), place)


@pytest.fixture(scope="module")
def kills_of_undelete(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return killed(tmp_path_factory.mktemp("undelete"), PLACES["keep"], "undelete")


def killed(directory: Path, *arguments: str, module: str = "tests.store.maildir.crash") -> list[dict[str, Any]]:
    # Coverage would write its own files in each of the hundreds that die, and these calls would be counted as steps.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    run = subprocess.run(
        [sys.executable, "-m", module, directory, *arguments],
        cwd=Path(__file__).parents[3], env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_the_kills_fall_on_every_kind_of_step(kills: list[dict[str, Any]], place: str) -> None:
    commits = [kill["died"] for kill in kills if not kill["recovering"]]
    assert {"open", "write", "fsync", "rename", "unlink", "scandir", "close"} <= set(commits)
    ways = 1 if place else 2  # whole; and torn, but where they are kept
    assert commits.count("unlink") >= ways * (2 + 1)  # two messages and the journal
    assert [kill for kill in kills if kill["recovering"] and kill["died"] == "unlink"]


def test_a_commit_is_all_or_nothing_wherever_it_is_killed(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        assert set(kill["found"]) in (ALL, KEPT), kill
        assert kill["intact"], kill


def test_what_was_promised_is_kept_and_nothing_else_is_deleted(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        if kill["promised"]:
            assert set(kill["found"]) == KEPT, kill
    assert {True, False} == {kill["promised"] for kill in kills}
    assert any(set(kill["found"]) == ALL for kill in kills)


def test_the_login_that_finishes_may_be_killed_as_well(kills: list[dict[str, Any]]) -> None:
    finished = [kill for kill in kills if kill["recovering"]]
    assert len(finished) > 10
    assert all(set(kill["found"]) == KEPT for kill in finished)


def test_the_next_login_finds_the_same(kills: list[dict[str, Any]]) -> None:
    assert all(kill["again"] for kill in kills)
    assert all(set(kill["rest"]) - {"mailserver-journal.tmp", "mailserver-index.tmp"} <= OURS for kill in kills)


def test_no_message_is_lost_that_is_to_be_kept(kills: list[dict[str, Any]], place: str) -> None:
    for kill in kills if place else ():
        assert kill["lost"] == [], kill
        if set(kill["found"]) == KEPT:
            assert sorted(kill["lying"].values()) == sorted(TARGETS), kill


def test_the_kills_of_an_undelete_fall_on_every_kind_of_step(kills_of_undelete: list[dict[str, Any]]) -> None:
    assert {"rename", "link", "fsync", "unlink", "rmdir"} <= {kill["died"] for kill in kills_of_undelete}


def test_an_undelete_loses_nothing_and_another_one_finishes_it(kills_of_undelete: list[dict[str, Any]]) -> None:
    for kill in kills_of_undelete:
        assert set(kill["deleted"]) == KEPT, kill
        assert set(kill["whole"]) == ALL, kill
        assert kill["whole"] == sorted(kill["whole"], key=lambda name: name[4:]), "in their old places"
        assert kill["intact"], kill
        assert kill["more"] == 0, "it brings back one session, however often it is killed"
        assert kill["rest"] == [], kill
