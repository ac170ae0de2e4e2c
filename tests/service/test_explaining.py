"""What is said of a login that nobody has tried, beside what becomes of it when it is tried: they never differ."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailserver import reasons
from mailserver.answers import awaited
from mailserver.auth.kerberos.tickets import KerberosChecker
from mailserver.credentials import BearerToken, IBearerToken, VerifiedIdentity
from mailserver.errors import LoginRefused
from mailserver.foresight import Attempt
from mailserver.interfaces import Mind
from mailserver.net import throttle
from mailserver.net.door import Visit
from mailserver.net.kpop import KPOPServerFactory
from mailserver.reasons import REASONS, Reason
from mailserver.service import server as servers
from mailserver.service.server import Server
from mailserver.store.maildir import promise
from mailserver.store.maildir.locking import NAME, lock
from tests.net.tickets import Acceptor
from tests.service.explaining import PASSWORD, Login, explained, reactor, served, spin
from tests.tls.handshakes import write_pair

ALICE = "alice:{PLAIN}s3same::::{folder}/alice::"
MAILDIR = {"store": {"url": "maildir:{home}/Maildir"}}
HASHED = "bob:{SSHA}X3zfZ9FZ6zYeQYW1bYlQ0n7tqjBhYmNk::::{folder}/bob::\n"

Act = Callable[[Server, Path, ExitStack], object]


class Row(NamedTuple):
    """A login, and the reason for which it is refused."""

    why: Reason | None
    extra: str = ""
    """The extra fields of alice's line."""
    attempt: Attempt = Attempt("alice")
    settings: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    act: Act | None = None
    """What happens before it."""
    users: str = ""
    """All lines, in place of alice's."""
    patch: Callable[[pytest.MonkeyPatch], object] | None = None


def lines(row: Row) -> str:
    return row.users or f"{ALICE}{row.extra}\n"


def in_maildir(change: Callable[[Path], object]) -> Act:
    """A change of alice's Maildir, which one login has made."""

    def act(server: Server, folder: Path, _: ExitStack) -> None:
        (folder / "alice").mkdir()
        assert Login(server, Attempt("alice")).run().let_in
        change(folder / "alice" / "Maildir")

    return act


def held(server: Server, folder: Path, stack: ExitStack) -> None:
    in_maildir(lambda _: None)(server, folder, stack)
    descriptor = lock(os.fsencode(folder) + b"/alice/Maildir/", "pid 1 pop3s 192.0.2.9")
    stack.callback(os.close, descriptor)


def entered(server: Server, _folder: Path, stack: ExitStack) -> None:
    """Another session of alice's is open."""
    other = Login(server, Attempt("alice"))
    other.enter()
    stack.callback(other.leave)


def failed(server: Server, _folder: Path, _stack: ExitStack) -> None:
    Login(server, Attempt("alice"), "wrong").run()


def let_in(server: Server, _folder: Path, _stack: ExitStack) -> None:
    assert Login(server, Attempt("alice")).run().let_in


def impatient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(throttle, "PATIENCE_SECONDS", 0.2)


def with_checkers(*checkers: Callable[[], object]) -> Callable[[pytest.MonkeyPatch], object]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        made = servers.make_checkers
        monkeypatch.setattr(servers, "make_checkers", lambda *given: [*made(*given), *(each() for each in checkers)])

    return patch


@implementer(ICredentialsChecker)
class Tokens:
    """A site's own checker, for which the password of these tests is everybody's token."""

    credentialInterfaces = (IBearerToken,)  # noqa: N815 - Twisted's

    def requestAvatarId(self, credentials: BearerToken) -> Deferred[bytes]:
        assert credentials.token == PASSWORD.encode()
        return succeed(credentials.claimed)


def tree(folder: Path) -> dict[Path, tuple[int, ...]]:
    """All files and folders below it, with what changes if they are changed."""
    return {
        path: (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
        for path in [folder, *folder.rglob("*")]
        for status in [path.lstat()]
    }


def with_tickets(server: Server, _folder: Path, _stack: ExitStack) -> None:
    """A port of KPOP whose tickets tell their principals, since no KDC is about."""
    explainer = server.explainer
    listener = KPOPServerFactory(explainer.portal, Acceptor(), throttle=explainer.memories.throttle)
    explainer.listeners.entries["kpop", "tcp:0"] = listener


class Refusing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: list[str] = []  # noqa: RUF012 - what it was told

    def do_POST(self) -> None:
        facts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.told.append(self.path.rpartition("=")[2])
        said = json.dumps({"status": -1 if facts["remote"] == "192.0.2.66" else 0, "msg": "no"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def policy_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        reactor.getThreadPool().start()  # where a reactor does not run, it looks up no names
        yield f"http://127.0.0.1:{server.server_port}/"
        reactor._stopThreadPool()
        server.shutdown()


def database(folder: Path, *, whole: bool = True) -> None:
    """A database with alice; not `whole`: it is damaged."""
    with closing(sqlite3.connect(folder / "mail.db")) as made, made:
        made.execute("CREATE TABLE users (name TEXT, password TEXT, disabled INTEGER)")
        made.execute("INSERT INTO users VALUES ('alice', '{PLAIN}s3same', 0), ('bob', '{PLAIN}s3same', 1)")
    if not whole:
        (folder / "mail.db").write_bytes(b"no database" * 1000)
    (folder / "sql.toml").write_text(
        f'kind = "sqlite"\ndatabase = "{folder}/mail.db"\n[queries]\n'
        'user = "SELECT name AS user, password, disabled FROM users WHERE name = {user}"\n'
    )


FOREIGN = promise.encode([]).replace(b" 3\0", b" 99\0", 1)
IN_DATABASE = {"auth": {"checkers": ["sql:{folder}/sql.toml"]}}
BY_MASTER = Attempt("bob", mechanism="PLAIN", master="alice")
BY_SCRAM = Attempt("alice", mechanism="SCRAM-SHA-256")
BY_DIGEST = Attempt("alice", mechanism="DIGEST-MD5")
WITH_DIGEST = {"auth": {"mechanisms": ["DIGEST-MD5", "PLAIN"]}}
BY_TOKEN = Attempt("alice", mechanism="XOAUTH2")
BOB = "bob:{PLAIN}other::::/x::\n"
TWO = f"{ALICE}\nbob:{{PLAIN}}other::::{{folder}}/bob::\n"
TWO_PORTS = {"listen": {"pop3": ["tcp:0"], "pop3s": ["tcp:0"], "control": ""}}
IN_TLS = {"tls": {"certificate": "{folder}/cert.pem", "key": "{folder}/key.pem"}}

ROWS: dict[str, Row] = {
    "let in": Row(None),
    "let in, in a Maildir": Row(None, settings=MAILDIR, act=in_maildir(lambda _: None)),
    "let in, with a quota": Row(None, "userdb_quota_rule=*:bytes=1M", settings=MAILDIR, act=in_maildir(lambda _: None)),
    "let in, in a Maildir that is to be made": Row(
        None, settings=MAILDIR, act=lambda _, folder, __: (folder / "alice").mkdir()
    ),
    "let in where and from where the user may": Row(None, extra="allow_nets=127.0.0.0/8 listeners=pop3"),
    "let in by an app password": Row(
        None, users="alice:::::/x::app_password=old::1:{PLAIN}gone app_password=phone:::{PLAIN}s3same\n"
    ),
    "let in by APOP": Row(None, attempt=Attempt("alice", mechanism="APOP")),
    "let in by PLAIN": Row(None, attempt=Attempt("alice", mechanism="PLAIN")),
    "let in by CRAM-MD5": Row(None, attempt=Attempt("alice", mechanism="CRAM-MD5")),
    "let in by SCRAM": Row(None, attempt=BY_SCRAM),
    "let in to a share by SCRAM": Row(
        None,
        users="vision25:{PLAIN}s3same::::::\n",
        attempt=Attempt("john@vision25", mechanism="SCRAM-SHA-256"),
        settings={"sdps": {"accounts": {"vision25": ""}}},
    ),
    "unknown by SCRAM": Row(reasons.UNKNOWN_USER, attempt=Attempt("dora", mechanism="SCRAM-SHA-256")),
    "a name that is none, by SCRAM": Row(reasons.INVALID_NAME, attempt=Attempt("a/b", mechanism="SCRAM-SHA-256")),
    "disabled, by SCRAM": Row(reasons.DENIED, users=f"{ALICE}disabled\n{BOB}", attempt=BY_SCRAM),
    "from another network by SCRAM": Row(reasons.ADDRESS, "allow_nets=192.0.2.0/24", attempt=BY_SCRAM),
    "a hash that cannot serve SCRAM": Row(
        reasons.UNFIT_SECRET,
        users=f"{ALICE}\n{HASHED}",
        attempt=Attempt("bob", mechanism="SCRAM-SHA-256"),
        settings={"auth": {"mechanisms": ["SCRAM-SHA-256", "PLAIN"]}},
    ),
    "an app password, by SCRAM": Row(
        reasons.UNFIT_SECRET,
        users=f"alice:::::/x::app_password=phone:::{{PLAIN}}s3same\n{BOB}",
        attempt=BY_SCRAM,
        settings={"auth": {"mechanisms": ["SCRAM-SHA-256", "PLAIN"]}},
    ),
    "held for too long by SCRAM": Row(
        reasons.HELD, attempt=BY_SCRAM, settings={"limits": {"failure_delay_seconds": 5}}, act=failed, patch=impatient
    ),
    "let in by DIGEST-MD5": Row(None, attempt=BY_DIGEST, settings=WITH_DIGEST),
    "unknown by DIGEST-MD5": Row(
        reasons.UNKNOWN_USER, attempt=Attempt("dora", mechanism="DIGEST-MD5"), settings=WITH_DIGEST
    ),
    "disabled, by DIGEST-MD5": Row(
        reasons.DENIED, users=f"{ALICE}disabled\n{BOB}", attempt=BY_DIGEST, settings=WITH_DIGEST
    ),
    "a hash that cannot serve DIGEST-MD5": Row(
        reasons.UNFIT_SECRET,
        users=f"{ALICE}\n{HASHED}",
        attempt=Attempt("bob", mechanism="DIGEST-MD5"),
        settings=WITH_DIGEST,
    ),
    "DIGEST-MD5 where it is not named": Row(reasons.NOT_OFFERED, attempt=BY_DIGEST),
    "let in by a token": Row(None, attempt=BY_TOKEN, patch=with_checkers(Tokens)),
    "a token of nobody's": Row(
        reasons.NO_ACCOUNT, attempt=Attempt("dora", mechanism="XOAUTH2"), patch=with_checkers(Tokens)
    ),
    "disabled, by a token": Row(reasons.DENIED, "disabled", attempt=BY_TOKEN, patch=with_checkers(Tokens)),
    "a token where none is taken": Row(reasons.NOT_OFFERED, attempt=BY_TOKEN),
    "let in by another spelling": Row(
        None,
        attempt=Attempt("Alice@Example.ORG"),
        settings={"names": {"case": "lower", "local_domains": ["example.org"]}},
    ),
    "let in as a master": Row(None, users=TWO, attempt=BY_MASTER, settings={"auth": {"masters": ["alice"]}}),
    "let in to a share": Row(
        None,
        users="vision25:{PLAIN}s3same::::::\n",
        attempt=Attempt("john+vision25"),
        settings={"sdps": {"accounts": {"vision25": ""}}},
    ),
    "let in by a ticket": Row(
        None,
        attempt=Attempt("alice", principal="alice@KPOP.TEST", listener="kpop"),
        act=with_tickets,
        patch=with_checkers(lambda: KerberosChecker(["alice@KPOP.TEST -> alice"])),
    ),
    "let in from a database": Row(None, settings=IN_DATABASE, patch=lambda _: None),
    "let in by a policy server": Row(None, settings={"auth": {"policy_url": "policy"}}),
    "turned away": Row(reasons.TURNED_AWAY, settings={"limits": {"connections_per_address": 1}}, act=entered),
    "turned away by all": Row(
        reasons.TURNED_AWAY, settings={"limits": {"connections": 1, "connections_per_address": 1}}, act=entered
    ),
    "without TLS": Row(reasons.NEEDS_TLS, settings={"auth": {"cleartext": "tls"}}),
    "without TLS, from elsewhere": Row(
        reasons.NEEDS_TLS, settings={"auth": {"cleartext": "loopback"}}, attempt=Attempt("alice", peer="192.0.2.7")
    ),
    "PLAIN without TLS": Row(
        reasons.NEEDS_TLS, settings={"auth": {"cleartext": "tls"}}, attempt=Attempt("alice", mechanism="PLAIN")
    ),
    "no APOP with hashes": Row(
        reasons.NOT_OFFERED, users=f"{ALICE}\n{HASHED}", attempt=Attempt("alice", mechanism="APOP")
    ),
    "no such mechanism": Row(reasons.NOT_OFFERED, attempt=Attempt("alice", mechanism="EXTERNAL")),
    "a mechanism that is not named": Row(
        reasons.NOT_OFFERED, settings={"auth": {"mechanisms": ["LOGIN"]}}, attempt=Attempt("alice", mechanism="PLAIN")
    ),
    "a name that is none": Row(reasons.INVALID_NAME, attempt=Attempt("a/b")),
    "a name that steers a terminal": Row(reasons.INVALID_NAME, attempt=Attempt("\x1b[31m")),
    "a name that is no UTF-8": Row(reasons.INVALID_NAME, attempt=Attempt("a\udcff")),
    "a name with a hard space": Row(reasons.INVALID_NAME, attempt=Attempt("a\u00a0b")),
    "a name with a colon": Row(reasons.UNKNOWN_USER, attempt=Attempt("a:b")),
    "a name with a space": Row(reasons.UNKNOWN_USER, attempt=Attempt("a b")),
    "a name that is too long": Row(reasons.INVALID_NAME, attempt=Attempt("a" * 300, mechanism="PLAIN")),
    "a line that is too long": Row(reasons.NOT_OFFERED, attempt=Attempt("a" * 4000)),
    "a name that is none, by PLAIN": Row(reasons.INVALID_NAME, attempt=Attempt("../alice", mechanism="PLAIN")),
    "unknown": Row(reasons.UNKNOWN_USER, attempt=Attempt("dora")),
    "unknown by this spelling": Row(reasons.UNKNOWN_USER, attempt=Attempt("Alice")),
    "unknown to a database": Row(reasons.UNKNOWN_USER, attempt=Attempt("dora"), settings=IN_DATABASE),
    "unknown in another domain's file": Row(
        reasons.UNKNOWN_USER, settings={"auth": {"checkers": ["passwd-file:{folder}/users:domain=example.org"]}}
    ),
    "a hash that cannot serve APOP": Row(
        reasons.UNFIT_SECRET,
        users=f"{ALICE}\n{HASHED}",
        attempt=Attempt("bob", mechanism="APOP"),
        settings={"auth": {"mechanisms": ["APOP", "PLAIN"]}},
    ),
    "a secret that cannot be used": Row(reasons.UNUSABLE_SECRET, users="alice:{NOSUCH}secret::::/x::\n"),
    "no secret": Row(reasons.UNUSABLE_SECRET, users="alice:::::/x::\n"),
    "an expired app password": Row(reasons.EXPIRED_SECRET, users="alice:::::/x::app_password=old::1:{PLAIN}s3same\n"),
    "a master where there are none": Row(reasons.NO_CHECKER, users=TWO, attempt=BY_MASTER),
    "no master": Row(reasons.NOT_MASTER, users=TWO, attempt=BY_MASTER, settings={"auth": {"masters": ["bob"]}}),
    "a master for nobody": Row(
        reasons.NOBODY_TO_ACT_FOR,
        attempt=Attempt("dora", mechanism="PLAIN", master="alice"),
        settings={"auth": {"masters": ["alice"]}},
    ),
    "disabled": Row(reasons.DENIED, "disabled=unpaid"),
    "disabled in a database": Row(reasons.DENIED, attempt=Attempt("bob"), settings=IN_DATABASE),
    "not yet": Row(reasons.DENIED, "delay_until=9999999999"),
    "elsewhere by Dovecot's word": Row(reasons.DENIED, "proxy=y host=mail2"),
    "an account's user who is disabled": Row(
        reasons.DENIED,
        users="vision25:{PLAIN}x::::/x::\njohn@vision25:{PLAIN}s3same::::/x::delay_until=9999999999\n",
        attempt=Attempt("john@vision25"),
        settings={"sdps": {"accounts": {"vision25": ""}}},
    ),
    "from another network": Row(reasons.ADDRESS, "allow_nets=192.0.2.0/24"),
    "a master from another network": Row(
        reasons.ADDRESS,
        users=f"{ALICE}allow_nets=192.0.2.0/24\nbob:{{PLAIN}}x::::/x::\n",
        attempt=BY_MASTER,
        settings={"auth": {"masters": ["alice"]}},
    ),
    "at another listener": Row(reasons.LISTENER, "listeners=pop3s"),
    "an app password of another listener": Row(
        reasons.LISTENER, users="alice:::::/x::app_password=phone:pop3s::{PLAIN}s3same\n"
    ),
    "a ticket for another": Row(
        reasons.PRINCIPAL,
        attempt=Attempt("bob", principal="alice@KPOP.TEST", listener="kpop"),
        act=with_tickets,
        patch=with_checkers(lambda: KerberosChecker(["alice@KPOP.TEST -> alice"])),
    ),
    "the policy server's no": Row(
        reasons.POLICY, attempt=Attempt("alice", peer="192.0.2.66"), settings={"auth": {"policy_url": "policy"}}
    ),
    "held for too long": Row(
        reasons.HELD, settings={"limits": {"failure_delay_seconds": 5}}, act=failed, patch=impatient
    ),
    "too soon": Row(reasons.LOGIN_DELAY, settings={"retention": {"login_delay_seconds": 600}}, act=let_in),
    "too soon by the user's own delay": Row(reasons.LOGIN_DELAY, "login_delay=600", act=let_in),
    "a database that is down": Row(
        reasons.NOT_NOW, settings=IN_DATABASE, act=lambda _, folder, __: (folder / "mail.db").write_bytes(b"none" * 999)
    ),
    "no home": Row(reasons.NO_HOME, users="alice:{PLAIN}s3same::::::\n", settings=MAILDIR),
    "nobody's home": Row(
        reasons.NO_HOME,
        users="bob:{PLAIN}x::::/x::\n",
        settings={**MAILDIR, "auth": {"checkers": ["passwd-file:{folder}/users", "memory:alice:s3same"]}},
    ),
    "a format that is not served": Row(reasons.UNSERVED, "userdb_mail=mbox:~/mail"),
    "no place": Row(reasons.NO_MAILDROP, "userdb_mail=maildir:somewhere", settings=MAILDIR),
    "no such store": Row(reasons.NO_MAILDROP, "userdb_mail=sdb:/x"),
    "in use": Row(reasons.IN_USE, settings=MAILDIR, act=held),
    "in use, in memory": Row(reasons.IN_USE, act=entered),
    "a home that is missing": Row(reasons.UNAVAILABLE, settings=MAILDIR),
    "a file in place of new": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(lambda maildir: ((maildir / "new").rmdir(), (maildir / "new").touch())),
    ),
    "a link in place of cur": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(
            lambda maildir: ((maildir / "cur").rename(maildir / "old"), (maildir / "cur").symlink_to("old"))
        ),
    ),
    "a link in place of the lock": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(
            lambda maildir: (
                (maildir / NAME.decode()).rename(maildir / "old"),
                (maildir / NAME.decode()).symlink_to("old"),
            )
        ),
    ),
    "another version's promise": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(lambda maildir: (maildir / "mailserver-journal").write_bytes(FOREIGN)),
    ),
    "a map that is lost": Row(
        reasons.CORRUPT,
        settings=MAILDIR,
        act=in_maildir(
            lambda maildir: (
                (maildir / "mailserver-index").unlink(missing_ok=True),
                (maildir / "mailserver-uidls").write_bytes(b"damaged"),
                (maildir / "new" / "1700000001.M1P1.host").write_bytes(b"Subject: x\n\nx\n"),
            )
        ),
    ),
}

UNSEEN = {
    reasons.TLS_FAILED: "the client's TLS, of which nothing is known",
    reasons.WRONG_PROTOCOL: "what the client speaks",
}
"""The reasons that are no login's by a name and the right password, and why."""


def test_each_reason_has_a_row() -> None:
    """A reason that is new needs a row here, or a word on why nobody can foretell it."""
    foreseen = {row.why for row in ROWS.values() if row.why is not None}
    unforeseen = {each for each in REASONS.values() if each.proof}
    assert not foreseen & (unforeseen | UNSEEN.keys())
    assert set(REASONS.values()) == foreseen | unforeseen | UNSEEN.keys()


@pytest.mark.parametrize("name", ROWS)
def test_what_is_said_of_a_login_is_what_becomes_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy_url: str
) -> None:
    row = ROWS[name]
    if row.patch is not None:
        row.patch(monkeypatch)
    asked = row.settings
    if asked.get("auth", {}).get("policy_url"):
        asked = {**asked, "auth": {**asked["auth"], "policy_url": policy_url}}
    database(tmp_path)
    with served(tmp_path, lines(row), asked) as server, ExitStack() as stack:
        if row.act is not None:
            row.act(server, tmp_path, stack)
        before = tree(tmp_path)
        said = explained(server, row.attempt)
        assert tree(tmp_path) == before
        again = explained(server, row.attempt)
        real = Login(server, row.attempt).run()
    assert said.rows == again.rows, "to ask has changed something"
    expected = "" if row.why is None else row.why.name
    refusal = said.refusal
    assert ("" if refusal is None or refusal.why is None else refusal.why.name, real.why) == (expected, expected)
    assert real.let_in == (refusal is None)
    assert PASSWORD not in json.dumps(said.rows)


def test_whom_a_certificate_names_needs_an_account(tmp_path: Path) -> None:
    """What is real of it is the way from the proof on: the proof itself is a TLS handshake's."""
    files = write_pair(tmp_path, "cert", ["localhost"])
    tls = {
        **TWO_PORTS,
        "tls": {
            "certificate": files.certificate,
            "key": files.key,
            "client_ca": files.certificate,
            "client_name": "cn",
        },
    }
    with served(tmp_path, f"{ALICE}\n", tls) as server:
        for name, why in (("alice", ""), ("dora", reasons.NO_ACCOUNT.name)):
            attempt = Attempt(name, listener="pop3s", mechanism="EXTERNAL")
            refusal = explained(server, attempt).refusal
            assert ("" if refusal is None or refusal.why is None else refusal.why.name) == why
            listener, _ = server.explainer._listener(attempt)
            visit, mind = Visit(listener.door, "127.0.0.1"), Mind("127.0.0.1", tls=True, listener="pop3s")
            with pytest.raises(LoginRefused) if why else nullcontext() as refused:
                spin(entered_by(visit, VerifiedIdentity(name.encode()), mind))
            assert (refused.value.why.name if refused else "") == why
            visit.log_out({})


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """As a user for whom modes count: of the files in the folder, which everybody finds."""
    if os.geteuid() != 0:
        yield
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        os.lchown(path, nobody, -1)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


IN_HOME = ["", "Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"]
OURS = [NAME.decode(), "mailserver-index", "mailserver-uidls"]


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "a new message": lambda home: (home / "Maildir/new/1700000000.M1P1.host").write_bytes(b"Subject: x\n\nx\n"),
    "no Maildir": lambda home: rmtree(home / "Maildir"),
    "no cur": lambda home: rmtree(home / "Maildir/cur"),
    "no tmp": lambda home: rmtree(home / "Maildir/tmp"),
    "no lock": lambda home: (home / "Maildir" / NAME.decode()).unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_rights_of_files_count_as_for_a_login(change: Callable[[Path], object]) -> None:
    attempt, differ = Attempt("alice"), []
    with TemporaryDirectory() as folder, served(Path(folder), f"{ALICE}\n", MAILDIR) as server:
        home = Path(folder) / "alice"
        home.mkdir()
        with as_nobody(Path(folder)):
            for name, mode in product([*IN_HOME, *(f"Maildir/{each}" for each in OURS)], [0, 0o400, 0o500, 0o100]):
                assert Login(server, attempt).run().let_in
                change(home)
                path = home / name
                if not path.exists():
                    continue
                kept = path.stat().st_mode & 0o777
                path.chmod(mode)
                said, real = explained(server, attempt).refusal, Login(server, attempt).run()
                path.chmod(kept)
                if ("" if said is None or said.why is None else said.why.name) != real.why:
                    differ.append((name, oct(mode), said and said.says, real.why))
    assert not differ


def test_a_database_that_is_down_is_named(tmp_path: Path) -> None:
    database(tmp_path)
    with served(tmp_path, "", {"auth": {"checkers": ["memory:bob:s3same", "sql:{folder}/sql.toml"]}}) as server:
        (tmp_path / "mail.db").write_bytes(b"none" * 999)
        said = [row["says"] for row in explained(server, Attempt("alice")).rows if row["door"] == "checker"]
    assert said[:2] == [
        "memory:... can tell of 'alice' only with the password",
        f"sql:{tmp_path}/sql.toml does not answer now",
    ]
    assert PASSWORD not in str(said)


async def entered_by(visit: Visit, credentials: Any, mind: Mind) -> Any:
    return await awaited(visit.log_in(credentials, mind))


EXTRAS = {
    "disabled": "disabled",
    "nets": "allow_nets=192.0.2.0/24",
    "home": "allow_nets=127.0.0.0/8,192.0.2.7",
    "listeners": "listeners=pop3s",
    "tls": "listeners=tls",
    "delay": "login_delay=60",
    "later": "delay_until=9999999999",
    "mbox": "userdb_mail=mbox:/x",
    "phone": "app_password=phone:pop3::{PLAIN}s3same",
    "old": "app_password=old::1:{PLAIN}s3same",
}
HASH = "{SSHA}" + b64encode(sha1(PASSWORD.encode() + b"salt", usedforsecurity=False).digest() + b"salt").decode()
SECRETS = ["{PLAIN}s3same", "{PLAIN}s3same", "", "{NOSUCH}x", HASH]
"""Those that can be proved are of one password, so that it is the right one whichever counts."""

combined = st.fixed_dictionaries(
    {
        "secret": st.sampled_from(SECRETS),
        "extras": st.sets(st.sampled_from(sorted(EXTRAS)), max_size=3),
        "user": st.sampled_from(["alice", "alice", "alice", "Alice", "alice+tag", "dora", "a/b"]),
        "peer": st.sampled_from(["127.0.0.1", "192.0.2.7", "198.51.100.1"]),
        "listener": st.sampled_from(["pop3", "pop3s"]),
        "tls": st.booleans(),
        "mechanism": st.sampled_from(["", "", "PLAIN", "APOP", "CRAM-MD5", "SCRAM-SHA-256"]),
        "cleartext": st.sampled_from(["tls", "loopback", "always"]),
        "names": st.sampled_from([{}, {"case": "lower"}, {"tag_separators": "+"}]),
        "twice": st.booleans(),
    }
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    files = write_pair(tmp_path_factory.mktemp("tls"), "cert", ["localhost"])
    return {"certificate": files.certificate, "key": files.key}


@given(combined)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_never_differs_over_all_that_can_come_together(pair: dict[str, str], drawn: dict[str, Any]) -> None:
    extra = " ".join(EXTRAS[each] for each in sorted(drawn["extras"]))
    line = f"alice:{drawn['secret']}::::/x::{extra}\n"
    given_settings = {
        **TWO_PORTS,
        "tls": pair,
        "names": drawn["names"],
        "auth": {"cleartext": drawn["cleartext"]},
        "limits": {"failure_delay_seconds": 0},
    }
    attempt = Attempt(drawn["user"], drawn["peer"], drawn["listener"], drawn["mechanism"], tls=drawn["tls"])
    with TemporaryDirectory() as folder, served(Path(folder), line, given_settings) as server:
        if drawn["twice"]:
            Login(server, Attempt("alice", listener="pop3s")).run()
        refusal = explained(server, attempt).refusal
        real = Login(server, attempt).run()
    assert ("" if refusal is None or refusal.why is None else refusal.why.name) == real.why
