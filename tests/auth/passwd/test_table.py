from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.entry import Entry
from mailserver.auth.passwd.extra_fields import NOWHERE
from mailserver.auth.passwd.table import Table, read_table
from mailserver.interfaces import User
from mailserver.names import Names
from tests.auth.vectors import SECRETS


def only(data: bytes) -> Entry:
    (entry,) = read_table(data).entries.values()
    return entry


def test_a_full_line_names_everything() -> None:
    line = b"alice:{PLAIN}tanstaaf:1000:1000:Alice,,,:/home/alice:/bin/sh:userdb_mail=maildir:~/Mail allow_nets=10.0.0.0/8\n"
    entry = only(line)
    assert entry.user == User("alice", home="/home/alice", mail="maildir:~/Mail", networks=(ip_network("10.0.0.0/8"),))
    assert entry.secret
    assert entry.secret.clear == b"tanstaaf"


@pytest.mark.parametrize("tail", [b"", b":", b"::::", b"\r", b":::::", b"::::::"])
def test_fields_after_the_password_may_be_missing(tail: bytes) -> None:
    table = read_table(b"alice:{PLAIN}tanstaaf" + tail)
    assert table.entries[b"alice"].user == User("alice")
    assert not table.notes
    assert not table.ignored


def test_comments_and_blank_lines_are_nothing() -> None:
    table = read_table(b"# users\n\n   \n\r\n#bob:{PLAIN}x\nalice:{PLAIN}tanstaaf\n")
    assert list(table.entries) == [b"alice"]
    assert not table.notes


def test_names_keep_their_case() -> None:
    assert set(read_table(b"Alice:{PLAIN}x\nalice:{PLAIN}y\n").entries) == {b"Alice", b"alice"}


def test_the_first_line_of_a_name_wins_and_the_other_is_noted() -> None:
    table = read_table(b"alice:{PLAIN}one\nalice:{PLAIN}two\n")
    entry = table.entries[b"alice"]
    assert entry.secret
    assert entry.secret.clear == b"one"
    assert table.notes == ("2: an earlier line names the same user; the line is skipped",)


def test_a_second_line_does_not_stand_in_for_a_broken_first() -> None:
    table = read_table(b"alice:{PLAIN}one::::::allow_nets=?\nalice:{PLAIN}two\n")
    assert [entry.secret for entry in table.entries.values()] == [None]


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (b"bob", "1: bob cannot log in: there is no password"),
        (b":{PLAIN}tanstaaf", "1: it does not begin with a valid user name; the line is skipped"),
        (b"{PLAIN}tanstaaf/x:", "1: it does not begin with a valid user name; the line is skipped"),
        (b"../x:{PLAIN}tanstaaf", "1: it does not begin with a valid user name; the line is skipped"),
        (b"\xff:{PLAIN}tanstaaf", "1: it does not begin with a valid user name; the line is skipped"),
        (
            b"bob:{PLAIN}tanstaaf::::::allow_nets=tanstaaf",
            "1: bob cannot log in: allow_nets has no valid network: 'tanstaaf'",
        ),
        (
            b"bob:{PLAIN}tanstaaf::::::allow_nets=",
            "1: bob cannot log in: allow_nets has no valid network: ''",
        ),
        (b"bob::::/h", "1: bob cannot log in: there is no password"),
        (b"bob:", "1: bob cannot log in: there is no password"),
        (b"bob:{PLAIN}", "1: bob cannot log in: the secret is not in the form of the scheme PLAIN"),
        (b"bob:{NONE}tanstaaf", "1: bob cannot log in: the scheme NONE is not supported"),
        (b"bob:{SHA}tanstaaf", "1: bob cannot log in: the secret is not in the form of the scheme SHA"),
        (b"bob:{SHA.b64}tan-staaf", "1: bob cannot log in: its encoding (.hex or .b64) is broken"),
        (b"bob:{PLAIN}tanstaaf::::::nopassword", "1: bob cannot log in: nopassword needs an empty password field"),
    ],
)
def test_a_broken_line_is_noted_without_its_secret(line: bytes, note: str) -> None:
    table = read_table(line)
    assert table.notes == (note,)


def test_a_user_who_cannot_log_in_is_known_all_the_same() -> None:
    assert only(b"bob:{NONE}x::::/home/bob") == Entry(
        User("bob", home="/home/bob"), trouble="the scheme NONE is not supported"
    )


@pytest.mark.parametrize(
    "field",
    [
        "nologin",
        "nologin=y",
        "noauthenticate",
        "allow_real_nets=192.0.2.0/24",
        "fail",
        "fail=y",
        "fail:default=y",
        "deny",
        "check_client_fp=00:11",
        "check_client_cert_fp=0011",
        "check_client_pubkey_fp=0011",
        "passdb_import=fail=y",
        "postlogin_socket=/run/x",
        "what_comes_next=1",
    ],
)
def test_a_field_that_keeps_users_out_is_not_passed_over(field: str) -> None:
    table = read_table(f"bob:{{PLAIN}}x::::::{field}".encode())
    why = f"{field.partition('=')[0].removesuffix(':default')} denies the login"
    # a ticket or a master does not help him either
    assert table.entries[b"bob"] == Entry(User("bob", networks=NOWHERE, denied=why), trouble=why)
    assert table.notes == (f"1: bob cannot log in: {why}",)


@pytest.mark.parametrize(
    "field",
    [
        "Comment=x",
        "x-dept=sales",
        "Comment:protected=x",
        "comment=x",
        "nodelay",
        "reason=none",
        "event_x=1",
        "forward_x=1",
        "user_x=1",
        "host=192.0.2.1",
        "home=/h",
        "10.0.0.0/8",
        "=x",
        "delay_until=1",
        "userdb_quota_rule=*:storage=1G",
        "userdb_namespace/inbox/separator=/",
        "userdb_plugin/x-y.z=1",
        "userdb_uid=8",
    ],
)
def test_a_field_that_restricts_nobody_locks_nobody_out(field: str) -> None:
    table = read_table(f"bob:{{PLAIN}}x::::::{field}".encode())
    entry = table.entries[b"bob"]
    assert (entry.secret and entry.secret.clear, entry.user.networks, entry.user.unserved) == (b"x", (), "")
    assert not table.notes


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("user=alice", "user would change the user's name"),
        ("proxy host=x", "proxy says that the user's mail is on another server"),
        ("nologin reason=Unpaid", "nologin denies the login (reason='Unpaid')"),
        ("delay_until=soon", "delay_until is not a time"),
    ],
)
def test_what_bars_a_user_says_why(field: str, why: str) -> None:
    assert only(f"bob:{{PLAIN}}x::::::{field}".encode()).trouble == why


def test_a_delay_holds_until_its_time() -> None:
    assert only(b"bob:{PLAIN}x::::::delay_until=4102444800+30").not_before == 4102444800


@pytest.mark.parametrize(
    ("field", "home", "mail"),
    [
        ("userdb_home=/srv/%d/%n", "/srv/example.org/bob", None),
        ("userdb_home=/srv/%{user|domain}/%{user|username}", "/srv/example.org/bob", None),
        ("userdb_home=/srv/./bob", "/srv/bob", None),
        ("userdb_mail=maildir:~/M:LAYOUT=fs", "/home", "maildir:~/M:LAYOUT=fs"),
        ("userdb_mail_location=maildir:~/M", "/home", "maildir:~/M"),
        ("userdb_mail=memory:", "/home", "memory:"),
        ("userdb_mail=rados:pool/bob:x=LAYOUT=index", "/home", "rados:pool/bob:x=LAYOUT=index"),
        ("userdb_mail_driver=maildir", "/home", None),
        ("userdb_mail_driver=maildir userdb_mail_path=~/M", "/home", "maildir:~/M"),
        ("userdb_mail_path=%{home}/M", "/home", "maildir:%{home}/M"),
        ("userdb_mail_path=~/M userdb_mail_inbox_path=~/I", "/home", "maildir:~/I"),
    ],
)
def test_where_his_mail_is_counts(field: str, home: str, mail: str | None) -> None:
    entry = only(f"bob@example.org:{{PLAIN}}x::::/home::{field}".encode())
    assert (entry.user.home, entry.user.mail, entry.user.unserved) == (home, mail, "")


@pytest.mark.parametrize(
    "field",
    [
        "userdb_home=/srv/%Lu",
        "userdb_mail=mbox:~/mail",
        "userdb_mail=~/Maildir",
        "userdb_mail=~/mail:INBOX=/var/mail/bob",
        "userdb_mail=imapc:",
        "userdb_mail_location=sdbox:~/mail",
        "userdb_mail=maildir:~/M:LAYOUT=index",
        "userdb_mail=maildir:~/M:DIRNAME=x",
        "userdb_mail_driver=sdbox",
        "userdb_mail_driver=sdbox userdb_mail_path=~/M",
        "userdb_mail_path=~/a:b",
        "userdb_chroot=/srv",
        "userdb_mail_home=/srv",
        "userdb_user=alice",
        "userdb_userdb_import=mail=x",
        "userdb_tempfail",
        "userdb_namespace/inbox/location=maildir:/x",
    ],
)
def test_where_his_mail_cannot_be_found_he_is_told_and_nothing_is_made_elsewhere(field: str) -> None:
    table = read_table(f"bob:{{PLAIN}}x::::/home::{field}".encode())
    assert table.entries[b"bob"].user.unserved
    (note,) = table.notes
    assert note.startswith("1: bob can log in, but has no maildrop: ")


def test_a_slash_dot_slash_in_a_home_is_the_same_folder() -> None:
    assert only(b"bob:{PLAIN}x::::/srv/./home/bob").user.home == "/srv/home/bob"


def test_networks_that_are_none_let_nobody_in_and_the_others_count() -> None:
    table = read_table(
        b"a:{PLAIN}x::::::allow_nets=127.0.0.1,\nb:{PLAIN}x::::::allow_nets=10.0.0.0/8,mail.example.org\n"
    )
    assert table.entries[b"a"].user.networks == (ip_network("127.0.0.1"),)
    assert table.entries[b"b"].user.networks == (ip_network("10.0.0.0/8"),)
    assert table.notes == ("2: b: 'mail.example.org' in allow_nets is not a network, and matches no address",)


def test_notes_tell_first_how_many_they_hit() -> None:
    lines = [b"u%d:{NONE}x" % number for number in range(180)] + [b"v%d:{PLAIN}x" % number for number in range(120)]
    assert read_table(b"\n".join([*lines, b"v0:{PLAIN}y", b"v1:{PLAIN}y"])).notes == (
        " 180 of 300 users cannot log in: the scheme NONE is not supported (lines 1, 2, 3, 4, 5 and 175 more)",
        " 2 lines are skipped: an earlier line names the same user (lines 301, 302)",
    )


def test_a_line_s_name_is_read_as_a_typed_one() -> None:
    names = Names(case="lower", default_domain="example.org")
    table = read_table(
        "Bob@Example.ORG:{PLAIN}x\njo\u0308rg@example.org:{PLAIN}x\nann:{PLAIN}x\n".encode(), names=names
    )
    assert list(table.entries) == [b"bob@example.org", "j\u00f6rg@example.org".encode(), b"ann@example.org"]
    assert [entry.user.name.encode() for entry in table.entries.values()] == list(table.entries)
    assert not table.notes
    local = read_table(b"bob@example.org:{PLAIN}x\n", names=Names(local_domains=("example.org",)))
    assert list(local.entries) == [b"bob"]


def test_who_is_written_as_he_is_read_comes_before_another_spelling_of_him() -> None:
    table = read_table(b"Bob:{PLAIN}capital\nbob:{PLAIN}small\nBOB:{PLAIN}x\n", names=Names(case="lower"))
    assert [entry.secret and entry.secret.clear for entry in table.entries.values()] == [b"small"]
    assert table.notes == (" 2 lines are skipped: its name is read as 'bob', which another line has (lines 1, 3)",)


def test_a_line_that_no_typed_name_is_read_as_is_noted() -> None:
    table = read_table(b"bob+x:{PLAIN}x\n", names=Names(tag_separators="+"))
    assert not table.entries
    assert table.notes == ("1: nobody can log in with it: 'bob+x' is read as 'bob'; the line is skipped",)


def test_the_users_of_each_mechanism_are_counted() -> None:
    lines = [
        b"a:{PLAIN}x",
        b"b:" + SECRETS["SCRAM-SHA-1"]["utf8"],
        b"c:{NONE}x",
        b"d:::::::nopassword",
        b"e:{PLAIN}x::::::fail",
    ]
    table = read_table(b"\n".join(lines))
    assert (table.users, table.able) == (
        2,
        {b"APOP": 1, b"CRAM-MD5": 1, b"DIGEST-MD5": 1, b"SCRAM-SHA-1": 2, b"SCRAM-SHA-256": 1},
    )


def test_nopassword_does_not_open_what_nologin_shuts() -> None:
    entry = only(b"bob:::::::nopassword nologin allow_nets=local")
    assert (entry.any_password, entry.user.networks) == (False, NOWHERE)


def test_fields_of_dovecot_s_folders_are_passed_over() -> None:
    table = read_table(b"bob:{PLAIN}x::::::userdb_namespace/inbox/separator=/ userdb_plugin/x-y.z=1")
    assert table.ignored == {"userdb_namespace/inbox/separator", "userdb_plugin/x-y.z"}
    assert not table.notes


def test_nopassword_takes_any_password() -> None:
    assert only(b"bob:::::/home/bob::nopassword") == Entry(User("bob", home="/home/bob"), any_password=True)


def test_local_means_this_machine() -> None:
    assert only(b"bob:{PLAIN}x::::::allow_nets=local,192.0.2.7,2001:db8::/32").user.networks == (
        ip_network("127.0.0.1/32"),
        ip_network("::1/128"),
        ip_network("192.0.2.7/32"),
        ip_network("2001:db8::/32"),
    )


def test_what_nothing_uses_is_told_once_for_all_lines() -> None:
    table = read_table(
        b"a:{PLAIN}x:8:8::::userdb_uid=8 userdb_quota_rule=*:storage=1G\nb:{PLAIN}x:8:::::nodelay host=x\n"
    )
    assert table.ignored == {"uid and gid", "userdb_uid", "nodelay", "host"}
    assert not table.notes


def test_a_home_of_any_octets_survives() -> None:
    assert only(b"bob:{PLAIN}x::::/home/\xff").user.home == "/home/\udcff"


def test_the_decoy_is_of_the_commonest_slow_secret() -> None:
    one, two = SECRETS["SHA512-CRYPT"]["utf8"], SECRETS["SHA512-CRYPT"]["octets"]
    lines = [
        b"p:{PLAIN}x",
        b"q:{PLAIN}x",
        b"r:{PLAIN}x",
        b"s:" + SECRETS["MD5-CRYPT"]["utf8"],
        b"t:" + one,
        b"u:" + two,
    ]
    decoy = read_table(b"\n".join(lines)).decoy
    assert decoy
    assert (decoy.scheme, decoy.slow) == ("SHA512-CRYPT", True)


def test_without_slow_secrets_the_decoy_is_a_fast_one() -> None:
    decoy = read_table(b"a:{SHA1}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n").decoy
    assert decoy
    assert decoy.scheme == "SHA1"
    assert read_table(b"").decoy is None


def test_a_table_knows_what_its_secrets_can_serve() -> None:
    table = read_table(b"a:{PLAIN}x\nb:" + SECRETS["SCRAM-SHA-1"]["utf8"] + b"\nc:{NONE}x\n")
    assert table.others.clear
    assert table.schemes == {"PLAIN", "SCRAM-SHA-1"}
    assert not read_table(b"b:" + SECRETS["SHA"]["utf8"]).others.clear


def test_a_table_does_not_show_its_secrets() -> None:
    table = read_table(b"alice:{PLAIN}tanstaaf\n")
    assert "tanstaaf" not in repr([table, dict(table.entries)])


@given(st.binary() | st.lists(st.sampled_from([b"a", b":", b"{PLAIN}", b"\n", b"=", b" ", b"#", b"$6$"])).map(b"".join))
def test_any_octets_are_a_table(data: bytes) -> None:
    assert isinstance(read_table(data), Table)
