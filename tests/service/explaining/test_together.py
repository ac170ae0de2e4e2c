"""What is said of a login at which many things come together, beside what becomes of it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailserver.foresight import Attempt
from tests.service.explaining.logins import PASSWORD, Login, explained, served
from tests.service.explaining.table import TWO_PORTS
from tests.tls.handshakes import write_pair

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
