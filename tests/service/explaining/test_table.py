"""Each login of the table, beside what is said of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import succeed

from mailserver import reasons
from mailserver.answers import awaited
from mailserver.credentials import VerifiedIdentity
from mailserver.errors import LoginRefused
from mailserver.foresight import Attempt, Sight
from mailserver.interfaces import Mind
from mailserver.net.door import Visit
from mailserver.reasons import REASONS
from mailserver.store.memory import MemoryStore
from tests.service.explaining.logins import PASSWORD, Login, explained, lookups, served, spin
from tests.service.explaining.rows import ALICE, database, lines, tree
from tests.service.explaining.table import ROWS, TWO_PORTS, UNSEEN
from tests.tls.handshakes import write_pair


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
        with lookups():
            yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_each_reason_has_a_row() -> None:
    """A reason that is new needs a row here, or a word on why nobody can foretell it."""
    foreseen = {row.why for row in ROWS.values() if row.why is not None}
    unforeseen = {each for each in REASONS.values() if each.proof}
    assert not foreseen & UNSEEN.keys()
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


def test_a_store_may_not_know_how_many_messages_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "look", lambda *_: succeed(Sight("elsewhere", exists=True)))
    with served(tmp_path, f"{ALICE}\n") as server:
        (told,) = (row for row in explained(server, Attempt("alice")).rows if row["door"] == "maildrop")
    assert told["says"] == "elsewhere: it is there"


async def entered_by(visit: Visit, credentials: Any, mind: Mind) -> Any:
    return await awaited(visit.log_in(credentials, mind))
