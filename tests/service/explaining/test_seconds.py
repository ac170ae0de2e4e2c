"""What is said of a login where somebody who is asked does not answer, and that it is said soon."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from mailserver import reasons
from mailserver.control.client import PATIENCE_SECONDS
from mailserver.foresight import Attempt
from mailserver.service.explaining.checkers import CHECKER_SECONDS
from mailserver.service.explaining.walk import WALK_SECONDS
from tests.service.explaining.cases import Case, differences, server_of
from tests.service.explaining.logins import explained, served
from tests.service.explaining.rows import ALICE


def test_the_command_waits_for_longer_than_the_server_does() -> None:
    assert CHECKER_SECONDS < WALK_SECONDS < PATIENCE_SECONDS


def test_a_dovecot_that_hangs_is_left_sooner_than_by_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailserver.service.explaining.checkers.CHECKER_SECONDS", 0.02)
    monkeypatch.setattr("mailserver.auth.dovecot.service.ANSWER_SECONDS", 0.1)
    told = Case(Attempt("alice"), reasons.NOT_NOW, doubts="checker user", unless=True, tells="within 0.02 s")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/silent")
        silent.listen()
        with server_of(tmp_path, f"dovecot-auth:{tmp_path}/silent") as server:
            assert differences(server, {"hangs": told}) == []


HANGING = {
    "checker": "mailserver.auth.users.Users.secret_of",
    "user": "mailserver.auth.portal.MailboxRealm.user_of",
    "maildrop": "mailserver.store.memory.MemoryStore.look",
    "quota": "mailserver.store.memory.MemoryStore.usage",
}


@pytest.mark.parametrize("door", HANGING)
def test_a_door_that_hangs_is_told(door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailserver.service.explaining.walk.WALK_SECONDS", 0.02)
    with served(tmp_path, f"{ALICE}userdb_quota_rule=*:bytes=1M\n") as server:
        monkeypatch.setattr(HANGING[door], lambda *_: Deferred())
        *rows, end = explained(server, Attempt("alice")).rows
    assert (rows[-1]["door"], "within 0.02 s" in rows[-1]["says"]) == (door, True)
    assert end["verdict"] == ("let in" if door == "quota" else "refused")  # a full maildrop keeps nobody out
