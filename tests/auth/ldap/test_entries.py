from __future__ import annotations

from ipaddress import ip_network

from mailserver.auth.ldap.entries import attributes, read_found, read_secrets, version
from mailserver.auth.ldap.messages import Entry
from mailserver.auth.ldap.settings import LdapSettings
from mailserver.auth.passwd.extra_fields import NOWHERE
from mailserver.interfaces import Quota

NOW = 1_800_000_000.0
WHOLE = LdapSettings(
    attributes={
        "mail": "mailMessageStore",
        "quota": "mailQuotaSize",
        "quota_messages": "q",
        "allow_nets": "nets",
        "disabled": "accountStatus",
        "listeners": "listeners",
        "read_only": "ro",
        "expire_days": "days",
        "login_delay": "delay",
        "app_passwords": "app",
    }
)
AD = LdapSettings(kind="active-directory")


def found(**values: list[bytes]) -> Entry:
    return Entry("uid=alice,dc=x", {name.lower(): tuple(each) for name, each in values.items()})


def test_attributes_are_the_users() -> None:
    user = read_found(
        WHOLE,
        found(
            homeDirectory=[b"/home/alice"],
            mailMessageStore=[b"maildir:/mail/alice"],
            mailQuotaSize=[b"1000"],
            q=[b"20"],
            nets=[b"192.0.2.0/24", b"local"],
            accountStatus=[b"active"],
            listeners=[b"pop3s", b"tls"],
            ro=[b"TRUE"],
            days=[b"30"],
            delay=[b"60"],
        ),
        "alice",
        NOW,
    )
    assert (user.name, user.home, user.mail) == ("alice", "/home/alice", "maildir:/mail/alice")
    assert (user.quota, user.read_only, user.expire_days, user.login_delay) == (Quota(1000, 20), True, 30, 60)
    assert user.networks == (ip_network("192.0.2.0/24"), ip_network("127.0.0.1"), ip_network("::1"))
    assert (user.listeners, user.denied) == (frozenset({"pop3s", "tls"}), "")


def test_an_account_that_is_disabled_is_denied_with_the_reason() -> None:
    for value, reason in {
        b"disabled": "disabled in the directory: 'disabled'",
        b"deleted": "disabled in the directory: 'deleted'",
        b"TRUE": "disabled in the directory",
        b"1": "disabled in the directory",
        b"\xff": "disabled in the directory: '\\ufffd'",
    }.items():
        user = read_found(WHOLE, found(accountStatus=[value]), "alice", NOW)
        assert (user.denied, user.networks) == (reason, NOWHERE)
    for value in (b"active", b"ACTIVE", b"0", b"FALSE", b"no", b""):
        assert not read_found(WHOLE, found(accountStatus=[value]), "alice", NOW).denied


def test_what_restricts_and_means_nothing_denies() -> None:
    for values in (
        {"nets": [b"x"]},
        {"ro": [b"x"]},
        {"ro": [b"TRUE", b"FALSE"]},
        {"listeners": [b"*"]},
        {"days": [b"\xff"]},
    ):
        assert read_found(WHOLE, found(**values), "alice", NOW).denied, values
    assert read_found(WHOLE, found(homeDirectory=[b"/a", b"/b"]), "alice", NOW).denied


def test_active_directory_has_its_own_way() -> None:
    def expires(seconds: float) -> bytes:
        return str(int((seconds + 11_644_473_600) * 10_000_000)).encode()

    for control, until, reason in (
        (b"512", b"0", ""),
        (b"512", b"9223372036854775807", ""),
        (b"514", b"0", "the account is disabled"),
        (b"66050", b"0", "the account is disabled"),
        (b"512", expires(NOW + 1), ""),
        (b"512", expires(NOW - 1), "the account has expired"),
        (b"x", b"0", "userAccountControl or accountExpires is no number"),
    ):
        entry = found(userAccountControl=[control], accountExpires=[until], unixHomeDirectory=[b"/home/a"])
        user = read_found(AD, entry, "alice", NOW)
        assert (user.denied, user.home) == (reason, "/home/a")
    assert not read_found(AD, found(), "alice", NOW).denied


def test_each_value_is_a_secret_and_app_passwords_have_names() -> None:
    entry = read_secrets(
        WHOLE,
        found(
            userPassword=[b"clear", b"{SSHA}CYrFiuxXH5hZ4tbQAwKVVZyjXUFDvcJdmlzLvw=="],
            app=[
                b"phone {PLAIN}of the phone",
                b"old phone expires=2020-01-01 {PLAIN}x",
                b"desk listeners=pop3s expires=2100-01-01 {PLAIN}of the desk",
                b"broken {WHAT}x",
            ],
        ),
        "alice",
        NOW,
    )
    stored = list(entry.stored(NOW))
    told = [(each.user.secret, each.user.listeners) for each in stored]
    assert told == [
        ("", frozenset()),
        ("", frozenset()),
        ("phone", frozenset()),
        ("desk", frozenset({"pop3s"})),
        ("old phone", frozenset()),
    ]
    assert [each.secret.verify(b"of the phone") for each in stored] == [False, False, True, False, False]
    assert [each.expires <= NOW for each in stored] == [False, False, False, False, True]
    assert stored[0].secret.verify(b"clear")


def test_an_app_password_with_a_limit_that_means_nothing_opens_nothing() -> None:
    for limits in (
        *(
            "listener=pop3s",
            "Listeners=pop3s",
            "name=x",
            "password=x",
            "=",
            "listeners=pop3s listeners=pop3",
            "listeners=",
        ),
        *("expires=", "expires=soon", "listeners=*", "expires=2100-01-01 expires=2000-01-01"),
    ):
        value = b"phone %b {PLAIN}x" % limits.encode()
        entry = read_secrets(WHOLE, found(userPassword=[b"y"], app=[value]), "alice", NOW)
        assert [each.secret.clear for each in entry.stored(NOW)] == [b"y"], limits


def test_no_secret_is_right_for_who_is_disabled_or_has_none() -> None:
    assert read_secrets(WHOLE, found(), "alice", NOW).trouble == "there is no password"
    entry = read_secrets(WHOLE, found(userPassword=[b"x"], accountStatus=[b"disabled"]), "alice", NOW)
    assert (entry.hopeless, entry.trouble) == (True, "disabled in the directory: 'disabled'")
    assert (
        read_secrets(WHOLE, found(userPassword=[b"{WHAT}x"]), "alice", NOW).trouble
        == "the scheme WHAT is not supported"
    )


def test_secrets_are_asked_for_only_where_they_are_compared() -> None:
    assert "userPassword" not in attributes(WHOLE, secrets=False)
    assert {"userPassword", "app"} <= set(attributes(WHOLE, secrets=True))
    assert attributes(LdapSettings(attributes={"user": "", "home": ""}), secrets=False) == ["1.1"]
    assert "pwdChangedTime" in attributes(LdapSettings(remember_seconds=5), secrets=False)


def test_a_changed_password_is_another_version() -> None:
    first, second = (version(found(pwdChangedTime=[each])) for each in (b"1", b"2"))
    assert first != second
