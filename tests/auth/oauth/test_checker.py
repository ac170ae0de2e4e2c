from __future__ import annotations

import base64
import hmac
import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.auth.oauth import introspection
from mailserver.auth.oauth.checker import MAX_REMEMBERED, OAuthTokens, _Remembered
from mailserver.auth.oauth.settings import OAuthFileError, OAuthSettings, owner, read_settings
from mailserver.credentials import BearerToken
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.interfaces import IPart
from tests.auth.oauth.issuer import AUDIENCE, ISSUER, Endpoint, Keys, settings


def signed(header: dict[str, Any], claims: dict[str, Any], secret: bytes = b"") -> bytes:
    """A JWT as an attacker makes it: with no signature, or with a HMAC under whatever he knows."""
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signature = hmac.digest(secret, text, "sha256") if secret else b""
    return text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


@contextmanager
def full_queue() -> Iterator[int]:
    """The port of a listener whose queue is full: what connects to it waits."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


class OAuthCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.path = self.folder / "oauth.toml"
        self.now = time.time()

    async def started(self, **values: Any) -> OAuthTokens:
        self.path.write_text(settings(**values))
        checker = OAuthTokens(str(self.path), wall=lambda: self.now)
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        return checker

    async def refused(self, checker: OAuthTokens, token: bytes) -> None:
        with pytest.raises(UnauthorizedLogin):
            await checker.requestAvatarId(BearerToken(token))


class KeysTests(OAuthCase):
    async def local(self, **values: Any) -> OAuthTokens:
        self.keys = Keys(self.folder)
        return await self.started(keys=str(self.keys.file), issuer=ISSUER, audience=AUDIENCE, **values)

    async def test_it_provides_its_interfaces(self) -> None:
        checker = await self.local()
        verifyObject(ICredentialsChecker, checker)
        verifyObject(IPart, checker)
        assert "oauth.toml" in repr(checker)

    async def test_a_signed_token_names_its_owner(self) -> None:
        checker = await self.local()
        for token in (
            self.keys.token(),
            self.keys.token(self.keys.rsa, "RS256", "r"),
            self.keys.token(aud=["other", AUDIENCE]),
            self.keys.token(exp=int(self.now) - 20),
            self.keys.token(nbf=int(self.now) + 20),
        ):
            assert await checker.requestAvatarId(BearerToken(token)) == b"alice"

    async def test_the_claim_that_names_the_user_is_configured(self) -> None:
        checker = await self.local(username="email")
        token = self.keys.token(email="jörg@example.org")
        assert await checker.requestAvatarId(BearerToken(token)) == "jörg@example.org".encode()
        await self.refused(checker, self.keys.token())

    async def test_a_token_for_another_service_time_or_issuer_is_refused(self) -> None:
        checker = await self.local(scope="mail")
        good = {"scope": "openid mail"}
        assert await checker.requestAvatarId(BearerToken(self.keys.token(**good))) == b"alice"
        for wrong in (
            {"aud": "imap"},
            {"aud": None},
            {"aud": ["imap"]},
            {"iss": "https://evil.example.org"},
            {"iss": None},
            {"exp": int(self.now) - 60},
            {"exp": None},
            {"exp": "tomorrow"},
            {"exp": True},
            {"nbf": int(self.now) + 60},
            {"scope": "openid"},
            {"scope": None},
            {"scope": {"mail": 1}},
            {"sub": ""},
            {"sub": 7},
            {"sub": None},
        ):
            await self.refused(checker, self.keys.token(**{**good, **wrong}))

    async def test_a_list_of_scopes_will_do(self) -> None:
        checker = await self.local(scope="mail")
        assert await checker.requestAvatarId(BearerToken(self.keys.token(scope=["mail"]))) == b"alice"

    async def test_a_signature_that_is_not_allowed_or_not_the_issuer_s_is_refused(self) -> None:
        checker = await self.local()
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(self.now) + 60}
        public = self.keys.rsa.as_pem(private=False)
        right = self.keys.token()
        for token in (
            signed({"alg": "none"}, claims),
            signed({"alg": "none", "kid": "r"}, claims),
            signed({"alg": "HS256", "kid": "r"}, claims, public),
            signed({"alg": "ES256", "kid": "e", "crit": ["x"], "x": 1}, claims),
            signed({"alg": "ES256", "kid": "e", "crit": None}, claims),
            signed({"alg": "ES256", "kid": "e", "crit": 1}, claims),
            self.keys.token(ECKey.generate_key("P-256")),
            self.keys.token(kid="unknown"),
            self.keys.token(ECKey.generate_key("P-256"), kid=None),
            self.keys.token(self.keys.rsa, "RS512", "r"),
            right[:-4] + b"AAAA",
            right + b"A",
        ):
            await self.refused(checker, token)

    async def test_a_token_that_names_no_key_is_verified_by_each_that_can_have_signed_it(self) -> None:
        checker = await self.local()
        assert await checker.requestAvatarId(BearerToken(self.keys.token(kid=None))) == b"alice"
        by_rsa = self.keys.token(self.keys.rsa, "RS256", None)
        assert await checker.requestAvatarId(BearerToken(by_rsa)) == b"alice"

    async def test_why_a_token_is_refused_is_told(self) -> None:
        checker = await self.local(scope="mail")
        good: dict[str, Any] = {"scope": "mail"}
        for wrong, reason in (
            ({"iss": "https://evil.example"}, "the token's issuer is 'https://evil.example'"),
            ({"aud": "imap"}, "the token is for 'imap'"),
            ({"nbf": int(self.now) + 600}, "the token is not yet good"),
            ({"exp": int(self.now) - 600}, "the token has expired"),
            ({"exp": None}, "the token has no exp claim, so it would never expire"),
            ({"sub": 7}, "the token has no name of a user in its claim sub"),
            ({"scope": "openid"}, "the token's scopes lack 'mail'"),
        ):
            with pytest.raises(LoginRefused) as caught:
                await checker.requestAvatarId(BearerToken(self.keys.token(**{**good, **wrong})))
            assert caught.value.reason == reason
        for token, reason in (
            (self.keys.token(kid="unknown"), "the token's signature was made by no key of the set"),
            (b"opaque", "the token is not a JWT, and no introspection is configured"),
            (b"a.b.c", "the token is not a JWT that can be verified: DecodeError"),
        ):
            with pytest.raises(LoginRefused) as caught:
                await checker.requestAvatarId(BearerToken(token))
            assert caught.value.reason == reason

    async def test_rubbish_is_refused(self) -> None:
        checker = await self.local()
        deep = base64.urlsafe_b64encode(b"[" * 40_000)
        for token in (b"", b"opaque", b"..", b"a.b.c", deep + b".e30.x", b"." * 60_000):
            await self.refused(checker, token)

    async def test_any_octets_are_refused(self) -> None:
        checker = await self.local()

        @hypothesis_settings(deadline=None, max_examples=60)
        @given(st.binary() | st.lists(st.binary(max_size=20).map(base64.urlsafe_b64encode), max_size=4).map(b".".join))
        def check(token: bytes) -> None:
            self.failureResultOf(checker.requestAvatarId(BearerToken(token)), UnauthorizedLogin)

        check()

    async def test_new_keys_count_after_a_reload_and_broken_ones_do_not(self) -> None:
        checker = await self.local()
        old = self.keys.token()
        self.keys = Keys(self.folder)
        await checker.reload()
        await self.refused(checker, old)
        assert await checker.requestAvatarId(BearerToken(self.keys.token())) == b"alice"
        self.keys.file.write_text("{")
        with capturedLogs() as events:
            await checker.reload()
        assert [event["event"] for event in events] == ["auth.oauth"]
        assert await checker.requestAvatarId(BearerToken(self.keys.token())) == b"alice"

    async def test_keys_that_cannot_be_read_end_the_start(self) -> None:
        for text in ("{", "[]", "{}", '{"keys": []}', '{"keys": [7]}', '{"keys": [{"kty": "RSA"}]}'):
            (self.folder / "bad.json").write_text(text)
            with pytest.raises(OAuthFileError, match=r"bad\.json: is not a JWK Set"):
                await self.started(keys=str(self.folder / "bad.json"), issuer=ISSUER, audience=AUDIENCE)
        with pytest.raises(OAuthFileError, match="No such file"):
            await self.started(keys="/nonexistent", issuer=ISSUER, audience=AUDIENCE)

    def test_before_the_start_it_answers_nothing(self) -> None:
        checker = OAuthTokens("/nonexistent")
        self.successResultOf(checker.reload())
        self.successResultOf(checker.stop())
        with pytest.raises(RuntimeError):
            checker.requestAvatarId(BearerToken(b"t"))


class IntrospectionTests(OAuthCase):
    async def asking(self, answer: Any, **values: Any) -> OAuthTokens:
        self.endpoint = Endpoint(answer if callable(answer) else lambda _: answer)
        port: Any = reactor.listenTCP(0, self.endpoint.site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.port = port
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/introspect"
        checker = await self.started(introspection=url, **values)
        self.addCleanup(checker.stop)  # before the port is closed: cleanups run from last to first
        return checker

    async def fails(self, checker: OAuthTokens, token: bytes = b"s3cret-t0ken") -> str:
        """The reason in the log."""
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(BearerToken(token))
        assert token.decode() not in repr(events)
        told = [event for event in events if event.get("event") == "auth.introspection"]
        assert len(told) == 1
        return str(told[0]["reason"])

    async def test_an_active_token_names_its_owner(self) -> None:
        checker = await self.asking(
            lambda token: {"active": token == b"good", "username": "alice"},
            username="username",
            client_id="mail server",
            client_secret="a:b",
        )
        assert await checker.requestAvatarId(BearerToken(b"good")) == b"alice"
        await self.refused(checker, b"bad")
        sent = self.endpoint.requests[0]
        assert sent.args == {b"token": [b"good"], b"token_type_hint": [b"access_token"]}
        assert (sent.getUser(), sent.getPassword()) == (b"mail+server", b"a%3Ab")

    async def test_its_claims_are_checked_as_those_of_a_jwt(self) -> None:
        said = {"active": True, "sub": "alice", "aud": AUDIENCE, "iss": ISSUER, "scope": "mail"}
        checker = await self.asking(lambda _: said, issuer=ISSUER, audience=AUDIENCE, scope="mail", cache_seconds=0.01)
        assert await checker.requestAvatarId(BearerToken(b"t")) == b"alice"
        self.now += 1
        for name, value in {"aud": "imap", "iss": "x", "scope": "", "exp": self.now - 60, "sub": None}.items():
            kept, said[name] = said.get(name), value
            await self.refused(checker, b"t")
            said[name] = kept
            if kept is None:
                del said[name]

    async def test_an_answer_holds_for_a_while_and_no_longer_than_the_token(self) -> None:
        exp = int(self.now) + 40
        checker = await self.asking(
            lambda token: {"active": True, "sub": "alice", **({"exp": exp} if token == b"e" else {})}
        )
        for seconds, asked in ((0, 2), (5, 2), (50, 3), (61, 5)):
            now, self.now = self.now, self.now + seconds
            for token in (b"t", b"e"):
                assert await checker.requestAvatarId(BearerToken(token)) == b"alice"
            self.now = now
            assert len(self.endpoint.requests) == asked

    async def test_a_refusal_is_not_remembered(self) -> None:
        checker = await self.asking({"active": False})
        await self.refused(checker, b"t")
        await self.refused(checker, b"t")
        assert len(self.endpoint.requests) == 2

    async def test_an_endpoint_that_lies_says_nothing_about_the_token(self) -> None:
        checker = await self.asking(lambda _: self.lie)
        for self.lie in (
            b"",
            b"<html>login</html>",
            b"\xff",
            b"[]",
            b"{}",
            b"true",
            b'{"active": "true"}',
            b'{"active": 1}',
            b"[" * 60_000,
            b" " * 70_000 + b'{"active": true}',
        ):
            await self.fails(checker)

    async def test_an_endpoint_that_refuses_us_says_nothing_about_the_token(self) -> None:
        checker = await self.asking({"active": True, "sub": "alice"})
        for self.endpoint.code in (401, 403, 404, 429, 500, 503, 302, 204):
            assert await self.fails(checker) == f"status {self.endpoint.code}"

    async def test_an_endpoint_that_is_slow_is_left_after_a_while(self) -> None:
        checker = await self.asking(None, timeout_seconds=0.1)
        self.endpoint.answer = lambda _: None
        assert await self.fails(checker) == "no answer in time"

    async def test_an_endpoint_that_stops_within_its_answer_is_left_as_well(self) -> None:
        checker = await self.asking(None, timeout_seconds=0.1)

        def half(_: bytes) -> None:
            self.endpoint.requests[-1].write(b'{"active": tr')

        self.endpoint.answer = half
        assert await self.fails(checker) == "no answer in time"

    async def test_an_endpoint_that_is_down_says_nothing_about_the_token(self) -> None:
        checker = await self.asking({"active": True, "sub": "alice"})
        await self.port.stopListening()
        assert await self.fails(checker) == "ConnectionRefusedError"

    async def test_an_endpoint_that_hangs_up_says_nothing_about_the_token(self) -> None:
        checker = await self.asking(None)

        def hang_up(_: bytes) -> None:
            self.endpoint.requests[-1].transport.abortConnection()

        self.endpoint.answer = hang_up
        assert await self.fails(checker) in ("ResponseNeverReceived", "ResponseFailed")

    async def test_a_client_that_leaves_is_told_to_nobody(self) -> None:
        checker = await self.asking(None)
        asked: Deferred[None] = Deferred()
        self.endpoint.answer = lambda _: asked.callback(None)
        with capturedLogs() as events:
            answer = checker.requestAvatarId(BearerToken(b"t"))
            await asked
            answer.cancel()
        self.failureResultOf(answer, TemporaryFailure)
        assert [event["event"] for event in events if "event" in event] == []

    async def test_so_is_one_that_leaves_while_the_issuer_takes_no_connection(self) -> None:
        checker = await self.asking(None)
        with capturedLogs() as events:
            answer = checker.requestAvatarId(BearerToken(b"t"))
            answer.cancel()
        self.failureResultOf(answer, TemporaryFailure)
        assert [event["event"] for event in events if "event" in event] == []

    async def test_an_endpoint_that_takes_no_connection_says_nothing_about_the_token(self) -> None:
        with full_queue() as port:
            checker = await self.started(introspection=f"http://127.0.0.1:{port}/introspect", timeout_seconds=0.1)
            self.addCleanup(checker.stop)
            assert await self.fails(checker) == "no answer in time"

    async def test_only_so_many_questions_wait(self) -> None:
        self.patch(introspection, "MAX_REQUESTS", 2)
        checker = await self.asking(None)
        self.endpoint.answer = lambda _: None
        waiting = [checker.requestAvatarId(BearerToken(b"t")) for _ in range(2)]
        self.failureResultOf(checker.requestAvatarId(BearerToken(b"t")), TemporaryFailure)
        await checker.stop()
        for each in waiting:
            self.failureResultOf(each, TemporaryFailure)

    async def test_both_ways_together(self) -> None:
        keys = Keys(self.folder)
        checker = await self.asking(
            {"active": True, "sub": "bob", "iss": ISSUER, "aud": AUDIENCE},
            keys=str(keys.file),
            issuer=ISSUER,
            audience=AUDIENCE,
        )
        tokens = (keys.token(), b"opaque")
        assert await gatherResults([checker.requestAvatarId(BearerToken(t)) for t in tokens]) == [b"alice", b"bob"]
        await self.refused(checker, keys.token(aud="imap"))
        assert len(self.endpoint.requests) == 1


def test_what_is_remembered_is_bounded_and_holds_no_token():
    memory = _Remembered(60)
    for number in range(MAX_REMEMBERED + 1):
        memory.remember(b"t%d" % number, b"alice", {}, 0)
    assert memory.owner(b"t0", 1) is None
    assert memory.owner(b"t%d" % MAX_REMEMBERED, 1) == b"alice"
    assert not any(key[:1] == b"t" and len(key) < 10 for key in memory._known)


class TestSettings:
    @pytest.fixture
    def read(self, tmp_path):
        def read(text):
            path = tmp_path / "oauth.toml"
            path.write_text(text)
            return read_settings(str(path))

        return read

    def test_all_can_be_set(self, read):
        text = settings(
            username="email",
            issuer=ISSUER,
            audience=AUDIENCE,
            scope="mail",
            keys="/k",
            algorithms=["Ed25519", "PS256"],
            introspection="https://login.example.org/introspect",
            client_id="me",
            client_secret="hush",
            timeout_seconds=3,
            cache_seconds=0.5,
        )
        found = read(text)
        assert found.algorithms == ("Ed25519", "PS256")
        assert found.timeout_seconds == 3
        assert "hush" not in repr(found)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "nothing could verify"),
            ('keys = "/k"', "need an issuer and an audience"),
            ('introspection = "http://login.example.org/"', "https"),
            ('introspection = "https:///x"', "https"),
            ('introspection = "ftp://127.0.0.1/"', "https"),
            ('isuer = "x"', 'did you mean "issuer"'),
            ("zzz = 1", "unknown setting"),
            ("issuer = 7", "must be a string"),
            ("timeout_seconds = 0", "must be a number above 0"),
            ("cache_seconds = true", "must be a number above 0"),
            ("cache_seconds = inf", "must be a number above 0"),
            ('algorithms = ["none"]', "must be a list out of"),
            ("algorithms = []", "must be a list out of"),
            ('algorithms = "RS256"', "must be a list out of"),
            ('client_secret = "hush', "is not TOML"),
        ],
    )
    def test_what_is_wrong_is_told_without_secrets(self, read, text, told):
        with pytest.raises(OAuthFileError, match=told) as caught:
            read(text)
        assert "hush" not in str(caught.value)

    def test_a_file_that_is_not_there_is_told(self):
        with pytest.raises(OAuthFileError, match="No such file"):
            read_settings("/nonexistent")

    @pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "http://[::1]/", "https://login.example.org/i"])
    def test_tokens_go_over_tls_or_stay_on_this_machine(self, read, url):
        assert read(settings(introspection=url)).introspection == url


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["sub", "iss", "aud", "scope", "exp", "nbf"]), JSON))
def test_any_claims_name_somebody_or_nobody(claims):
    strict = OAuthSettings(issuer=ISSUER, audience=AUDIENCE, scope="mail")
    assert owner(strict, claims, 1e9) is None
    assert owner(OAuthSettings(), claims, math.nan) is None
