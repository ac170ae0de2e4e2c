"""What is said of logins that a token or Kerberos proves, beside what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from mailserver import reasons
from mailserver.answers import awaited
from mailserver.foresight import Attempt
from mailserver.service import server as servers
from tests.auth.oauth.issuer import AUDIENCE, ISSUER, Endpoint, Keys, settings
from tests.realm import Realm, password_of
from tests.service.explaining.cases import IN_CLEAR, Case, differences, server_of
from tests.service.explaining.logins import lookups, reactor, spin
from tests.service.explaining.rows import Tokens

ALICE = "passwd-file:{folder}/users"
USERS = "alice:{PLAIN}s3same::::/x::\nbob:{PLAIN}s3same::::/x::disabled=unpaid\n"
GOOD, BAD, OF_BOB = "a-good-token", "a-bad-token", "a-token-of-bob"
OWNERS = {GOOD.encode(): "alice", OF_BOB.encode(): "bob"}
TOKENS = {"issuer": ISSUER, "audience": AUDIENCE}


@pytest.fixture
def issuer() -> Iterator[Any]:
    """An issuer that knows two tokens."""

    def answer(token: bytes) -> dict[str, Any]:
        owner = OWNERS.get(token)
        return {"active": owner is not None, "iss": ISSUER, "aud": AUDIENCE, "sub": owner}

    made: Any = Endpoint(answer)
    port = reactor.listenTCP(0, made.site, interface="127.0.0.1")
    made.url = f"http://127.0.0.1:{port.getHost().port}/"
    with lookups():
        yield made
    port.stopListening()


def by(mechanism: str, user: str = "alice", **where: Any) -> Attempt:
    return Attempt(user, mechanism=mechanism, **where)


def test_owners_of_tokens_that_the_issuer_tells(tmp_path: Path, issuer: Any) -> None:
    (tmp_path / "oauth.toml").write_text(settings(introspection=issuer.url, cache_seconds=0.001, **TOKENS))
    cases = {
        "let in": Case(by("XOAUTH2"), secret=GOOD, tells="can tell whose a token is"),
        "let in by the other way": Case(by("OAUTHBEARER"), secret=GOOD),
        "a bad one": Case(by("OAUTHBEARER"), secret=BAD, real=reasons.TOKEN),
        "disabled": Case(by("XOAUTH2", "bob"), reasons.DENIED, secret=OF_BOB),
        "in clear": Case(by("XOAUTH2", **IN_CLEAR), reasons.NEEDS_TLS, secret=GOOD),
        "by a ticket": Case(by("GSSAPI", principal="alice@KPOP.TEST"), reasons.NOT_OFFERED),
    }
    down = {"down": Case(by("XOAUTH2"), reasons.NOT_NOW, secret=GOOD, tells="does not answer now")}
    with server_of(tmp_path, f"oauth2:{tmp_path}/oauth.toml", ALICE, users=USERS) as server:
        found = differences(server, cases)
        issuer.code = 503
        found += differences(server, down)
    assert found == []


def test_owners_of_tokens_of_two_issuers_of_whom_one_is_down(tmp_path: Path, issuer: Any) -> None:
    nobody = "http://127.0.0.1:1/"
    for name, url in {"first": issuer.url, "second": nobody}.items():
        (tmp_path / f"{name}.toml").write_text(settings(introspection=url, **TOKENS))
    either = Case(by("XOAUTH2"), reasons.NOT_NOW, unless=True, tells="second.toml does not answer now")
    cases = {"the first one's": either._replace(secret=GOOD, is_let_in=True), "a bad one": either._replace(secret=BAD)}
    checkers = [f"oauth2:{tmp_path}/{name}.toml" for name in ("first", "second")]
    with server_of(tmp_path, *checkers, ALICE, users=USERS) as server:
        assert differences(server, cases) == []


def test_owners_of_tokens_whom_a_checker_of_the_sites_own_may_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = servers.make_checkers
    monkeypatch.setattr(servers, "make_checkers", lambda *given: [Tokens(), *made(*given)])
    (tmp_path / "oauth.toml").write_text(settings(introspection="http://127.0.0.1:1/", **TOKENS))
    told = Case(
        by("XOAUTH2"), reasons.NOT_NOW, doubts="checker", unless=True, is_let_in=True, tells="only a login tells"
    )
    with lookups(), server_of(tmp_path, f"oauth2:{tmp_path}/oauth.toml", ALICE, users=USERS) as server:
        assert differences(server, {"taken by the first": told}) == []


def test_owners_of_tokens_that_the_issuer_has_signed(tmp_path: Path, issuer: Any) -> None:
    keys = Keys(tmp_path)
    alice, dora = (keys.token(sub=user).decode() for user in ("alice", "dora"))
    (tmp_path / "oauth.toml").write_text(
        settings(keys=str(keys.file), introspection=issuer.url, cache_seconds=0.001, **TOKENS)
    )
    cases = {
        "let in": Case(by("XOAUTH2"), secret=alice),
        "let in by another token": Case(by("XOAUTH2"), secret=GOOD),
        "without an account": Case(by("XOAUTH2", "dora"), reasons.NO_ACCOUNT, secret=dora),
        "a bad one": Case(by("XOAUTH2"), secret=f"{alice}x", real=reasons.TOKEN),
    }
    either = Case(by("XOAUTH2"), reasons.NOT_NOW, doubts="checker", unless=True, tells="that only a JWT")
    down = {
        "down": either._replace(secret=GOOD),
        "down, and not needed": either._replace(secret=alice, is_let_in=True),
    }
    with server_of(tmp_path, f"oauth2:{tmp_path}/oauth.toml", ALICE, users=USERS) as server:
        found = differences(server, cases)
        issuer.code = 503
        found += differences(server, down)
    assert found == []


@pytest.fixture
def principals(realm: Realm) -> Realm:
    """A realm with some whom the KDC minds."""
    realm.kadmin(
        "addprinc -pw right -allow_tix shut",
        "addprinc -pw right -pwexpire 2020-01-01 late",
        "addpol -maxfailure 1 once",
        "addprinc -pw right -policy once +requires_preauth meek",
    )
    return realm


def test_passwords_of_kerberos(tmp_path: Path, principals: Realm) -> None:
    alice = password_of("alice")
    cases = {
        "let in": Case(Attempt("alice"), secret=alice),
        "let in by PLAIN": Case(by("PLAIN"), secret=alice),
        "wrong": Case(Attempt("alice"), secret=BAD, real=reasons.BACKEND),
        "who may fail once": Case(Attempt("meek"), secret="right"),
        "locked": Case(Attempt("shut"), reasons.BACKEND, "right", tells="credentials have been revoked"),
        "expired": Case(Attempt("late"), reasons.BACKEND, "right", tells="Password has expired"),
        "unknown": Case(Attempt("dora"), reasons.BACKEND, tells="not found in Kerberos database"),
        "root": Case(Attempt("root"), reasons.UNKNOWN_USER, password_of("root")),
        "in clear": Case(Attempt("alice", **IN_CLEAR), reasons.NEEDS_TLS),
        "by CRAM-MD5": Case(by("CRAM-MD5"), reasons.NOT_OFFERED),
    }
    either = Case(Attempt("bob"), reasons.NOT_NOW, doubts="checker", unless=True, tells="in the last ten minutes")
    remembering = {
        "down": either._replace(secret=password_of("bob")),
        "down, but remembered": either._replace(attempt=Attempt("alice"), secret=alice, is_let_in=True),
    }
    down = {"down": Case(Attempt("bob"), reasons.NOT_NOW, password_of("bob"), tells="does not answer now")}
    with server_of(tmp_path, f"kerberos-password:{principals.keytab}") as server:
        found = differences(server, cases)
        principals.halt()
        try:
            found += differences(server, remembering)
            spin(awaited(server.reload()))
            found += differences(server, down)
        finally:
            principals.start()
    assert found == []


def test_tickets(tmp_path: Path, realm: Realm) -> None:
    keytab = tmp_path / "keytab"
    copy(realm.keytab, keytab)

    def kpop(user: str, principal: str = "alice@KPOP.TEST") -> Attempt:
        return Attempt(user, listener="kpop", principal=principal)

    def gssapi(user: str, principal: str = "alice@KPOP.TEST", **where: Any) -> Attempt:
        return Attempt(user, mechanism="GSSAPI", principal=principal, **where)

    cases = {
        f"{name}, by {which}": Case(attempt(*given), why, tells=tells)
        for which, attempt in {"KPOP": kpop, "GSSAPI": gssapi}.items()
        for name, given, why, tells in (
            ("let in", ("alice",), None, "may open the maildrop of 'alice'"),
            ("another's", ("bob",), reasons.PRINCIPAL, "it may open 'alice'"),
            ("disabled", ("bob", "bob@KPOP.TEST"), reasons.DENIED, ""),
            ("root", ("root", "root@KPOP.TEST"), reasons.PRINCIPAL, "it may open none"),
        )
    }
    cases["its own, by GSSAPI"] = Case(gssapi(""))
    cases["let in without TLS"] = Case(gssapi("alice", **IN_CLEAR))
    useless = {
        "no keytab, by KPOP": Case(kpop("alice"), reasons.TICKET, tells="there is no keytab"),
        "no keytab, by GSSAPI": Case(gssapi("alice"), reasons.TICKET, tells="kadmin -q"),
    }
    given = {"kerberos": {"keytab": str(keytab)}, "listen": {"kpop": ["tcp:0"]}}
    with server_of(tmp_path, ALICE, users=USERS, **given) as server:
        found = differences(server, cases, realm)
        keytab.unlink()
        found += differences(server, useless, realm)
    assert found == []
