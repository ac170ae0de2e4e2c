"""The extra fields that say how a user is served, and app passwords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth import PasswordFile
from mailserver.auth.entry import MAX_SECRETS, Entry
from mailserver.auth.passwd.table import Table, read_table
from mailserver.credentials import Apop, Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import Quota, User, UserId
from mailserver.testing.contracts.checkers import STAMP, digest
from tests.auth.vectors import SECRETS


def table(extra: str, secret: str = "{PLAIN}own") -> Table:
    return read_table(f"alice:{secret}::::::{extra}\n".encode())


def entry(extra: str, secret: str = "{PLAIN}own") -> Entry:
    return table(extra, secret).entries[b"alice"]


@pytest.mark.parametrize(
    ("extra", "user"),
    [
        ("listeners=pop3s,tls", User("alice", listeners=frozenset({"pop3s", "tls"}))),
        ("read_only", User("alice", read_only=True)),
        ("read_only=Yes", User("alice", read_only=True)),
        ("read_only=no", User("alice")),
        ("expire_days=0 login_delay=300", User("alice", expire_days=0, login_delay=300)),
        ("disabled=no", User("alice")),
        ("userdb_quota_rule=*:storage=2:messages=10", User("alice", quota=Quota(2048, 10))),
        ("userdb_quota_rule=*:bytes=2G", User("alice", quota=Quota(2 * 1024**3))),
        ("userdb_quota_rule=*:storage=1MB userdb_quota_rule2=*:messages=5", User("alice", quota=Quota(1024**2, 5))),
        ("userdb_quota_rule=Trash:storage=+100M", User("alice")),
        ("userdb_quota_rule=*:ignore", User("alice")),
        ("userdb_quota_storage_size=1GiB userdb_quota_message_count=7", User("alice", quota=Quota(1024**3, 7))),
        ("userdb_quota_storage_size=unlimited", User("alice")),
    ],
)
def test_the_fields_of_a_user(extra: str, user: User) -> None:
    read = table(extra)
    assert read.entries[b"alice"].user == user
    assert (read.notes, read.ignored) == ((), frozenset())


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ("disabled", "disabled"),
        ("disabled=1 reason=unpaid", "disabled (reason='unpaid')"),
        ("disabled=unpaid", "disabled: 'unpaid'"),
        ("listeners=", "listeners names no listeners, such as pop3s or tls: ''"),
        ("listeners=pop3s;pop3", "listeners names no listeners, such as pop3s or tls: 'pop3s;pop3'"),
        ("read_only=perhaps", "read_only is neither yes nor no: 'perhaps'"),
        ("login_delay=5m", "login_delay is no whole number: '5m'"),
        ("expire_days=-1", "expire_days is no whole number: '-1'"),
        ("user_only=1 frobnicate=1", "frobnicate denies the login"),
    ],
)
def test_a_restriction_that_is_not_understood_denies_the_login(extra: str, why: str) -> None:
    read = entry(extra + " app_password=phone:::{PLAIN}x")
    assert (read.user.denied, read.trouble, read.hopeless) == (why, why, True)


def test_a_quota_that_is_not_understood_limits_nothing() -> None:
    for extra in ("userdb_quota_rule=*:storage=10%", "userdb_quota_rule=*:what=1", "userdb_quota_message_count=many"):
        read = table(extra)
        assert read.entries[b"alice"].user == User("alice")
        key, _, value = extra.partition("=")
        assert read.notes == (f"1: alice: {key} is not understood, and limits nothing: {value!r}",)


def test_an_app_password_has_a_name_listeners_and_an_end() -> None:
    phone, tablet, desk = entry(
        "app_password=phone:pop3s,tls:2030-01-31:{PLAIN}a:b app_password=tablet::1700000000:{PLAIN}x "
        "app_password=desk:::{PLAIN.b64}YSBi listeners=pop3s"
    ).others
    assert (phone.secret.clear, phone.user.secret, phone.user.listeners) == (b"a:b", "phone", {"pop3s"})
    assert phone.expires == 1896048000.0
    assert (tablet.expires, tablet.user.listeners) == (1700000000.0, {"pop3s"})
    assert (desk.secret.clear, desk.expires) == (b"a b", float("inf"))


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("{PLAIN}geheim", "it is not NAME:LISTENERS:EXPIRES:{SCHEME}secret"),
        ("::geheim:{PLAIN}geheim", "it is not NAME:LISTENERS:EXPIRES:{SCHEME}secret"),
        ("a::geheim:{PLAIN}x", "its end is neither a day such as 2030-12-31 nor seconds of the Unix epoch"),
        ("a:ge!heim::{PLAIN}x", "its listeners are not names such as pop3s or tls, separated by commas"),
        ("a:::", "there is no secret"),
        ("a:::{NONE}geheim", "the scheme NONE is not supported"),
    ],
)
def test_one_that_is_not_understood_opens_nothing_and_is_not_shown(field: str, why: str) -> None:
    read = table(f"app_password=ok:::{{PLAIN}}x app_password={field}")
    assert [each.user.secret for each in read.entries[b"alice"].others] == ["ok"]
    assert read.notes == (f"1: alice: app_password number 2 opens nothing: {why}",)
    assert "geheim" not in repr(read)


def test_the_rest_of_a_secret_behind_a_blank_is_not_shown() -> None:
    for rest in ("geheim", "Geheim", "so geheim=1"):
        read = table(f"app_password=phone:::{{PLAIN}}ganz {rest}")
        assert read.notes == ("1: alice cannot log in: app_password_with_a_blank denies the login",)
        assert not read.ignored
        assert "geheim" not in repr(read).lower()
    assert not table("app_password=phone:::{PLAIN}x nodelay read_only userdb_quota_rule2=*:messages=1").notes


def test_there_are_not_too_many() -> None:
    read = table(" ".join(f"app_password=a{n}:::{{PLAIN}}x{n}" for n in range(12)))
    assert len(read.entries[b"alice"].secrets()) == MAX_SECRETS
    assert len(read.notes) == 4


def test_they_work_without_a_password_of_the_user_s_own() -> None:
    for secret, notes in (
        ("", ()),
        (
            "{NONE}x",
            ("1: alice: the password opens nothing, and app passwords do: the scheme NONE is not supported",),
        ),
    ):
        read = table("app_password=phone:::{PLAIN}x", secret)
        assert (read.entries[b"alice"].trouble, read.notes, read.users) == ("", notes, 1)


def test_what_only_some_secrets_can_serve_is_not_everybody_s() -> None:
    assert set(table("").able) > {b"APOP", b"SCRAM-SHA-256"}
    assert set(table("app_password=phone:::{PLAIN}x").able) == {b"APOP", b"CRAM-MD5"}
    hashed = SECRETS["SSHA"]["utf8"].decode()
    assert not table(f"app_password=phone:::{hashed}").able


class LoginTests(TestCase):
    def file(self, data: str) -> str:
        path = Path(self.mktemp())
        path.write_text(data)
        return str(path)

    async def started(self, data: str) -> PasswordFile:
        checker = PasswordFile(self.file(data), wall=lambda: 1_800_000_000.0)
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        return checker

    async def test_an_app_password_logs_in_as_the_user_with_what_is_its_own(self) -> None:
        checker = await self.started(
            "alice:{PLAIN}own::::/home/alice::read_only app_password=phone:pop3s::{PLAIN}app "
            "app_password=old::1799999999:{PLAIN}gone\n"
        )
        own: Any = await checker.requestAvatarId(Password(b"alice", b"own"))
        alice = User("alice", home="/home/alice", read_only=True)
        assert own.user == await checker.lookup("alice") == alice
        for credentials in (Password(b"alice", b"app"), Apop(STAMP, b"alice", digest(b"app"))):
            app: Any = await checker.requestAvatarId(credentials)
            assert isinstance(app, UserId)
            phone = User("alice", home="/home/alice", read_only=True, secret="phone", listeners=frozenset({"pop3s"}))
            assert (app, app.user) == (b"alice", phone)
        with pytest.raises(LoginRefused) as refused:
            await checker.requestAvatarId(Password(b"alice", b"gone"))
        assert refused.value.reason == "the app password 'old' has expired"
        for wrong in (b"phone", b"x", b""):
            with pytest.raises(LoginRefused) as refused:
                await checker.requestAvatarId(Password(b"alice", wrong))
            assert refused.value.reason == "wrong password"

    async def test_why_a_mechanism_cannot_be_used(self) -> None:
        hashed = SECRETS["SSHA"]["utf8"].decode()
        checker = await self.started(f"alice:{hashed}::::::app_password=phone:::{{PLAIN}}app\n")
        assert checker.explain("alice", b"APOP").reason == "wrong password"
        assert checker.explain("alice", b"SCRAM-SHA-1").reason == "SCRAM-SHA-1 cannot be verified with {SSHA}"
        checker = await self.started("alice:::::::app_password=phone:::{PLAIN}app\n")
        assert checker.explain("alice", b"SCRAM-SHA-1").reason == "SCRAM-SHA-1 cannot be verified with no secret"
