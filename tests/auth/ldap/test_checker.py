from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.credentials import Password
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.interfaces import IUserList
from mailserver.testing.contracts.checkers import UserListContract
from tests.auth.contract import CheckerContract
from tests.auth.ldap.checkers import BIND, COMPARE, CheckerOf
from tests.auth.ldap.slapd import PASSWORD, SERVICE, person


class SearchContractTests(CheckerOf, CheckerContract, TestCase):
    at_once = False


class CompareContractTests(CheckerOf, CheckerContract, TestCase):
    settings = COMPARE
    at_once = False


class BindContractTests(CheckerOf, CheckerContract, TestCase):
    settings = BIND
    at_once = False

    def make(self, users: Mapping[bytes, bytes]) -> Any:
        base = self.slapd.people({})
        for name, word in users.items():
            text = name.decode()
            self.slapd.add(person(base, text, word, employeeNumber=text, dn=f"employeeNumber={text},{base}"))
        return self.configured(base)


class ListContractTests(CheckerOf, UserListContract, TestCase):
    listed = ("alice", "Carol", "bob", "jörg@example.org", "jörg@example.net", "zoë", "a.b", "a")
    """A directory knows no capitals, so that it cannot have both "Bob" and "bob"."""

    def make(self, names: list[str]) -> Any:
        return self.configured(self.slapd.people({name.encode(): b"x" for name in names}), more="page_size = 2\n")


class HashTests(CheckerOf, TestCase):
    settings = COMPARE

    async def refusal(self, checker: Any, name: bytes, word: bytes) -> str:
        with pytest.raises(LoginRefused) as refused:
            await checker.requestAvatarId(Password(name, word))
        return refused.value.reason

    async def test_any_of_the_hashes_lets_in_and_the_log_hears_which(self) -> None:
        words = [b"{SSHA}CYrFiuxXH5hZ4tbQAwKVVZyjXUFDvcJdmlzLvw==", b"clear"]
        apps = [b"phone {PLAIN}of the phone", b"old expires=2020-01-01 {PLAIN}old"]
        base = self.slapd.people(
            {b"alice": b"", b"bob": b"x"},
            alice={"userPassword": words, "mailAppPassword": apps},
            bob={"accountStatus": "disabled"},
        )
        more = '[attributes]\napp_passwords = "mailAppPassword"\ndisabled = "accountStatus"\n'
        checker = self.configured(base, more=more)
        for word, secret in ((b"clear", ""), (b"of the phone", "phone")):
            answer: Any = await checker.requestAvatarId(Password(b"alice", word))
            assert (answer, answer.user.secret) == (b"alice", secret)
        assert await self.refusal(checker, b"alice", b"old") == "the app password 'old' has expired"
        assert await self.refusal(checker, b"alice", b"wrong") == "wrong password"
        assert await self.refusal(checker, b"bob", b"x") == "disabled in the directory: 'disabled'"
        assert await self.refusal(checker, b"nobody", b"x") == "unknown user"

    async def test_the_directory_never_sees_the_password(self) -> None:
        base = self.slapd.people({b"alice": b"{SSHA}CYrFiuxXH5hZ4tbQAwKVVZyjXUFDvcJdmlzLvw=="})
        checker = self.configured(base)
        await self.refusal(checker, b"alice", b"typed here")
        state: Any = checker._running
        assert all("bind" not in line.connections for line in state.servers._idle)


class MemoryTests(CheckerOf, TestCase):
    async def test_a_bind_is_remembered_only_if_the_file_says_so_until_sighup_or_a_change(self) -> None:
        for more, binds in (("", 3), ("remember_seconds = 60\n", 1)):
            base = self.slapd.people({b"alice": b"sesame"})
            checker = self.configured(base, more=more)
            asked: list[str] = []
            state: Any = checker._running
            original = state.questions.bind
            state.questions.bind = lambda *args, ask=original, seen=asked: (seen.append("bind"), ask(*args))[1]
            for _ in range(3):
                assert await checker.requestAvatarId(Password(b"alice", b"sesame")) == b"alice"
            assert len(asked) == binds
            with pytest.raises(LoginRefused):
                await checker.requestAvatarId(Password(b"alice", b"wrong"))
            assert len(asked) == binds + 1
            state.hashes.memory.clear()
            await checker.requestAvatarId(Password(b"alice", b"sesame"))
            assert len(asked) == binds + 2

    async def test_a_reload_reads_the_file_again_and_keeps_the_old_state_if_it_is_wrong(self) -> None:
        checker = self.configured(self.slapd.people({b"alice": b"sesame"}))
        path = self.folder / "ldap.toml"
        good = path.read_text()
        path.write_text("nonsense = 1\n")
        memory: Any = checker._running.hashes.memory
        memory.remember(b"alice", b"sesame", b"stored")
        with capturedLogs() as events:
            await checker.reload()
        assert not len(memory)
        assert [event["event"] for event in events if "event" in event] == ["auth.ldap.kept"]
        assert await checker.requestAvatarId(Password(b"alice", b"sesame")) == b"alice"
        path.write_text(good.replace("(uid={user})", "(cn={user})"))
        await checker.reload()
        with pytest.raises(LoginRefused):
            await checker.requestAvatarId(Password(b"alice", b"sesame"))


class AliasTests(CheckerOf, TestCase):
    async def test_a_restriction_by_an_alias_is_not_overlooked(self) -> None:
        base = self.slapd.people({b"alice": b"sesame"}, alice={"mail": "disabled"})
        for name, opens in (("mail", True), ("MAIL", True), ("rfc822Mailbox", False)):
            checker = self.configured(base, more=f'[attributes]\ndisabled = "{name}"\n')
            with capturedLogs() as events:
                if opens:
                    answer: Any = await checker.requestAvatarId(Password(b"alice", b"sesame"))
                    assert answer.user.denied == "disabled in the directory: 'disabled'"
                    continue
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(Password(b"alice", b"sesame"))
            reasons = [event["reason"] for event in events if "reason" in event]
            assert reasons == ["search: 'mail' was asked for by another name: give this one in [attributes]"]


class ListTests(CheckerOf, TestCase):
    async def test_thousands_of_users_are_listed_page_by_page(self) -> None:
        base = self.slapd.people({f"user{number:05}".encode(): b"x" for number in range(2500)})
        checker = self.configured(base, more="page_size = 300\n")
        found: list[str] = []
        while page := await checker.names(found[-1] if found else "", 1000):
            found += page
        assert found == [f"user{number:05}" for number in range(2500)]

    async def test_users_who_only_bind_are_not_looked_up_and_not_listed(self) -> None:
        checker = self.configured(self.slapd.people({}), settings=BIND)
        assert not IUserList.providedBy(checker)
        with pytest.raises(TemporaryFailure):
            await checker.lookup("alice")

    async def test_an_account_that_searches_looks_up_who_only_binds(self) -> None:
        base = self.slapd.people({})
        self.slapd.add(person(base, "alice", b"x", dn=f"uid=alice,{base}"))
        more = f'service_dn = "{SERVICE}"\nservice_password = "{PASSWORD}"\n'
        checker = self.configured(base, more=more, settings=BIND.replace("employeeNumber", "uid"))
        user = await checker.lookup("alice")
        assert user is not None
        assert await checker.lookup("nobody") is None
        assert await checker.lookup("Alice") is None
