"""Why a login is refused: each refusal names its reason, and the page has the reasons' words."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

from mailserver import errors, reasons
from mailserver.errors import Refusal, StoreError, TemporaryFailure
from mailserver.reasons import REASONS, Reason, of_event

ROOT = Path(__file__).parents[1]
CONSTANTS = {name: value for name, value in vars(reasons).items() if isinstance(value, Reason)}


def refusals() -> list[tuple[str, ast.expr]]:
    """Each place where a login is refused with a reason: the file, and the reason as it stands there."""
    found = []
    for path in sorted((ROOT / "mailserver").rglob("*.py")):
        if path.is_relative_to(ROOT / "mailserver/testing"):  # its users and its refusals are a test's
            continue
        calls = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)]
        refused = [each for each in calls if getattr(each.func, "id", "") == "LoginRefused"]
        found += [(str(path.relative_to(ROOT)), each.args[0]) for each in refused]
    return found


def test_each_refusal_names_a_reason_of_the_table() -> None:
    found = refusals()
    assert len(found) > 40, "the search finds nothing any more"
    loose = {
        (path, ast.unparse(reason))
        for path, reason in found
        if not (
            isinstance(reason, ast.Name | ast.Attribute) and ast.unparse(reason).removeprefix("reasons.") in CONSTANTS
        )
    }
    carried = {  # a reason that was one already
        ("mailserver/auth/refusals.py", "given[0].why"),
        ("mailserver/auth/identities.py", "credentials.why"),
        ("mailserver/auth/pam/checker.py", "why"),
        ("mailserver/auth/entry.py", "why"),
    }
    assert loose == carried


def test_each_reason_is_somebody_s() -> None:
    """A reason that nothing names any more is a word that no log has."""
    code = (path.read_text() for path in (ROOT / "mailserver").rglob("*.py"))
    used = Counter(word for text in code for word in re.findall(r"\b[A-Z_]{2,}\b", text))
    assert [name for name in CONSTANTS if used[name] < 2] == []
    assert sorted(REASONS) == sorted(each.name for each in CONSTANTS.values())


@pytest.mark.parametrize("reason", REASONS.values(), ids=lambda each: each.name)
def test_a_reason_has_a_word_for_programs_and_words_for_people(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z]+(?:-[a-z]+)*", reason.name)
    assert reason.words
    assert reason.remedy
    assert not reason.remedy.endswith(".")


def test_what_refuses_a_login_has_its_reason_in_its_class() -> None:
    classes = [each for each in vars(errors).values() if inspect.isclass(each)]
    with_reason = {each.__name__ for each in classes if issubclass(each, Refusal | StoreError) and each.why is not None}
    assert {"HeldTooLong", "LoginTooSoon", "MaildropInUse", "NoMaildrop", "MaildropCorrupt", "NeedsTLS"} <= with_reason
    assert TemporaryFailure.why is reasons.NOT_NOW


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"event": "pop3.login_failed", "why": "wrong-password"}, reasons.WRONG_PASSWORD),
        ({"event": "pop3.login_failed", "why": "of another version"}, None),
        ({"event": "store", "why": "in-use"}, reasons.IN_USE),
        ({"event": "store", "why": ""}, None),
        ({"event": "pop3.login_delayed"}, reasons.LOGIN_DELAY),
        ({"event": "pop3.turned_away"}, reasons.TURNED_AWAY),
        ({"event": "pop3.session"}, None),
        ({}, None),
    ],
)
def test_an_event_of_the_log_tells_the_reason(event: dict[str, str], reason: Reason | None) -> None:
    assert of_event(event) is reason


def test_the_page_has_each_reason() -> None:
    page = (ROOT / "docs/logging.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert rows == [(each.name, each.words, each.remedy) for each in REASONS.values()]
