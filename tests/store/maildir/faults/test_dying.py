"""SIGKILL at every change that a repair makes: no message is lost or gets another unique-id, and the next repair does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.store.maildir.faults.dying import KINDS
from tests.store.maildir.test_crash import killed


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    directory: Path = tmp_path_factory.mktemp("repair") / "Maildir"
    return killed(directory, module="tests.store.maildir.faults.dying")


def test_the_kills_fall_on_every_kind_of_change_of_every_kind_of_fault(kills: list[dict[str, Any]]) -> None:
    assert {"write", "fsync", "link", "rename", "unlink", "mkdir", "rmdir", "chmod"} <= {kill["died"] for kill in kills}
    assert len(kills) > 40
    assert {*kills[0]["kinds"]} == KINDS


def test_no_message_is_lost_by_a_kill_or_by_the_next_repair(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        assert kill["lost"] == 0, kill
        assert kill["whole"], kill


def test_each_message_keeps_its_unique_id(kills: list[dict[str, Any]]) -> None:
    assert all(kill["same"] for kill in kills), [kill for kill in kills if not kill["same"]]


def test_the_next_repair_does_the_rest(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        assert (kill["left"], kill["found"]) == ([], []), kill
