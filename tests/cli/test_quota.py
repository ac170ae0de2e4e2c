"""``mailserver quota``: how full maildrops are, and what else an operator's command may meet."""

import json
import os
import pwd
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import COMMAND, environment, run
from tests.servers import Site, toml

WHOEVER = pwd.getpwuid(os.geteuid()).pw_name
"""Who runs the tests is the user that serves, root as well."""


@pytest.fixture
def site():
    with Site() as made:
        made.account(
            "alice", messages=[b"x" * 300_000, b"y" * 400_000], extra="userdb_quota_rule=*:storage=1000K:messages=10"
        )
        made.account("bob", messages=[b"z\n"])
        yield made


def settings(site, **more):
    path = site.folder / "mailserver.toml"
    given = {"user": WHOEVER, "listen": {"pop3": ["tcp:110"]}, "auth": {"checkers": [f"passwd-file:{site.users}"]}}
    path.write_text(toml({**given, **more}))
    return ["--config", str(path)]


def test_it_shows_what_is_there_and_the_user_s_own_limit_or_else_the_site_s(site):
    config = settings(site, quota={"octets": 1000}, names={"local_domains": ["example.org"]})
    told = run("quota", *config, "alice", "bob@Example.org", "carol")
    assert told.stdout.decode().splitlines() == [
        "alice: 700,000 of 1,024,000 octets (68.4 %), 2 of 10 messages (20.0 %)",
        "bob: 2 of 1,000 octets (0.2 %), 1 message (no limit)",
    ]
    assert told.stderr == b"mailserver: carol: there is no such user\n"
    assert told.returncode == 1


def test_a_name_that_was_pasted_steers_no_terminal_and_fills_no_screen(site):
    told = run("quota", *settings(site), "a\x1b[31m\nb", "x" * 5000, "")
    assert told.stderr.decode().splitlines() == [
        f"mailserver: {name}: there is no such user"
        for name in ("a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b", "x" * 100 + "...", '""')
    ]


def test_programs_get_an_object_a_line_of_everybody(site):
    told = run("quota", *settings(site), "--all", "--json")
    assert (told.returncode, told.stderr) == (0, b"")
    alice, bob = map(json.loads, told.stdout.splitlines())
    assert alice == {
        "user": "alice",
        "octets": 700_000,
        "octets_limit": 1_024_000,
        "octets_percent": 68.4,
        "messages": 2,
        "messages_limit": 10,
        "messages_percent": 20.0,
    }
    assert bob == {
        "user": "bob",
        "octets": 2,
        "octets_limit": None,
        "octets_percent": None,
        "messages": 1,
        "messages_limit": None,
        "messages_percent": None,
    }


def test_who_cannot_be_asked_now_is_75_and_the_others_are_shown(site):
    ldap = site.folder / "ldap.toml"
    both = {"checkers": [f"passwd-file:{site.users}", f"ldap:{ldap}"]}
    with socket.socket() as deaf:  # its port is nobody else's, and nobody listens there
        deaf.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{deaf.getsockname()[1]}"
        ldap.write_text(
            f'servers = ["ldap://{where}"]\nbase = "dc=example"\nfilter = "(uid={{user}})"\nstart_tls = false\n'
        )
        told = run("quota", *settings(site, auth=both), "carol", "alice")
    assert told.returncode == os.EX_TEMPFAIL, told.stderr
    assert told.stdout.startswith(b"alice: ")
    assert b"mailserver: carol: the users' database does not answer now\n" in told.stderr


def test_all_problems_of_the_settings_are_told_as_twist_tells_them(site):
    both = {"checkers": [f"passwd-file:{site.users}", f"passwd-file:{site.folder}/nowhere"]}
    config = settings(site, store={"url": "maildir:{hom}/x"}, nonsense=True, auth=both)
    told = run("quota", *config, "alice")
    assert told.returncode == os.EX_CONFIG
    assert b'unknown setting "nonsense"' in told.stderr
    assert b"store.url: " in told.stderr
    assert b"/nowhere: No such file" in told.stderr
    assert all(line.startswith(b"mailserver: ") for line in told.stderr.splitlines())


def test_no_configuration_is_78():
    told = run("quota", "alice")
    assert told.returncode == os.EX_CONFIG
    assert (
        told.stderr
        == b"mailserver: /nowhere/mailserver.toml: cannot be read: No such file or directory; --config names another\n"
    )


def test_maildrops_in_the_server_s_memory_are_seen_by_no_command(site):
    told = run("quota", *settings(site, store={"url": "memory:"}), "alice")
    assert told.returncode == os.EX_CONFIG
    assert b"in the server's own memory" in told.stderr


def test_users_or_all_and_not_both():
    for arguments in ([], ["--all", "alice"]):
        assert run("quota", *arguments).returncode == os.EX_USAGE


def test_a_checker_that_cannot_list_its_users_is_named(site):
    both = {"checkers": [f"passwd-file:{site.users}", "memory:carol:secret"]}
    told = run("quota", *settings(site, auth=both), "--all")
    assert told.returncode == os.EX_CONFIG
    assert b"cannot list its users; name them" in told.stderr


ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@ROOT_ALONE
def test_root_leaves_nothing_of_root_s_in_a_maildrop(site):
    told = run("quota", *settings(site, user=""), "alice")
    assert told.returncode == os.EX_NOPERM
    assert b"--user" in told.stderr
    nobody = pwd.getpwnam("nobody")
    site.folder.chmod(0o755)
    for path in [site.folder, *site.folder.rglob("*")]:
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    told = run("quota", *settings(site, user=""), "--user", "nobody", "alice", started=True)
    assert (told.returncode, told.stderr) == (0, b"")
    maildir = site.accounts[0].maildir
    assert {path.stat().st_uid for path in (maildir, *maildir.rglob("*"))} == {nobody.pw_uid}


@ROOT_ALONE
def test_another_user_than_the_serving_one_is_told_who_may(site):
    site.folder.chmod(0o755)
    config = settings(site, user="nobody")
    (site.folder / "mailserver.toml").chmod(0o644)
    site.users.chmod(0o644)
    told = run("quota", *config, "alice", command=["setpriv", "--reuid=1", "--clear-groups", *COMMAND])
    assert told.returncode == os.EX_NOPERM
    assert told.stderr.startswith(b"mailserver: the maildrops are nobody's: run this as root, or as nobody\n")


@pytest.mark.parametrize("arguments", [["quota", "alice", "bob"], ["maildrop", "undelete", "alice"]])
def test_an_answer_that_cannot_be_written_is_no_fault_of_ours(site, arguments):
    command = [*COMMAND, *arguments, *settings(site)]
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run(command, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False, timeout=120)
    assert (told.returncode, told.stderr) == (os.EX_IOERR, b"mailserver: standard output: No space left on device\n")


def test_a_reader_who_has_read_enough_is_no_fault_either(site):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "quota", "--all", *settings(site)]
    with os.fdopen(writing, "wb") as pipe:
        told = subprocess.run(command, env=environment(), stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=120)
    assert (told.returncode, told.stderr) == (os.EX_IOERR, b"")
