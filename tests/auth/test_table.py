from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.table import NOWHERE, Entry, Table, read_table
from mailserver.interfaces import User
from tests.auth.vectors import SECRETS


def only(data: bytes) -> Entry:
    (entry,) = read_table(data).entries.values()
    return entry


def test_a_full_line_names_everything() -> None:
    line = b"alice:{PLAIN}tanstaaf:1000:1000:Alice,,,:/home/alice:/bin/sh:userdb_mail=maildir:~/Mail allow_nets=10.0.0.0/8\n"
    entry = only(line)
    assert entry.user == User("alice", "/home/alice", "maildir:~/Mail", (ip_network("10.0.0.0/8"),))
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
    assert table.notes == ("2: a line before it names the same user; the line is skipped",)


def test_a_second_line_does_not_stand_in_for_a_broken_first() -> None:
    assert not read_table(b"alice:{PLAIN}one::::::allow_nets=?\nalice:{PLAIN}two\n").entries


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (b"bob", "1: bob cannot log in: there is no password"),
        (b":{PLAIN}tanstaaf", "1: it does not begin with a name that a user can have; the line is skipped"),
        (b"{PLAIN}tanstaaf/x:", "1: it does not begin with a name that a user can have; the line is skipped"),
        (b"../x:{PLAIN}tanstaaf", "1: it does not begin with a name that a user can have; the line is skipped"),
        (b"\xff:{PLAIN}tanstaaf", "1: it does not begin with a name that a user can have; the line is skipped"),
        (
            b"bob:{PLAIN}tanstaaf::::::allow_nets=tanstaaf",
            "1: its allow_nets is not a list of networks; the line is skipped",
        ),
        (b"bob:{PLAIN}tanstaaf::::::allow_nets=", "1: its allow_nets is not a list of networks; the line is skipped"),
        (b"bob:{PLAIN}x::::::=tanstaaf!", "1: its last field is not a list of NAME=VALUE; the line is skipped"),
        (b"bob::::/h", "1: bob cannot log in: there is no password"),
        (b"bob:", "1: bob cannot log in: there is no password"),
        (b"bob:{PLAIN}", "1: bob cannot log in: this is not what the scheme PLAIN looks like"),
        (b"bob:{NONE}tanstaaf", "1: bob cannot log in: the scheme NONE is not supported"),
        (b"bob:{SHA}tanstaaf", "1: bob cannot log in: this is not what the scheme SHA looks like"),
        (b"bob:{SHA.b64}tan-staaf", "1: bob cannot log in: its encoding (.hex or .b64) is broken"),
        (b"bob:{PLAIN}tanstaaf::::::nopassword", "1: bob cannot log in: nopassword goes with an empty password only"),
    ],
)
def test_a_broken_line_is_noted_without_its_secret(line: bytes, note: str) -> None:
    table = read_table(line)
    assert table.notes == (note,)


def test_a_user_who_cannot_log_in_is_known_all_the_same() -> None:
    assert only(b"bob:{NONE}x::::/home/bob") == Entry(User("bob", "/home/bob"))


@pytest.mark.parametrize("field", ["nologin", "nologin=y", "noauthenticate", "allow_real_nets=192.0.2.0/24"])
def test_a_field_that_keeps_users_out_is_not_passed_over(field: str) -> None:
    table = read_table(f"bob:{{PLAIN}}x::::::{field}".encode())
    assert table.entries[b"bob"] == Entry(
        User("bob", networks=NOWHERE)
    )  # a ticket or a master does not help him either
    assert table.notes == (f"1: bob cannot log in: {field.partition('=')[0]} keeps him out",)


def test_nopassword_does_not_open_what_nologin_shuts() -> None:
    assert only(b"bob:::::::nopassword nologin allow_nets=local") == Entry(User("bob", networks=NOWHERE))


def test_fields_of_dovecot_s_folders_are_passed_over() -> None:
    table = read_table(b"bob:{PLAIN}x::::::userdb_namespace/inbox/separator=/ userdb_plugin/x-y.z=1")
    assert table.ignored == {"userdb_namespace/inbox/separator", "userdb_plugin/x-y.z"}
    assert not table.notes


def test_nopassword_takes_any_password() -> None:
    assert only(b"bob:::::/home/bob::nopassword") == Entry(User("bob", "/home/bob"), any_password=True)


def test_local_means_this_machine() -> None:
    assert only(b"bob:{PLAIN}x::::::allow_nets=local,192.0.2.7,2001:db8::/32").user.networks == (
        ip_network("127.0.0.1/32"),
        ip_network("::1/128"),
        ip_network("192.0.2.7/32"),
        ip_network("2001:db8::/32"),
    )


def test_what_nothing_uses_is_told_once_for_all_lines() -> None:
    table = read_table(
        b"a:{PLAIN}x:8:8::::userdb_uid=8 userdb_quota_rule=*:storage=1G\nb:{PLAIN}x:8:::::proxy host=x\n"
    )
    assert table.ignored == {"uid and gid", "userdb_uid", "proxy", "host"}
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
    assert table.clear
    assert table.schemes == {"PLAIN", "SCRAM-SHA-1"}
    assert not read_table(b"b:" + SECRETS["SHA"]["utf8"]).clear


def test_a_table_does_not_show_its_secrets() -> None:
    table = read_table(b"alice:{PLAIN}tanstaaf\n")
    assert "tanstaaf" not in repr([table, dict(table.entries)])


@given(st.binary() | st.lists(st.sampled_from([b"a", b":", b"{PLAIN}", b"\n", b"=", b" ", b"#", b"$6$"])).map(b"".join))
def test_any_octets_are_a_table(data: bytes) -> None:
    assert isinstance(read_table(data), Table)
