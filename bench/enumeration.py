#!/usr/bin/env python3
"""Measure what a stranger learns about who has an account: from the replies' text, from their number, and from their time.

    bench/enumeration.py [--tries 2000] [--users 50]

For each way to log in, and each kind of stored secret, it fails so many times as users who exist and as users who do not, in
random order over one connection on loopback, which is as near as a stranger never gets. "guess" is the probability that of
a known and an unknown user the known one took longer (0.5: nothing to be learnt), "z" how many standard errors it is from 0.5.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import math
import random
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable
from ctypes import create_string_buffer
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from mailserver.auth.hmac_md5 import contexts  # noqa: E402 - its folder is known since the line before
from mailserver.auth.libcrypt import load  # noqa: E402 - likewise
from mailserver.auth.scram_keys import derive  # noqa: E402 - likewise
from tests.servers import Server, Site  # noqa: E402 - likewise


class Line:
    """A connection that asks and waits for one line."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self.greeting = self._file.readline()

    def ask(self, line: bytes) -> bytes:
        """The reply to a line."""
        self._socket.sendall(line + b"\r\n")
        return self._file.readline()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


def user(line: Line, name: bytes) -> list[bytes]:
    """USER and PASS."""
    return [line.ask(b"USER " + name), line.ask(b"PASS wrong password")]


def apop(line: Line, name: bytes) -> list[bytes]:
    """APOP."""
    return [line.ask(b"APOP %b %b" % (name, b"0" * 32))]


def plain(line: Line, name: bytes) -> list[bytes]:
    """AUTH PLAIN."""
    return [line.ask(b"AUTH PLAIN " + base64.b64encode(b"\0%b\0wrong password" % name))]


def cram(line: Line, name: bytes) -> list[bytes]:
    """AUTH CRAM-MD5."""
    challenge = base64.b64decode(line.ask(b"AUTH CRAM-MD5")[2:])
    digest = hmac.digest(b"wrong password", challenge, "md5").hex().encode()
    return [b"+ ", line.ask(base64.b64encode(name + b" " + digest))]


def scram(line: Line, name: bytes) -> list[bytes]:
    """AUTH SCRAM-SHA-256, with a proof of nothing. The nonces differ each time, the salts by user."""
    first = line.ask(b"AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=" + name + b",r=abcdef"))
    challenge = base64.b64decode(first[2:])
    nonce = dict(part.split(b"=", 1) for part in challenge.split(b","))[b"r"]
    final = b"c=biws,r=" + nonce + b",p=" + base64.b64encode(bytes(32))
    shape = re.sub(rb"(r|s)=([^,]*)", lambda match: b"%b=%d octets" % (match[1], len(match[2])), challenge)
    return [shape, line.ask(base64.b64encode(final))]


def digest(line: Line, name: bytes) -> list[bytes]:
    """AUTH DIGEST-MD5."""
    parts = dict(part.split(b"=", 1) for part in base64.b64decode(line.ask(b"AUTH DIGEST-MD5")[2:]).split(b","))
    response = (
        b'username="%b",realm=%b,nonce=%b,nc=00000001,cnonce="abc",digest-uri="pop/h",response=%b,qop=auth,charset=utf-8'
        % (name, parts[b"realm"], parts[b"nonce"], b"0" * 32)
    )
    return [b"+ ", line.ask(base64.b64encode(response))]


WAYS: dict[str, Callable[[Line, bytes], list[bytes]]] = {
    "PASS": user,
    "PLAIN": plain,
    "APOP": apop,
    "CRAM-MD5": cram,
    "DIGEST-MD5": digest,
    "SCRAM-SHA-256": scram,
}


def plain_secret(password: str) -> str:
    """A password as it is."""
    return "{PLAIN}" + password


def scram_secret(password: str) -> str:
    """A password's SCRAM keys."""
    salt = hashlib.sha256(password.encode()).digest()[:16]
    keys = derive(password.encode(), salt, 4096, "sha256")
    parts = (base64.b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    return "{SCRAM-SHA-256}4096," + ",".join(parts)


def sha512_secret(password: str) -> str:
    """A password's salted hash."""
    salt = b"salty"
    return "{SSHA512}" + base64.b64encode(hashlib.sha512(password.encode() + salt).digest() + salt).decode()


def cram_secret(password: str) -> str:
    """What CRAM-MD5 needs of a password."""
    return "{CRAM-MD5}" + contexts(password.encode()).hex()


def crypt_secret(password: str) -> str:
    """A password's hash by the system's libcrypt."""
    return "{CRYPT}" + load().crypt_r(password.encode(), b"$6$salty$", create_string_buffer(1 << 18)).decode()


STORED: dict[str, tuple[Callable[[str], str], ...]] = {
    "{PLAIN}": (plain_secret,),
    "{SSHA512}": (sha512_secret,),
    "{CRAM-MD5}": (cram_secret,),
    "{CRYPT} ($6$)": (crypt_secret,),
    "{SCRAM-SHA-256}": (scram_secret,),
    "{PLAIN} and {SCRAM-SHA-256}": (plain_secret, scram_secret),
    "{PLAIN} and {CRAM-MD5}": (plain_secret, cram_secret),
}


def measure(way: Callable[[Line, bytes], list[bytes]], port: int, users: int, tries: int) -> tuple[str, bool, bool]:
    """A row of figures; whether the texts were the same; and the number of replies."""
    order = [(known, number % users) for known in (True, False) for number in range(tries)]
    random.shuffle(order)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    said: dict[bool, set[tuple[bytes, ...]]] = {True: set(), False: set()}
    line = Line(port)
    for known, number in order:
        name = b"%b%03d" % (b"known" if known else b"other", number)
        begun = time.perf_counter()
        replies = way(line, name)
        seconds[known].append(time.perf_counter() - begun)
        said[known].add(tuple(replies))
    line.close()
    guess, z = guessable(seconds[True], seconds[False])
    medians = [statistics.median(seconds[known]) * 1e6 for known in (True, False)]
    text = f"{medians[0]:9.0f} {medians[1]:9.0f} {guess:7.3f} {z:6.1f}"
    steps = {len(replies) for replies in said[True]} == {len(replies) for replies in said[False]}
    return text, said[True] == said[False], steps


def guessable(known: list[float], unknown: list[float]) -> tuple[float, float]:
    """The Mann-Whitney statistic as a probability, and its distance from 0.5 in standard errors."""
    ranked = sorted([(value, True) for value in known] + [(value, False) for value in unknown])
    ranks = sum(rank for rank, (_, is_known) in enumerate(ranked, 1) if is_known)
    m, n = len(known), len(unknown)
    probability = (ranks - m * (m + 1) / 2) / (m * n)
    return probability, (probability - 0.5) / math.sqrt((m + n + 1) / (12 * m * n))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tries", type=int, default=2000)
    parser.add_argument("--users", type=int, default=50)
    options = parser.parse_args()
    print(f"{options.tries} tries each; microseconds (median)    known   unknown   guess      z  text  steps")
    for stored, kinds in STORED.items():
        with Site() as site:
            for number in range(options.users):
                name = f"known{number:03d}"
                site.account(name, f"sesame of {name}", secret=kinds[number % len(kinds)](f"sesame of {name}"))
            settings = {
                "auth": {"mechanisms": ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "DIGEST-MD5"]},
                "limits": {"failures_per_connection": 10_000_000, "failure_delay_seconds": 0},
            }
            with Server(site, **settings) as server:
                for name, way in WAYS.items():
                    if not serves(server.pop3_port, name):
                        continue
                    row, text, steps = measure(way, server.pop3_port, options.users, options.tries)
                    told = [" same" if equal else "DIFFER" for equal in (text, steps)]
                    print(f"{stored:27} {name:14} {row}  {told[0]}  {told[1]}", flush=True)


def serves(port: int, way: str) -> bool:
    """Whether the server lets somebody try."""
    line = Line(port)
    try:
        if way == "APOP":
            return b"<" in line.greeting
        return way == "PASS" or not line.ask(b"AUTH " + way.encode()).startswith(b"-ERR")
    finally:
        line.close()


if __name__ == "__main__":
    main()
