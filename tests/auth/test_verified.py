from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mailserver.auth.verified import VerifiedPasswords

ALICE = (b"alice", b"tanstaaf", b"$6$stored")


def test_it_knows_what_it_was_told_and_nothing_else() -> None:
    cache = VerifiedPasswords(Clock().seconds)
    assert not cache.knows(*ALICE)
    cache.remember(*ALICE)
    assert cache.knows(*ALICE)
    assert not cache.knows(b"bob", *ALICE[1:])
    assert not cache.knows(b"alice", b"wrong", b"$6$stored")


def test_another_secret_is_another_question() -> None:
    cache = VerifiedPasswords(Clock().seconds)
    cache.remember(*ALICE)
    assert not cache.knows(b"alice", b"tanstaaf", b"$6$changed")


@given(st.tuples(st.binary(), st.binary(), st.binary()), st.tuples(st.binary(), st.binary(), st.binary()))
def test_no_two_triples_are_the_same(one: tuple[bytes, bytes, bytes], other: tuple[bytes, bytes, bytes]) -> None:
    cache = VerifiedPasswords(Clock().seconds)
    cache.remember(*one)
    assert cache.knows(*other) == (one == other)


def test_where_a_field_ends_counts() -> None:
    cache = VerifiedPasswords(Clock().seconds)
    cache.remember(b"ab", b"c", b"d")
    assert not cache.knows(b"a", b"bc", b"d")
    assert not cache.knows(b"ab", b"cd", b"")


def test_it_forgets_in_time() -> None:
    clock = Clock()
    cache = VerifiedPasswords(clock.seconds, lifetime=10)
    cache.remember(*ALICE)
    clock.advance(9.9)
    assert cache.knows(*ALICE)
    clock.advance(0.1)
    assert not cache.knows(*ALICE)
    assert len(cache) == 0


def test_the_least_recently_used_goes_first() -> None:
    cache = VerifiedPasswords(Clock().seconds, size=2)
    cache.remember(b"a", b"", b"")
    cache.remember(b"b", b"", b"")
    assert cache.knows(b"a", b"", b"")
    cache.remember(b"c", b"", b"")
    assert not cache.knows(b"b", b"", b"")
    assert cache.knows(b"a", b"", b"")
    assert len(cache) == 2


def test_it_keeps_no_password() -> None:
    cache = VerifiedPasswords(Clock().seconds)
    cache.remember(*ALICE)
    kept = repr([vars(cache), list(cache._until)])
    assert not any(part.decode() in kept for part in ALICE)


def test_clear_forgets_all() -> None:
    cache = VerifiedPasswords(Clock().seconds)
    cache.remember(*ALICE)
    cache.clear()
    assert not cache.knows(*ALICE)
