"""``mailserver users``: whom the databases know."""

import json
import os

import pytest

from tests.cli.running import run
from tests.cli.test_quota import settings
from tests.servers import Site


@pytest.fixture(scope="module")
def site():
    with Site() as made:
        made.account("alice", extra="userdb_quota_rule=*:storage=1000K:messages=10 allow_nets=10.0.0.0/8")
        made.account("bob", extra="nologin=y reason=unpaid")
        made.account("carol", extra="userdb_mail=nonsense:/x")
        yield made


def rows(told):
    return {row["user"]: row for row in map(json.loads, told.stdout.splitlines())}


def test_each_user_is_shown_with_what_is_known_of_it(site):
    told = run("users", *settings(site), "--json")
    assert told.returncode == 0
    found = rows(told)
    assert list(found) == ["alice", "bob", "carol"]
    alice = found["alice"]
    assert alice["checker"] == f"passwd-file:{site.users}"
    assert alice["maildrop"] == f"{site.accounts[0].maildir}/"
    assert (alice["quota_octets"], alice["quota_messages"], alice["disabled"]) == (1_024_000, 10, "")
    assert found["bob"]["disabled"]
    assert (alice["networks"], found["bob"]["networks"]) == (["10.0.0.0/8"], [])
    assert "names no store" in found["carol"]["maildrop_problem"]


def test_people_get_a_table_and_may_give_a_pattern(site):
    lines = run("users", *settings(site, quota={"octets": 5000}), "[ab]*").stdout.decode().splitlines()
    assert lines[0].split() == ["USER", "CHECKER", "MAILDROP", "QUOTA", "MAY", "NOT"]
    assert [line.split()[0] for line in lines[1:]] == ["alice", "bob"]
    assert "5,000 octets" in lines[2]
    assert "log in:" in lines[2]


def test_a_pattern_that_fits_nobody_is_1(site):
    told = run("users", *settings(site), "nobody*")
    assert (told.returncode, told.stdout) == (1, b"")


def test_a_checker_that_cannot_list_is_told_without_its_secret_and_the_others_are_shown(site):
    both = {"checkers": ["memory:carol:secret", f"passwd-file:{site.users}"]}
    told = run("users", *settings(site, auth=both), "--json")
    assert told.returncode == os.EX_UNAVAILABLE
    assert told.stderr.endswith(b"\nmailserver: memory:... cannot list its users: name them\n")
    assert len(rows(told)) == 3
