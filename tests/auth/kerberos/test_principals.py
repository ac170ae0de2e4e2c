from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.kerberos.principals import PrincipalMap
from mailserver.names import user_name


@pytest.mark.parametrize(
    ("rules", "principal", "users"),
    [
        ([], "alice@R", None),
        (["alice@R -> alice"], "alice@R", ["alice"]),
        (["alice@R->alice"], "alice@R", ["alice"]),
        (["  alice/admin@R  ->  alice  "], "alice/admin@R", ["alice"]),
        (["alice@R -> alice"], "alice@r", None),
        (["alice@R -> alice"], "alice/admin@R", None),
        (["alice@R -> alice"], "malice@R", None),
        (["a.ice@R -> alice"], "alice@R", None),
        (["alice@R -> support", "alice@R -> alice"], "alice@R", ["support", "alice"]),
        (["alice@R -> with space"], "alice@R", ["with space"]),
        ([r"alice@R -> back\1slash"], "alice@R", [r"back\1slash"]),
        ([r"~ (.+)@EXAMPLE\.ORG -> \1@example.org"], "alice@EXAMPLE.ORG", ["alice@example.org"]),
        ([r"~(.+)@EXAMPLE\.ORG -> \1"], "alice@EXAMPLExORG", None),
        ([r"~ (?P<user>\w+)/mail@R -> \g<user>"], "alice/mail@R", ["alice"]),
        ([r"~ (?i)(\w+)@r -> \1"], "alice@R", ["alice"]),
        ([r"~ alice@R -> alice"], "alice@R.EVIL", None),
        ([r"~ alice@R -> alice"], "x/alice@R", None),
        ([r"~ alice@R|bob@R -> shared"], "alice@R.EVIL", None),
        ([r"~ alice@R|bob@R -> shared"], "bob@R", ["shared"]),
        ([r"~ ^alice@R$ -> alice"], "alice@R\n", None),
        ([r"~ (.*)@R -> \1"], "@R", []),
        ([r"~ (.*)@R -> \1"], "alice/admin@R", []),
        ([r"~ (.*)@R -> \1"], "..@R", []),
        ([r"~ (.*)@R -> ../\1"], "alice@R", []),
        ([r"~ (.+)(x)?@R -> \1\2"], "alice@R", ["alice"]),
        ([r"~ a->b@R -> c"], "a->b@R", ["c"]),
    ],
)
def test_a_rule_makes_users_of_principals_that_fit_it_wholly(rules, principal, users):
    assert PrincipalMap(rules).users(principal) == users


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "is not a rule such as"),
        ("alice@R", "is not a rule such as"),
        ("alice@R ->", "is not a rule such as"),
        ("-> alice", "is not a rule such as"),
        ("alice -> alice", "written with its realm"),
        ("alice@R -> ../alice", "cannot be a user's name"),
        ("~ ( -> alice", "is not a rule: missing"),
        (r"~ (.+)@R -> \2", "is not a rule: invalid group reference"),
        (r"~ (.+)@R -> \g<user>", "is not a rule: unknown group name"),
        (r"~ (.+)@R -> \q", "is not a rule: bad escape"),
        ("~ -> alice", "is not a rule such as"),
    ],
)
def test_what_is_no_rule_is_an_error_that_names_it(rule, reason):
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        PrincipalMap(["alice@R -> alice", rule])
    assert f'"{rule}"' in str(caught.value)


@given(st.text())
def test_no_principal_becomes_what_is_no_name(principal):
    users = PrincipalMap([r"~ (?s)(.*)@R -> \1"]).users(principal + "@R")
    assert users in ([], [principal])
    assert all(user_name(user) == user for user in users)


@given(st.text(min_size=1).filter(lambda text: text.strip() == text and not text.startswith("~") and "->" not in text))
def test_a_plain_rule_fits_its_principal_and_nothing_else(principal):
    rules = PrincipalMap([f"{principal}@R -> alice"])
    assert rules.users(f"{principal}@R") == ["alice"]
    assert rules.users(f"{principal}x@R") is None
