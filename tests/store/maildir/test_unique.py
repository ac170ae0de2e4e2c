"""Names that are unique, and sort in the order of arrival."""

from __future__ import annotations

import os
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.store.maildir import filenames
from mailserver.store.maildir import unique as module
from mailserver.store.maildir.unique import UniqueNames, escaped

NOW = 1_700_000_000_123_456_789


def named(clock: int, host: str = "host") -> UniqueNames:
    return UniqueNames(host, lambda: clock)


def order(names: list[bytes]) -> list[tuple[int | None, bytes]]:
    """The keys by which a maildrop sorts (`rows`)."""
    return [(filenames.arrival(name), name) for name in names]


def test_a_name_has_the_form_of_maildir() -> None:
    name = named(NOW).name()
    assert re.fullmatch(rb"1700000000\.M123456P%dQ11R[0-9a-f]{6}\.host" % os.getpid(), name)
    assert filenames.arrival(name) == NOW // 1000
    assert filenames.unique_part(name + b",S=4,W=4:2,S") == filenames.unique_id(name) == name


def test_names_of_one_instant_differ_and_sort_as_they_were_made() -> None:
    names = named(NOW)
    made = [names.name() for _ in range(12_000)]
    assert len(set(made)) == len(made)
    assert sorted(made) == made
    times = [filenames.arrival(name) or 0 for name in made]
    assert all(a < b for a, b in pairwise(times)), "equal times would sort by new/ and cur/ first"


def test_names_go_on_when_the_clock_goes_back_a_little() -> None:
    times = iter([NOW, NOW - 1_000_000, NOW - 60_000_000_000, NOW + 5000])
    names = UniqueNames("host", lambda: next(times))
    made = [names.name() for _ in range(4)]
    assert all(a < b for a, b in pairwise(order(made)))
    assert filenames.arrival(made[3]) == NOW // 1000 + 5


def test_a_clock_that_was_years_ahead_is_not_followed() -> None:
    times = iter([NOW + 10**17, NOW])
    names = UniqueNames("host", lambda: next(times))
    names.name()
    assert filenames.arrival(names.name()) == NOW // 1000


def test_a_process_with_the_same_pid_makes_other_names() -> None:
    made = {named(NOW).name() for _ in range(20)}
    assert len(made) == 20


def test_a_forked_process_makes_names_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = named(NOW)
    parents = names.name()
    monkeypatch.setattr(module.os, "getpid", lambda: 4_194_303)
    child = names.name()
    assert b"P4194303Q" in child
    assert child.partition(b"R")[2] != parents.partition(b"R")[2]


def test_what_is_kept_has_its_own_time_and_the_order_of_its_commits() -> None:
    names = named(NOW)
    made = [names.name(1_600_000_000.5) for _ in range(15)]
    assert {filenames.arrival(name) for name in made} == {1_600_000_000_500_000}
    assert sorted(made) == made
    assert filenames.arrival(names.name(-3.0)) == 0


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("mail.example.com", b"mail.example.com"),
        ("a/b:c", rb"a\057b\072c"),
        ("a,S=9", rb"a\054S\0759"),
        ("höst", rb"h\303\266st"),
        ("", b"localhost"),
    ],
)
def test_a_host_is_escaped(host: str, name: bytes) -> None:
    assert escaped(host) == name


@given(st.text())
def test_any_host_gives_a_name_that_is_a_unique_id(host: str) -> None:
    names = UniqueNames(host.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"), lambda: NOW)
    names._number = 999_999_998  # and the pid of a large machine has 7 digits
    name = names.name() + b"0" * (7 - len(str(os.getpid())))
    assert filenames.unique_id(name) == filenames.unique_part(name + b",S=1:2,") == name
    assert b"/" not in name


def test_long_hosts_with_one_beginning_differ() -> None:
    hosts = {escaped(f"mail.of.a.department.example.{tld}") for tld in ("com", "net", "org")}
    assert len(hosts) == 3
    assert {len(host) for host in hosts} == {24}
