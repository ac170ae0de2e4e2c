"""What happens before a login of the table, and what its rows are made of."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailserver.credentials import BearerToken, IBearerToken
from mailserver.foresight import Attempt
from mailserver.net import throttle
from mailserver.net.kpop import KPOPServerFactory
from mailserver.reasons import Reason
from mailserver.service import server as servers
from mailserver.service.server import Server
from mailserver.store.maildir.locking import lock
from tests.net.tickets import Acceptor
from tests.service.explaining.logins import PASSWORD, Login

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


def database(folder: Path) -> None:
    """A database with alice and bob."""
    with closing(sqlite3.connect(folder / "mail.db")) as made, made:
        made.execute("CREATE TABLE users (name TEXT, password TEXT, disabled INTEGER)")
        made.execute("INSERT INTO users VALUES ('alice', '{PLAIN}s3same', 0), ('bob', '{PLAIN}s3same', 1)")
    (folder / "sql.toml").write_text(
        f'kind = "sqlite"\ndatabase = "{folder}/mail.db"\n[queries]\n'
        'user = "SELECT name AS user, password, disabled FROM users WHERE name = {user}"\n'
    )


def damaged(_: Server, folder: Path, __: ExitStack) -> None:
    """It is no database any more."""
    (folder / "mail.db").write_bytes(b"none" * 999)
