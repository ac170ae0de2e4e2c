"""The answers of the process that asks PAM, asked without it."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from mailserver.pam import login
from mailserver.pam.libpam import BUF_ERR, CONV_ERR, ITEM_USER, Libraries, Trouble
from mailserver.pam.login import Policy, Talk, answer, octets, text
from tests.auth.pam.stacks import SERVICE, of_probe

LIBRARIES = Libraries()


def asked(folder: Path, name: str = "alice", password: str = "tanstaaf", peer: str = "", min_uid: int = 1000) -> Any:
    policy = Policy(SERVICE, str(folder), min_uid, 1)
    request = {"ask": "login", "name": name, "password": password, "peer": peer}
    return answer(request, policy, LIBRARIES)


def test_a_login_is_taken_with_the_name_that_modules_make_of_it(tmp_path: Path) -> None:
    assert asked(of_probe(tmp_path, "")) == {"verdict": "taken", "user": "alice", "home": ""}
    nobody = pwd.getpwnam("nobody")
    taken = asked(of_probe(tmp_path, "name=nobody"), peer="192.0.2.1")
    assert taken == {"verdict": "taken", "user": "nobody", "home": nobody.pw_dir}


def test_modules_are_told_that_who_has_no_password_may_not_log_in(tmp_path: Path) -> None:
    assert asked(of_probe(tmp_path, "strict"))["verdict"] == "taken"


def test_a_refusal_has_its_reason(tmp_path: Path) -> None:
    refused = asked(of_probe(tmp_path, "result=10"))
    assert refused["verdict"] == "refused"
    assert refused["reason"].startswith("unknown user, says PAM (pam_authenticate: User not known")
    assert refused["known"] is False
    assert refused["hint"]
    assert asked(of_probe(tmp_path, "account=13"))["reason"].startswith(
        "the account has expired, says PAM (pam_acct_mgmt"
    )
    assert asked(of_probe(tmp_path, "prompts=0"))["known"] is True


def test_users_who_are_the_systems_are_refused(tmp_path: Path) -> None:
    assert asked(of_probe(tmp_path, ""), "root", min_uid=0)["reason"] == "uid 0 is not for mail"
    assert asked(of_probe(tmp_path, ""), "daemon")["reason"] == "uid 1 is below min_uid=1000"
    assert asked(of_probe(tmp_path, "result=7"), "daemon")["reason"] == "uid 1 is below min_uid=1000"
    assert asked(of_probe(tmp_path, "name=root"))["reason"] == "uid 0 is not for mail"


def test_what_is_not_about_the_user_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="pam_authenticate: Authentication service cannot retrieve"):
        asked(of_probe(tmp_path, "result=9"))
    with pytest.raises(Trouble, match="there is no"):
        asked(tmp_path / "nowhere")
    with pytest.raises(Trouble, match="no library"):
        answer({"ask": "user", "name": "alice"}, Policy(SERVICE, "", 1000, 1), "no library")


def test_a_check_says_what_is_missing(tmp_path: Path) -> None:
    policy = Policy(SERVICE, str(of_probe(tmp_path, "")), 1000, 1)
    checked = {"verdict": "checked", "problem": "", "uid": os.geteuid()}
    assert answer({"ask": "check"}, policy, LIBRARIES) == checked
    assert answer({"ask": "check"}, policy, "no library") == {**checked, "problem": "no library"}
    (tmp_path / SERVICE).unlink()
    assert "create it" in answer({"ask": "check"}, policy, LIBRARIES)["problem"]


def test_a_user_is_looked_up() -> None:
    policy = Policy(SERVICE, "", 1000, 1)
    nobody = pwd.getpwnam("nobody")
    policy.min_uid = nobody.pw_uid
    request = {"ask": "user", "name": "nobody"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(login, "FOLDERS", ("/no/such/folder",))  # then pam.conf may have the service
        assert answer(request, policy, LIBRARIES) == {"verdict": "taken", "user": "nobody", "home": nobody.pw_dir}
        for name, why in {"root": "uid 0 is not for mail", "no-such-user": "", text(b"\xff"): ""}.items():
            told = {"verdict": "unknown", "reason": why}
            assert answer({**request, "name": name}, policy, LIBRARIES) == told


@pytest.mark.parametrize("typed", ["ALICE", "Alice"])
def test_a_user_has_one_name_though_the_systems_list_ignores_capitals(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SSSD and winbind may: each name would have a maildrop of its own, and guesses of its own."""
    known = {b"alice": (2000, b"/home/alice", b"alice")}
    monkeypatch.setattr(LIBRARIES, "entry", lambda name: known.get(name.lower()))
    stack = of_probe(tmp_path, f"record={tmp_path}/record")
    assert asked(stack)["verdict"] == "taken"
    refused = asked(stack, typed)
    assert refused["reason"] == "'alice' is known; capitals matter unless names.case is \"lower\""
    assert refused["known"] is False
    right, other = (tmp_path / "record").read_text().splitlines()
    assert "tanstaaf" in right
    assert "tanstaaf" not in other  # but PAM was asked
    policy = Policy(SERVICE, str(tmp_path), 1000, 1)
    assert answer({"ask": "user", "name": typed}, policy, LIBRARIES) == {
        "verdict": "unknown",
        "reason": refused["reason"],
    }


def test_octets_of_any_kind_pass() -> None:
    everything = bytes(range(256))
    assert octets(text(everything)) == everything


@pytest.mark.parametrize(("code", "expected"), [(errno.ENOENT, None), (errno.ESRCH, None), (errno.EIO, Trouble)])
def test_only_who_is_surely_unknown_is(code: int, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIBRARIES.c, "getpwnam_r", lambda *_: code)
    if expected is None:
        assert LIBRARIES.entry(b"alice") is None
    else:
        with pytest.raises(expected, match="getpwnam: Input/output error"):
            LIBRARIES.entry(b"alice")


def test_an_entry_may_be_long_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(LIBRARIES.c, "getpwnam_r", lambda *given: sizes.append(given[3]) or errno.ERANGE)
    with pytest.raises(Trouble, match="getpwnam"):
        LIBRARIES.entry(b"alice")
    assert sizes == [1 << 14, 1 << 16, 1 << 18, 1 << 20]


def test_a_service_that_cannot_be_begun_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIBRARIES.c, "pam_start", lambda *_: BUF_ERR)
    with pytest.raises(Trouble, match="pam_start: Memory buffer error"):
        LIBRARIES.start(SERVICE, "", b"alice", login.Conversation())


def test_a_conversation_without_end_or_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(LIBRARIES, b"tanstaaf")
    for count in (0, -1, 33):
        assert talk.converse(count, None, None, None) == CONV_ERR
    monkeypatch.setattr(LIBRARIES.c, "calloc", lambda *_: None)
    assert talk.converse(1, None, None, None) == BUF_ERR
    talk.held_back(0, 5_000_000, None)
    assert talk.delay == 0
    talk.held_back(7, 5_000_000, None)
    assert talk.delay == 5
    assert ITEM_USER == 2
