"""Clients of the mechanisms that prove both sides: small ones of our own, which know their RFC and not our code."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Generator

Talk = Generator[bytes, bytes, None]
"""Yields responses, is sent challenges, and returns when the server has proved itself."""


class ServerLies(Exception):
    """The server's proof is wrong."""


def scram(  # noqa: PLR0913 - a test names what it changes
    digest: str,
    name: bytes,
    password: bytes,
    *,
    nonce: bytes = b"fyko+d2lbbFgONRv9qkxdawL",
    header: bytes = b"n,,",
    binding: bytes = b"",
) -> Talk:
    """RFC 5802; with -PLUS `header` is ``p=TYPE,,`` and `binding` the channel binding's octets."""
    bare = b"n=" + name.replace(b"=", b"=3D").replace(b",", b"=2C") + b",r=" + nonce
    first = yield header + bare
    given = dict(part.split(b"=", 1) for part in first.split(b","))
    if not given[b"r"].startswith(nonce):
        raise ServerLies
    salted = hashlib.pbkdf2_hmac(digest, password, b64decode(given[b"s"]), int(given[b"i"]))
    key = hmac.digest(salted, b"Client Key", digest)
    final = b"c=" + b64encode(header + binding) + b",r=" + given[b"r"]
    message = b",".join((bare, first, final))
    signature = hmac.digest(hashlib.new(digest, key).digest(), message, digest)
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    last = yield final + b",p=" + b64encode(proof)
    expected = hmac.digest(hmac.digest(salted, b"Server Key", digest), message, digest)
    if last != b"v=" + b64encode(expected):
        raise ServerLies


def digest_md5(  # noqa: PLR0913 - as above
    name: bytes,
    password: bytes,
    challenge: bytes,
    *,
    uri: bytes = b"pop/h",
    nonce: bytes = b"OA6MHXh6VqTrRk",
    authzid: bytes = b"",
) -> tuple[bytes, bytes]:
    """RFC 2831: the response, and the challenge that must follow."""
    parts = dict(part.split(b"=", 1) for part in challenge.split(b","))
    realm, theirs = parts[b"realm"].strip(b'"'), parts[b"nonce"].strip(b'"')

    def hexed(octets: bytes) -> bytes:
        return hashlib.md5(octets).hexdigest().encode()

    secret = hashlib.md5(b":".join((name, realm, password))).digest()
    key = hexed(b":".join((secret, theirs, nonce) + ((authzid,) if authzid else ())))

    def proof(method: bytes) -> bytes:
        return hexed(b":".join((key, theirs, b"00000001", nonce, b"auth", hexed(method + b":" + uri))))

    response = (
        b'charset=utf-8,username="%b",realm="%b",nonce="%b",nc=00000001,cnonce="%b",digest-uri="%b",response=%b,qop=auth'
        % (name, realm, theirs, nonce, uri, proof(b"AUTHENTICATE"))
    )
    return response + (b',authzid="%b"' % authzid if authzid else b""), b"rspauth=" + proof(b"")
