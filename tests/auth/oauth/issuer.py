"""An issuer of tokens for tests: keys, signed JWTs, and an introspection endpoint that can be slow, down or lying."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

ISSUER = "https://login.example.org"
AUDIENCE = "pop3"


class Keys:
    """The issuer's private keys; `file` is the JWK Set that it publishes."""

    def __init__(self, folder: Path) -> None:
        self.rsa = RSAKey.generate_key(2048, {"kid": "r", "use": "sig"})
        self.ec = ECKey.generate_key("P-256", {"kid": "e"})
        self.file = folder / "jwks.json"
        self.file.write_text(json.dumps(KeySet([self.rsa, self.ec]).as_dict(private=False)))

    def token(self, key: Any = None, algorithm: str = "ES256", kid: str | None = "e", **claims: Any) -> bytes:
        """A JWT for alice, good for an hour; a claim of None is left out."""
        header = {"alg": algorithm, **({"kid": kid} if kid else {})}
        given = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 3600, "sub": "alice", **claims}
        kept = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(header, kept, key or self.ec, algorithms=[algorithm]).encode()


class Endpoint(Resource):
    """RFC 7662. `answer` makes of a token what the endpoint says: JSON, octets as they are, or None for silence."""

    isLeaf = True  # noqa: N815 - Twisted's

    def __init__(self, answer: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.code = 200
        self.requests: list[Request] = []
        self.site = Site(self)

    def render_POST(self, request: Request) -> Any:
        self.requests.append(request)
        said = self.answer(request.args[b"token"][0])
        request.setResponseCode(self.code)
        if said is None:
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET
        return said if isinstance(said, bytes) else json.dumps(said).encode()


def settings(**values: Any) -> str:
    """The text of an ``oauth2:`` file."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
