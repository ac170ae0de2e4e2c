"""docs/migration.md: what it tells to run, in its order, from real servers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailserver.migration.table import read_table
from tests.migration.old_servers import Imap, Pop3
from tests.migration.scripted import Scripted, Talk
from tests.old.couriers import Courier
from tests.old.cyruses import HOST, Cyrus
from tests.old.dovecots import Dovecot, DovecotUser
from tests.old.front import Front
from tests.old.maildrops import body, put
from tests.old.moves import WHOEVER, configured, table
from tests.old.page import BLOCKS, PAGE, Shell
from tests.old.readers import Keeper
from tests.servers import Server, Site

NAMES = ("alice", "bob")

SECRET = b"client_id=it&client_secret=of-the-application"

TOKEN = b"eyJ0eXAiOi-_.sesame"

UW = (
    "From MAILER-DAEMON Fri Jul  3 10:00:00 2026\nFrom: Mail System Internal Data <MAILER-DAEMON@localhost>\n"
    "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1782000000 0000000003\nStatus: RO\n\n"
    "This text is part of the internal format of your mail folder, and is not\na real message.\n\n"
    "From alice@example.org Fri Jul  3 10:00:01 2026\nSubject: one\nStatus: RO\nX-UID: 1\n\ntext\n\n"
    "From alice@example.org Fri Jul  3 10:00:02 2026\nSubject: two\nStatus: O\nX-UID: 3\n\n>From here on\n\n"
)
"""A file as UW's server leaves it; its first message is none."""


def settings(name: str) -> dict[str, Any]:
    return tomllib.loads(BLOCKS[name])


def new(server: Server) -> dict[str, str]:
    """Where the new server of the page is."""
    return {"pop3s://new.example.org": f"pop3s://localhost:{server.pop3s_port}?ca={server.site.certificate}"}


@pytest.fixture
def shell(site: Site) -> Shell:
    return Shell(site.folder, configured(site))


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    dovecot = Dovecot()
    for name in NAMES:
        dovecot.user(name)
    dovecot.user("packed", mail="mdbox:~/mdbox")
    dovecot.start()
    yield dovecot
    dovecot.close()


def test_every_block_of_commands_is_run_by_a_test() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [name for name in BLOCKS if f'"{name}"' not in text] == []
    assert len(BLOCKS) == len(re.findall(r"(?m)^ *```\w+$", PAGE)) + PAGE.count("```\n# /root/moving\n")


def test_the_table_is_one(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.touch(mode=0o600)
    path.write_text(BLOCKS["/root/moving"])
    assert [(row.name, row.old_name, row.secret) for row in read_table(path)] == [
        ("alice", "alice@example.org", "her password"),
        ("bob", "bob", "his password"),
    ]


def test_the_folder_is_the_serving_user_s(site: Site, shell: Shell) -> None:
    made = site.folder / "lib"
    shell("a folder", {"vmail": WHOEVER, "/var/lib/mailserver": made})
    assert made.owner() == WHOEVER


def test_from_dovecot_with_maildirs(dovecot: Dovecot, front: Front, site: Site, shell: Shell) -> None:
    users = [DovecotUser(name, f"sesame of {name}", dovecot.folder / "mail" / name) for name in NAMES]
    for user in users:
        put(user.maildir, [body(number) for number in range(10)])
        dovecot.take(user.home)
    front.behind = dovecot.port
    clients = [Keeper(front, user) for user in users]
    assert [len(client()) for client in clients] == [10, 10]
    shell.program("doveconf", f'exec /usr/bin/doveconf -c {dovecot.configuration} "$@"')
    # It has no TLS, and masters of its own: standard error says what to do.
    assert "former = " in shell("Dovecot: a dry run", status=1)
    shell("Dovecot: its settings", {"/etc/mailserver/mailserver.toml": site.folder / "made"}, status=1)
    assert tomllib.loads((site.folder / "made").read_text())["store"]["former"] == "dovecot"
    site.users.unlink()
    file = site.folder / "dovecot-users"
    file.write_text("".join((dovecot.folder / "users").read_text().splitlines(keepends=True)[: len(NAMES)]))
    shell("Dovecot: users", {"/etc/dovecot/users": file, "/etc/mailserver/users": site.users})
    old = {"pop3s://old.example.org": f"pop3://127.0.0.1:{dovecot.port}", "/root/moving": table(site, users)}
    with Server(site) as server:  # somebody has tried it before, without our settings
        assert "20 messages" in shell("the proof", {**old, **new(server)}, status=1)
    with Server(site, **settings("Dovecot: our settings")) as server:
        shell("the proof", {**old, **new(server)})
        front.behind = server.pop3_port
        assert [client() for client in clients] == [[], []]


def test_from_dovecot_with_another_format(dovecot: Dovecot, front: Front, site: Site, shell: Shell) -> None:
    user = DovecotUser("packed", "sesame of packed", dovecot.folder / "mail/packed")
    for number in range(3):
        dovecot.deliver(user, body(number))
    front.behind = dovecot.port
    client = Keeper(front, user)
    assert len(client()) == 3
    site.account(user.name, user.password)
    old = f"pop3://127.0.0.1:{dovecot.port}?imap=127.0.0.1:{dovecot.imap_port}"
    moving = {"/root/moving.log": site.folder / "log", "/root/moving": table(site, [user])}
    shell(
        "Dovecot over the network: a dry run, then the move",
        {"pop3s://old.example.org?imap=imaps://old.example.org": old, **moving},
    )
    with Server(site) as server:
        front.behind = server.pop3_port
        assert client() == []
    (account,) = site.accounts
    put(account.maildir, [body(3)], since=2_100_000_000)  # long after the others, which have come today
    shell.program("doveadm", f'exec /usr/bin/doveadm -c {dovecot.configuration} "$@"')
    back = {
        "/var/lib/mailserver/alice": dovecot.folder / "out",
        "chown -R alice": f"chown -R {dovecot.folder.owner()}",
        "export alice": "export packed",
        "-u alice": "-u packed",
        "2026-11-27": "2036-01-01",
    }
    shell("Dovecot with another format: back", back)
    front.behind = dovecot.port
    assert [message.partition(b"\r\n\r\n")[2].strip() for message in client()] == [b"text 3"]


def test_from_courier(courier: Courier, front: Front, site: Site, shell: Shell) -> None:
    user = courier.user("paged")
    put(user.maildir, [body(number) for number in range(10)])
    front.behind = courier.port
    client = Keeper(front, user)
    assert len(client()) == 10
    userdb = site.folder / "userdb"
    userdb.write_text(
        f"{user.name}\thome={user.maildir.parent}|uid=1000|gid=1000|systempw=$1$abcdefgh$C/1XLCRVXdUP9xmGVrIfB1\n"
    )
    written = site.folder / "from-courier"
    shell("Courier: users", {"/etc/courier/userdb": userdb, "/etc/mailserver/users": written})
    assert user.name in written.read_text()
    site.account(user.name, user.password, extra=f"userdb_mail=maildir:{user.maildir}")
    with Server(site, **settings("Courier: settings")) as server:
        front.behind = server.pop3_port
        assert client() == []


def test_from_cyrus(front: Front, site: Site, shell: Shell) -> None:
    with Cyrus(NAMES[:1]) as cyrus:
        (user,) = cyrus.users
        for number in range(3):
            cyrus.deliver(user, body(number))
        front.behind = cyrus.port
        client = Keeper(front, user)
        assert len(client()) == 3
        users = {"/etc/sasldb2": cyrus.folder / "sasldb2", "old.example.org": HOST}
        written = site.folder / "from-cyrus"
        shell("Cyrus: users", {**users, "/etc/mailserver/users": written})
        assert f"{user.name}:" in written.read_text()
        site.account(user.name, user.password)
        moving = {"/root/moving.log": site.folder / "log", "/root/moving": table(site, [user])}
        shell("Cyrus: a dry run, then the move", {"/var/spool/cyrus/mail": cyrus.folder / "spool", **moving})
    with Server(site) as server:
        front.behind = server.pop3_port
        assert client() == []


def test_from_uw(front: Front, site: Site, shell: Shell) -> None:
    account = site.account("alice")
    (site.folder / "spool").mkdir()
    (site.folder / "spool/alice").write_text(UW)
    moving = {"/root/moving.log": site.folder / "log", "/root/moving": table(site, [account])}
    shell("mbox: a dry run, then the move", {"/var/mail": site.folder / "spool", **moving})
    with Server(site) as server:
        front.behind = server.pop3_port
        client = Keeper(front, account)
        assert [message.partition(b"\r\n")[0] for message in client()] == [b"Subject: one", b"Subject: two"]
        assert len(client.uidls) == 2


def posted(talk: Talk) -> None:
    """Where tokens come from."""
    header = list(iter(talk.line, b""))
    assert header[0].startswith(b"POST / ")
    while talk.unread != SECRET:
        talk.unread += talk.connection.recv(len(SECRET))
    answer = b'{"token_type":"Bearer","expires_in":3599,"access_token":"%b"}' % TOKEN
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(answer), answer)


def test_from_exchange(front: Front, site: Site, shell: Shell) -> None:
    account = site.account("alice")
    mail = [b"Subject: %d\r\n\r\ntext\r\n" % number for number in range(3)]
    response = b"user=alice@example.org\1auth=Bearer %b\1\1" % TOKEN
    pop3 = Pop3([(b"AAMk%d" % number, message) for number, message in enumerate(mail)], response=response)
    dates = [(message, f"0{number}-Jul-2026 10:00:00 +0000", r"\Seen") for number, message in enumerate(mail, 1)]
    imap = Imap(dates, "IMAP4rev1 AUTH=XOAUTH2", response=response)
    files = {f"/root/{name}": site.folder / name for name in ("exchange", "token", "addresses", "moving")}
    files["/root/exchange"].write_bytes(SECRET + b"\n")
    files["/root/addresses"].write_text("alice:alice@example.org\n")
    log = site.folder / "log"
    with Scripted(posted) as entra, Scripted(many=pop3) as old, Scripted(many=imap) as beside:
        token = {"https://login.microsoftonline.com/example.org/oauth2/v2.0/token": f"http://{entra.where}"}
        shell("Exchange: the table", {**token, **files})
        assert files["/root/moving"].stat().st_mode & 0o777 == 0o600
        places = {
            "pop3s://outlook.office365.com?imap=imaps://outlook.office365.com": f"pop3://{old.where}?imap={beside.where}",
            "/root/moving.log": log,
            "/root/moving": files["/root/moving"],
        }
        said = shell("Exchange: a dry run, then the move", places)
        assert TOKEN.decode() not in said + log.read_text()
        where = {
            "pop3s://outlook.office365.com": f"pop3://{old.where}",
            "/home/{user}": site.folder / "mail/{user}",
        }
        shell("Exchange: the proof", {**where, "/root/moving": files["/root/moving"]})
    with Server(site) as server:
        front.behind = server.pop3_port
        client = Keeper(front, account)
        assert client() == mail
        assert client.uidls == [uidl for uidl, _ in pop3.mail]
    assert [path.name.partition(":")[2] for path in account.files()] == ["2,S"] * 3


def test_from_any_server_with_pop3(dovecot: Dovecot, front: Front, site: Site, shell: Shell) -> None:
    user = DovecotUser("bob", "sesame of bob", dovecot.folder / "mail/bob")
    front.behind = dovecot.port
    client = Keeper(front, user)
    there = len(client())
    site.account(user.name, user.password)
    places = {
        "pop3s://pop.gmail.com?imap=imaps://imap.gmail.com": f"pop3://127.0.0.1:{dovecot.port}?imap=127.0.0.1:{dovecot.imap_port}",
        "/root/moving.log": site.folder / "log",
        "/root/moving": table(site, [user]),
    }
    shell("Google: the move", places)
    with Server(site) as server:
        front.behind = server.pop3_port
        assert client() == []
        assert len(client.uidls) == there


def test_one_user_goes_out_and_comes_in(front: Front, site: Site, shell: Shell) -> None:
    alice, bob = site.account("alice", messages=[body(number) for number in range(3)]), site.account("bob")
    with Server(site) as server:
        front.behind = server.pop3_port
        first = Keeper(front, alice)
        assert len(first()) == 3
        shell("one user", {"/var/lib/mailserver/alice": site.folder / "out"})
        second = Keeper(front, bob)
        assert len(second()) == 3
        assert second.uidls == first.uidls


def test_what_came_meanwhile_is_given_back_to_a_dovecot(
    dovecot: Dovecot, front: Front, site: Site, shell: Shell
) -> None:
    users = [DovecotUser(name, f"sesame of {name}", dovecot.folder / "mail" / name) for name in NAMES]
    clients = [Keeper(front, user) for user in users]
    for user in users:
        site.account(user.name, user.password, extra=f"userdb_mail=maildir:{user.maildir}")
        put(user.maildir, [body(1000)], since=1_800_000_000)
    with Server(site, store={"former": "dovecot"}) as server:
        front.behind = server.pop3_port
        assert all(client() for client in clients)
    shell.config = configured(site, store={"former": "dovecot"})
    shell.program("systemctl", f'echo "$@" >>{site.folder}/asked')
    shell("Dovecot: back")
    assert (site.folder / "asked").read_text() == "stop dovecot\nstart dovecot\n"
    for user in users:
        dovecot.take(user.home)
    front.behind = dovecot.port
    assert [client() for client in clients] == [[], []]
