"""All threads are there from the start on: a start that gets too few says so, and a login needs no new one."""

from __future__ import annotations

import json
import os
import pwd
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.auth.oauth.issuer import settings
from tests.auth.vectors import PASSWORDS, SECRETS
from tests.gss import GssClient
from tests.rawpop3 import RawPOP3
from tests.realm import Realm
from tests.servers import TWIST, TWISTD, Server, Site
from tests.service.test_kerberos import log_in

NOBODY = "nobody"
FEW = ("prlimit", "--nproc=1:1")
"""root is never refused; the one that the server becomes is."""
USABLE = os.geteuid() == 0
CONFIGURATION = 78


def tasks(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


def open_to_nobody(site: Site) -> None:
    user = pwd.getpwnam(NOBODY)
    for path in (site.folder, *site.folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
def test_a_start_without_threads_says_what_to_do_and_ends(program: tuple[str, ...], workers: int) -> None:
    with Site() as site:
        site.account("alice")
        open_to_nobody(site)
        server = Server(site, program=(*FEW, *program), workers=workers, **({"user": NOBODY} if USABLE else {}))
        server.launch()
        assert server.wait() == CONFIGURATION, server.log()
        assert "raise ulimit -u or systemd's TasksMax=" in server.log()
        assert "Traceback" not in server.log()


class Issuer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        answer = json.dumps({"active": True, "sub": "alice"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def issuer() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_no_login_needs_a_new_thread(realm: Realm, issuer: int) -> None:
    with Site() as site:
        site.account("alice")
        site.account("bob", PASSWORDS["utf8"].decode(), secret=SECRETS["BLF-CRYPT"]["utf8"].decode())
        oauth = site.folder / "oauth.toml"
        oauth.write_text(settings(introspection=f"http://127.0.0.1:{issuer}/"))
        auth = {
            "checkers": [f"passwd-file:{site.users}", f"oauth2:{oauth}", f"kerberos-password:{realm.keytab}"],
            "mechanisms": ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "GSSAPI", "OAUTHBEARER", "APOP"],
        }
        listen = {"kpop": ["tcp:0:interface=127.0.0.1"]}
        with Server(
            site, auth=auth, listen=listen, kerberos={"keytab": str(realm.keytab)}, store={"io": "threads"}
        ) as server:
            before = tasks(server)
            for user, password in (("alice", "sesame of alice"), ("bob", PASSWORDS["utf8"].decode())):
                with RawPOP3(server.pop3_port) as wire:
                    wire.login(user, password).quit()
                assert tasks(server) == before, user
            with RawPOP3(server.pop3_port) as wire:
                assert wire.command(b"AUTH OAUTHBEARER " + b64encode(b"n,,\1auth=Bearer opaque\1\1")).startswith(b"+OK")
                wire.quit()
            assert tasks(server) == before, "introspection"
            log_in(server, realm)
            assert tasks(server) == before, "KPOP"
            gssapi(server, realm)
            assert tasks(server) == before, "GSSAPI"


def gssapi(server: Server, realm: Realm) -> None:
    client = GssClient(realm, mutual=False)
    with RawPOP3(server.pop3_port) as wire:
        wire.command(b"AUTH GSSAPI")
        wire.command(b64encode(client.first))
        assert wire.command(b64encode(client.wrap(b"\1\0\0\0alice"))).startswith(b"+OK")
