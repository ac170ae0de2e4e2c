"""Courier's userdb, written by the real userdb and userdbpw."""

import subprocess

import pytest

from mailserver.interfaces import Quota
from mailserver.migration.users.converted import Unconvertible
from mailserver.migration.users.courier_secrets import courier_secret, no_pop3, quota_rule
from mailserver.migration.users.courier_userdb import read_userdb
from tests.interop.unpacked import unpacked
from tests.migration.users.verified import opens, table

PASSWORD = b"wonder:land %s"


def userdbpw(*options):
    """A secret as Courier's own program writes it."""
    program = unpacked("usr/sbin/userdbpw", "courier-authlib-userdb")
    done = subprocess.run([program, *options], input=PASSWORD + b"\n", capture_output=True, check=True, timeout=60)
    return done.stdout.decode().strip()


def add(file, name, *fields):
    """Add a user as Courier's own program does."""
    program = unpacked("usr/sbin/userdb", "courier-authlib-userdb")
    subprocess.run([program, "-f", file, name, "set", *fields], check=True, timeout=60)


@pytest.mark.parametrize(
    ("field", "options"),
    [("systempw", []), ("systempw", ["-md5"]), ("pop3pw", ["-md5"]), ("hmac-md5pw", ["-hmac-md5"])],
    ids=["crypt", "md5", "of-pop3", "hmac"],
)
def test_a_user_of_the_real_program_logs_in_with_the_old_password(tmp_path, field, options):
    add(tmp_path / "userdb", "alice@example.org", "uid=1", "gid=1", "home=/home/alice", f"{field}={userdbpw(*options)}")
    converted = read_userdb(str(tmp_path / "userdb"))
    assert converted.remarks == []
    short = field == "systempw" and not options  # DES reads eight characters
    assert opens(converted, "alice@example.org", PASSWORD)
    assert opens(converted, "alice@example.org", PASSWORD + b"x") == short
    assert table(converted)["alice@example.org"].user.home == "/home/alice"


def test_a_directory_is_read_with_all_below_it_but_what_is_hidden(tmp_path):
    (tmp_path / "userdb/sub").mkdir(parents=True)
    (tmp_path / "userdb/.git").mkdir()
    for number, name in enumerate(["one", "sub/two", ".lock.one", "sub/.tmp.two", ".git/three"]):
        (tmp_path / "userdb" / name).write_text(
            f"# a comment\n\nuser{number}\thome=/h|systempw=$1$x$y\n1000=\tuser{number}\n"
        )
    assert set(table(read_userdb(str(tmp_path / "userdb")))) == {"user0", "user1"}


def test_places_quotas_and_options_come_along(tmp_path):
    file = tmp_path / "userdb"
    file.write_text(
        "a\tsystempw=x|home=/home/./a|mail=./Mail|quota=1000000S,50C\n"
        "b\tsystempw=x|home=/home/b|mail=/srv/b|quota=70C|options=disableimap=1,disablepop3=1\n"
    )
    a, b = (entry.user for entry in table(read_userdb(str(file))).values())
    assert (a.home, a.mail, a.quota) == ("/home/a", "maildir:~/Mail", Quota(1_000_000, 50))
    assert (b.mail, b.quota, a.denied, b.denied) == ("maildir:/srv/b", Quota(0, 70), "", "disabled")


def test_the_password_of_pop3_comes_before_that_of_all(tmp_path):
    file = tmp_path / "userdb"
    file.write_text("a\tsystempw={MD5RAW}00|imappw={CRYPT}x|pop3pw={SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=|home=/h\n")
    converted = read_userdb(str(file))
    assert opens(converted, "a", b"password")
    assert converted.remarks == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("home=/h|imappw=x", "no password for POP3"),
        ("systempw=x", "no home"),
        ("systempw=x|home=/h|quota=much", "'much' is not understood"),
        ("systempw=x|home=/h|options=disablepop3=1", "disabled"),
        ("systempw=x|home=/h|sharedgroup=a", "no place here for sharedgroup"),
    ],
)
def test_what_is_lost_is_told_with_the_line(tmp_path, fields, said):
    file = tmp_path / "userdb"
    file.write_text(f"\nalice\t{fields}\n")
    (remark,) = read_userdb(str(file)).remarks
    assert remark.about == f"{file}:2: alice"
    assert said in remark.text


def test_a_home_that_no_line_can_hold_is_told(tmp_path):
    file = tmp_path / "userdb"
    file.write_text("alice\thome=/a:b|systempw=x\nbob\thome=/b|systempw={SHA256}a:b\n")
    converted = read_userdb(str(file))
    assert table(converted) == {}
    assert ["left out" in each.text for each in converted.remarks] == [True, True]
    assert "a:b" not in converted.remarks[1].text


def test_a_database_is_refused_with_where_its_text_is(tmp_path):
    file = tmp_path / "userdbshadow.dat"
    file.write_bytes(b"\xcf\x9a\x57\x13\0\0\0\0")
    with pytest.raises(Unconvertible, match="makeuserdb"):
        read_userdb(str(file))
    with pytest.raises(Unconvertible, match="No such file"):
        read_userdb(str(tmp_path / "nothing"))


def test_secrets_of_each_kind_have_our_scheme():
    assert courier_secret("$1$a$b") == "{CRYPT}$1$a$b"
    assert courier_secret("{MD5RAW}5f4dcc3b5aa765d61d8327deb882cf99") == "{PLAIN-MD5}5f4dcc3b5aa765d61d8327deb882cf99"
    assert courier_secret("{md5}X03MO1qnZdYdgyfeuILPmQ==") == "{PLAIN-MD5}X03MO1qnZdYdgyfeuILPmQ=="
    assert courier_secret("{NEW}x") == "{NEW}x"


def test_quotas_and_options_are_read_as_courier_reads_them():
    assert [quota_rule(each) for each in ("", "1S", "2C,1S", "1", "1S,x", "NOQUOTA")] == [
        "",
        "*:bytes=1",
        "*:messages=2:bytes=1",
    ] + [""] * 3
    assert [
        no_pop3(each) for each in ("", "disablepop3=0", "a=1,disablepop3=1", "xdisablepop3=1", "disablepop3=0,b=1")
    ] == [
        False,
        False,
        True,
        False,
        False,
    ]
