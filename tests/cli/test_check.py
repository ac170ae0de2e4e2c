"""``mailserver check``: it tells what a start would, and more, and binds nothing."""

import json
import os
import pwd

import pytest

from tests.cli.running import run
from tests.servers import Server, Site, toml

WHOEVER = pwd.getpwuid(os.geteuid()).pw_name
"""Who runs the tests is the user that serves, root as well."""


@pytest.fixture
def site():
    with Site() as made:
        made.account("alice", messages=[b"one\n"])
        yield made


def settings(site, **more):
    path = site.folder / "checked.toml"
    given = {
        "user": WHOEVER,
        "listen": {"pop3": ["tcp:110"], "pop3s": ["tcp:995"]},
        "tls": {"certificate": str(site.certificate), "key": str(site.key)},
        "auth": {"checkers": [f"passwd-file:{site.users}"]},
    }
    path.write_text(toml({**given, **more}))
    return str(path)


def test_sound_settings_are_0(site):
    told = run("check", "--config", settings(site), "--users")
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.splitlines()[-1].startswith(b"no problem found")


def test_it_binds_nothing_so_that_it_runs_beside_the_server(site):
    with Server(site) as server:
        listen = {"pop3": [f"tcp:{server.pop3_port}:interface=127.0.0.1"]}
        assert run("check", "--config", settings(site, listen=listen)).returncode == 0


@pytest.mark.parametrize(
    ("control", "why"),
    [
        ("/run/x:group=nosuch", 'there is no group "nosuch" on this machine'),
        ("unix:/run/x:mode=abc", '"abc" is no number'),
        ("control", 'listen.control: "control" must begin with "/"'),
    ],
)
def test_a_socket_for_operators_that_cannot_be_is_told(site, control, why):
    listen = {"pop3": ["tcp:110"], "control": control}
    told = run("check", "--config", settings(site, listen=listen))
    assert told.returncode == os.EX_CONFIG
    (line,) = told.stdout.decode().splitlines()
    assert why in line
    assert "listen.control" in line


def test_all_problems_are_told_in_one_run_with_their_lines(site):
    site.key.unlink()
    path = settings(
        site,
        listen={"pop3": ["tcp:110:interfce=x"], "pop3s": ["tcp:995"]},
        auth={"checkers": ["passwd-file:/nowhere"]},
        usr="x",
    )
    told = run("check", "--config", path)
    assert told.returncode == os.EX_CONFIG
    lines = told.stdout.decode().splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        'unknown setting "usr"; did you mean "user"?',
        "listen.pop3",
        "tls",
        "auth.checkers",
    ]
    assert all(line.startswith(path) for line in lines)
    objects = [json.loads(line) for line in run("check", "--config", path, "--json").stdout.splitlines()]
    assert [each["problem"] for each in objects] == lines


def test_what_a_start_could_not_bind_is_told_without_binding_it(site):
    listen = {
        "pop3": ["tcp:99999", "tcp:110:interface=192.0.2.77", "tcp:10110:interface=127.0.0.1"],
        "lmtp": ["tcp6:24:interface=2001\\:db8\\:\\:77"],
    }
    told = run("check", "--config", settings(site, listen=listen))
    assert told.returncode == os.EX_CONFIG
    first, second, third = (line.partition(": ")[2] for line in told.stdout.decode().splitlines())
    assert first.startswith('listen.pop3: "tcp:99999" is not an endpoint such as tcp:110 ')
    assert first.endswith("ports go from 0 to 65535")
    assert second.startswith('listen.pop3: cannot listen on "tcp:110:interface=192.0.2.77": this machine has no such')
    assert third.startswith("listen.lmtp: ")


def test_a_certificate_and_its_key_that_are_both_missing_are_both_told(site):
    tls = {"certificate": "/nowhere/cert.pem", "key": "/nowhere/key.pem"}
    told = run("check", "--config", settings(site, tls=tls))
    assert [line.split(": ")[2] for line in told.stdout.decode().splitlines()] == list(tls.values())


def test_a_user_who_is_not_there_is_told_once(site):
    listen = {"pop3": ["tcp:110"], "http": ["tcp:8110"], "control": "/run/x"}
    path = settings(site, user="nosuchuser", listen=listen)
    lines = run("check", "--config", path).stdout.decode().splitlines()
    assert [line.partition(": ")[2].partition(";")[0] for line in lines] == ['user: there is no user "nosuchuser"']


def test_a_place_that_is_not_there_is_a_warning_and_keeps_its_users_from_their_mail(site):
    listen = {"pop3": ["tcp:110"], "lmtp": ["unix:/nowhere/lmtp:mode=660", "unix:/run/mailserver/lmtp"]}
    path = settings(site, listen=listen, store={"url": "maildir:/nowhere/{user}"})
    told = run("check", "--config", path, "--users")
    assert told.returncode == 1
    user, *warnings = told.stdout.decode().splitlines()
    assert user.startswith("user: alice: /nowhere/: No such file or directory")
    assert [line.partition(": ")[2] for line in warnings] == [
        'listen.lmtp: "unix:/nowhere/lmtp:mode=660" needs the directory /nowhere, which is not there',
        "store.url: /nowhere/ is not there, so no maildrop can be made in it: make it, or mount it",
    ]


def test_a_line_of_the_users_that_cannot_be_read_is_a_warning(site):
    with site.users.open("a") as file:
        file.write("bob:{NO-SUCH-SCHEME}x::::/nowhere::\n")
    told = run("check", "--config", settings(site))
    assert told.returncode == 0
    assert b"warning: " in told.stdout


def test_a_maildrop_that_cannot_be_opened_is_told_of_its_user(site):
    site.account("bob")
    (site.folder / "mail/bob/Maildir").rename(site.folder / "mail/bob/elsewhere")
    (site.folder / "mail/bob/Maildir").write_bytes(b"")
    assert run("check", "--config", settings(site)).returncode == 0
    told = run("check", "--config", settings(site), "--users")
    assert told.returncode == 1
    (line,) = [line for line in told.stdout.decode().splitlines() if line.startswith("user: ")]
    assert line.startswith("user: bob: ")
    assert "no problem" not in told.stdout.decode()
