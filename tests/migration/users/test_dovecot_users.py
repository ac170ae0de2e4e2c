"""A passwd-file of Dovecot's: a real Dovecot's users, with secrets of each scheme that the real doveadm writes."""

import subprocess

import pytest

from mailserver.migration.users.dovecot_users import read_dovecot_users
from tests.cli.running import run
from tests.migration.users.dovecots import Dovecot
from tests.migration.users.verified import opens, table

PASSWORD = "wonder:land"

SCHEMES = (
    *("PLAIN", "SHA", "SSHA", "SHA256", "SSHA512", "PLAIN-MD5", "SMD5", "CRAM-MD5", "HMAC-MD5", "MD5-CRYPT"),
    *("SHA512-CRYPT", "BLF-CRYPT", "PBKDF2", "SCRAM-SHA-256", "ARGON2ID", "SSHA.HEX", "PLAIN.B64"),
)

UNKNOWN = ("DIGEST-MD5", "PLAIN-MD4", "OTP")

CHEAP = {"BLF-CRYPT": ["-r", "5"], "SHA512-CRYPT": ["-r", "1000"], "PBKDF2": ["-r", "1000"], "ARGON2ID": ["-r", "3"]}


def pw(scheme, name):
    command = ["doveadm", "pw", "-s", scheme, "-u", name, "-p", PASSWORD, *CHEAP.get(scheme, [])]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.fixture(scope="module")
def secrets():
    """For each scheme what the real doveadm writes; of the password in clear only what a line can hold."""
    names = {f"u{number}": scheme for number, scheme in enumerate((*SCHEMES, *UNKNOWN))}
    return {name: (scheme, pw(scheme, name)) for name, scheme in names.items() if scheme != "PLAIN"}


@pytest.fixture(scope="module")
def dovecot():
    server = Dovecot()
    yield server
    server.close()


def test_every_user_of_a_real_dovecot_logs_in_or_is_told(dovecot, secrets):
    text = "".join(f"{name}:{secret}:::: /h/{name}\n".replace(" ", "") for name, (_, secret) in secrets.items())
    block = "{\n  driver = passwd-file\n  args = {folder}/users\n}\n"
    dovecot.serve(f"passdb {block}userdb {block}", users=text)
    there = dict(zip(secrets, dovecot.admits(*((name, PASSWORD) for name in secrets)), strict=True))
    converted = read_dovecot_users(text)
    here = {name: opens(converted, name, PASSWORD.encode()) for name in secrets}
    unknown = {name for name, (scheme, _) in secrets.items() if scheme in UNKNOWN}
    assert {name for name, admitted in there.items() if admitted and not here[name]} <= unknown
    assert not {name for name, admitted in here.items() if admitted and not there[name]}
    assert sum(here.values()) == len(secrets) - len(UNKNOWN)
    assert {entry.user.home for entry in table(converted).values()} == {f"/h/{name}" for name in secrets}


def test_the_command_tells_who_cannot_log_in_and_shows_no_secret(tmp_path, secrets):
    path = tmp_path / "users"
    path.write_text("".join(f"{name}:{secret}\n" for name, (_, secret) in secrets.items()))
    told = run("migrate", "users", "dovecot-users", str(path))
    assert told.returncode == 1
    for scheme in UNKNOWN:
        assert f"the scheme {scheme} is not supported".encode() in told.stderr
    for _, secret in secrets.values():
        assert secret.partition("}")[2].encode() not in told.stdout + told.stderr


def test_secrets_without_a_scheme_get_that_of_the_site():
    text = "a:secret\nb:{SHA}x\nc:0123456789012345678901234567890[34]\nd::1:1\n"
    assert read_dovecot_users(text, "plain").text == text.replace("a:secret", "a:{plain}secret")
    assert read_dovecot_users(text).text == text
    assert opens(read_dovecot_users("a:secret\n", "PLAIN"), "a", b"secret")


def test_all_else_stays_as_it_is_and_secrets_of_other_fields_are_not_shown():
    text = (
        "# users\n\nalice:{CRYPT}x:1:1:Alice:/h:/bin/sh:allow_nets=::1 pass=sesame app_password=phone:::{PLAIN}sesame nopassword=y\n"
        "#bob:{PLAIN}sesame\ncarol::::::: userdb_mail_crypt_global_private_key=sesame\nwithout a colon sesame"
    )
    converted = read_dovecot_users(text)
    assert converted.text == text
    assert "sesame" not in converted.shown
    assert converted.shown.startswith("# users\n\nalice")
    assert (
        "alice:{CRYPT}...:1:1:Alice:/h:/bin/sh:allow_nets=::1 pass=... app_password=... nopassword=y\n"
        in converted.shown
    )


def test_a_user_with_a_format_of_unique_ids_of_his_own_is_told():
    converted = read_dovecot_users("alice:x:::::: userdb_pop3_uidl_format=%f\n")
    assert [(each.about, "store.former" in each.text) for each in converted.remarks] == [("alice", True)]
