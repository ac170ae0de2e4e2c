"""Several secrets of one user: which one lets in, as whom, and what a refusal costs."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import md5
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth import verifying as module
from mailserver.auth.entry import Entry, Stored, both, by_app, read_listeners
from mailserver.auth.schemes import Secret, read_secret
from mailserver.auth.verified import VerifiedPasswords
from mailserver.auth.verifying import UNKNOWN, Others, Verifying
from mailserver.credentials import Apop, CramMd5, Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import User

NOW = 1000.0
ALICE = User("alice", listeners=frozenset({"pop3", "pop3s"}))


def clear(text: str) -> Secret:
    return read_secret(b"{PLAIN}" + text.encode())


def app(name: str, text: str, *listeners: str, expires: float = NOW + 1) -> Stored:
    return Stored(clear(text), by_app(ALICE, name, frozenset(listeners)), expires)


class VerifyingCase(TestCase):
    def setUp(self) -> None:
        self.done: list[str] = []
        self.verifying = Verifying(
            VerifiedPasswords(lambda: 0.0), lambda name, by: LoginRefused(f"{name!r} {by!r}"), lambda: NOW
        )
        self.verifying.hashing.start(reactor)
        self.addCleanup(self.verifying.hashing.stop)

    def slow(self, name: str, right: bytes = b"-") -> Secret:
        return Secret("X", name.encode(), self.counts(name, right), slow=True, cost=(name.partition(" ")[0],))

    def counts(self, name: str, right: bytes) -> Callable[[bytes], bool]:
        def verify(password: bytes) -> bool:
            self.done.append(name)
            return password == right

        return verify

    async def by_password(self, entry: Entry, text: str, others: Others = Others()) -> User:  # noqa: B008 - frozen
        user_id: Any = self.verifying.password(Password(b"alice", text.encode()), entry, others)
        return (user_id if isinstance(user_id, bytes) else await user_id).user  # type: ignore[attr-defined]


class AppPasswordTests(VerifyingCase):
    entry = Entry(
        ALICE,
        clear("own"),
        others=(app("phone", "one", "pop3s"), app("old", "two", expires=NOW), app("laptop", "three")),
    )

    async def test_the_secret_decides_as_whom_it_lets_in(self) -> None:
        assert await self.by_password(self.entry, "own") == ALICE
        phone = await self.by_password(self.entry, "one")
        assert (phone.secret, phone.listeners) == ("phone", {"pop3s"})
        laptop = await self.by_password(self.entry, "three")
        assert (laptop.secret, laptop.listeners) == ("laptop", ALICE.listeners)

    async def test_an_expired_one_is_refused_and_the_log_says_why(self) -> None:
        with pytest.raises(LoginRefused) as refused:
            await self.by_password(self.entry, "two")
        assert refused.value.reason == "the app password 'old' has expired"

    async def test_of_two_with_the_same_password_the_one_that_has_not_expired_counts(self) -> None:
        entry = Entry(ALICE, others=(app("old", "same", expires=NOW), app("new", "same")))
        assert (await self.by_password(entry, "same")).secret == "new"

    async def test_a_slow_one_costs_a_hash_once(self) -> None:
        entry = Entry(ALICE, self.slow("A own"), others=(Stored(self.slow("A app", b"right"), by_app(ALICE, "phone")),))
        for _ in range(3):
            assert (await self.by_password(entry, "right")).secret == "phone"
        assert self.done == ["A own", "A app"]

    async def test_one_that_expires_is_refused_though_it_is_remembered(self) -> None:
        stored = Stored(self.slow("A app", b"right"), by_app(ALICE, "phone"), NOW + 1)
        await self.by_password(Entry(ALICE, others=(stored,)), "right")
        with pytest.raises(LoginRefused):
            await self.by_password(Entry(ALICE, others=(Stored(stored.secret, stored.user, NOW),)), "right")
        assert self.done == ["A app"]

    async def test_a_wrong_password_costs_what_it_costs_for_an_unknown_user_at_least(self) -> None:
        others = Others(self.slow("A decoy"))
        fast = Entry(ALICE, clear("own"), others=(app("phone", "one"),))
        dear = Entry(ALICE, clear("own"), others=(Stored(self.slow("B app"), ALICE), Stored(self.slow("A app"), ALICE)))
        for entry, work in ((UNKNOWN, ["A decoy"]), (fast, ["A decoy"]), (dear, ["B app", "A app"])):
            with pytest.raises(LoginRefused):
                await self.by_password(entry, "wrong", others)
            assert self.done == work
            self.done.clear()

    async def test_a_digest_is_right_by_any_secret_in_clear(self) -> None:
        entry = Entry(ALICE, self.slow("A own"), others=(app("phone", "one"), app("old", "two", expires=NOW)))
        proof = {text: hmac.digest(text.encode(), b"<1@h>", "md5").hex().encode() for text in ("one", "two", "own")}
        stamped = {text: md5(b"<1@h>" + text.encode()).hexdigest().encode() for text in proof}
        for others in (Others(), Others(contexts=True)):
            for credentials in (CramMd5(b"alice", b"<1@h>", proof["one"]), Apop(b"<1@h>", b"alice", stamped["one"])):
                user_id: Any = self.verifying.digest(credentials, entry, others)
                assert user_id.user.secret == "phone"
            for text in ("two", "own"):
                with pytest.raises(LoginRefused):
                    self.verifying.digest(CramMd5(b"alice", b"<1@h>", proof[text]), entry, others)

    async def test_scram_and_digest_md5_know_the_own_secret_alone(self) -> None:
        entry = Entry(ALICE, others=(app("phone", "one"),))
        for mechanism in (b"SCRAM-SHA-1", b"SCRAM-SHA-256"):
            keys: Any = self.verifying.scram_keys(b"alice", mechanism, entry, Others(clear=True))
            unknown: Any = self.verifying.scram_keys(b"alice", mechanism, UNKNOWN, Others(clear=True))
            assert await keys == await unknown
        key = self.verifying.digest_key(b"alice", b"r", entry)
        assert key == self.verifying.digest_key(b"alice", b"r", UNKNOWN)

    async def test_contexts_of_cram_md5_take_the_same_work_for_an_unknown_user(self) -> None:
        made: list[bytes] = []
        self.patch(module, "hmac_md5", lambda states, _: made.append(states) or b"")
        credentials = CramMd5(b"alice", b"<1@h>", b"c" * 32)
        for entry in (UNKNOWN, Entry(ALICE, clear("own"))):
            with pytest.raises(LoginRefused):
                self.verifying.digest(credentials, entry, Others(contexts=True))
        assert made == made[:1] * 2


def test_a_user_with_app_passwords_can_use_what_each_secret_can_serve() -> None:
    assert {b"APOP", b"CRAM-MD5", b"SCRAM-SHA-1", b"DIGEST-MD5"} < Entry(ALICE, clear("own")).able()
    assert Entry(ALICE, clear("own"), others=(app("phone", "one"),)).able() == {b"APOP", b"CRAM-MD5"}
    hashed = Stored(read_secret(b"{PLAIN-MD5}" + md5(b"x").hexdigest().encode()), ALICE)
    assert Entry(ALICE, clear("own"), others=(hashed,)).able() == set()


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ("", "", ""),
        ("", "pop3s", "pop3s"),
        ("pop3 pop3s", "pop3s kpop", "pop3s"),
        ("tls", "pop3", "pop3+tls"),
        ("tls", "pop3 tls", "tls pop3+tls"),
        ("tls", "pop3+tls", "pop3+tls"),
        ("pop3+tls", "pop3", "pop3+tls"),
        ("pop3", "kpop", "none"),
    ],
)
def test_what_both_sets_of_listeners_allow(first: str, second: str, allowed: str) -> None:
    one, other = frozenset(first.split()), frozenset(second.split())
    assert both(one, other) == both(other, one) == frozenset(allowed.split())


def test_listeners_are_names_between_commas() -> None:
    assert read_listeners("POP3s,tls,pop3+tls") == {"pop3s", "tls", "pop3+tls"}
    for text in ("", ",", "pop3s,", "pop3 s", "pop3s\n,x", "+tls", "é"):
        with pytest.raises(ValueError, match="names no listeners"):
            read_listeners(text)


def test_the_name_of_an_app_password_is_fit_for_the_log() -> None:
    assert by_app(ALICE, "a\nb\x1b[1m").secret == "a?b?[1m"
    assert by_app(ALICE, "").secret == "unnamed"
