"""Cyrus' users: a sasldb2, which has passwords in clear. Berkeley DB is read by its own ``db_dump``, and nothing is written."""

from __future__ import annotations

import binascii
import subprocess
from pathlib import Path
from typing import Final

from mailserver.migration.users.accounts import Account, passwd_file, plain
from mailserver.migration.users.converted import Converted, NoProgram, Remark, Unconvertible

DUMPS: Final = ("db_dump", "db5.3_dump")
"""Debian's names of the program."""

SECONDS: Final = 60
"""A sasldb of a million users is dumped in a few; a lock that nobody gives back would hold it for ever."""

PASSWORD: Final = b"userPassword"

MECHANISMS: Final = {b"cmusaslsecretOTP": "one-time passwords", b"cmusaslsecretCRAM-MD5": "a secret for CRAM-MD5 alone"}


def read_sasldb(path: str, realms: frozenset[str] = frozenset()) -> Converted:
    """The users of a sasldb2, or of what ``db_dump`` wrote of one; without `realms`, which are machines' names and no domains.

    Errors: Unconvertible, NoProgram.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            is_dump = opened.read(8) == b"VERSION="
        dump = file.read_bytes() if is_dump else _dumped(file)
    except OSError as error:
        raise Unconvertible(f"{path}: cannot be read: {error.strerror}") from None
    accounts: list[Account] = []
    remarks: list[Remark] = []
    others: dict[str, str] = {}
    for key, value in _pairs(dump, path):
        name, realm, what = _key(key, path)
        user = name if realm in realms or not realm else f"{name}@{realm}"
        if what == PASSWORD:
            accounts.append(Account(user, plain(value.rstrip(b"\0"))))
        else:
            others[user] = MECHANISMS.get(what, ascii(what.decode("latin-1")[:40]))
    known = {each.name for each in accounts}
    remarks += [Remark(user, _without(what, user in known)) for user, what in others.items()]
    return passwd_file(sorted(accounts, key=lambda each: each.name), f"Users of {path}.", remarks)


def _without(what: str, known: bool) -> str:
    text = f"the sasldb has {what} of this user, which has no place here"
    return text if known else f"left out: {text}, and no password: give the user one"


def _dumped(file: Path) -> bytes:
    """What ``db_dump`` says of it; its output is a pipe, so that no password comes to a disk. Errors: Unconvertible, NoProgram."""
    for program in DUMPS:
        try:
            command = [program, "--", str(file)]
            done = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS)  # noqa: S603 - no shell
        except FileNotFoundError:
            continue
        except subprocess.TimeoutExpired:
            raise Unconvertible(f"{file}: {program} does not end: copy the file, and give the copy") from None
        if done.returncode:
            raise Unconvertible(
                f"{file}: {program} cannot read it, so it is no Berkeley DB (sasldb may also be gdbm, ndbm or lmdb): "
                "`sasldblistusers2` lists the users, who need new passwords"
            )
        return done.stdout
    raise NoProgram("db_dump is missing, which reads Cyrus' sasldb2: apt-get install db-util")


def _pairs(dump: bytes, path: str) -> list[tuple[bytes, bytes]]:
    """The keys and values of a dump, in either of its formats. Errors: Unconvertible."""
    head, found, rest = dump.partition(b"HEADER=END\n")
    body, ended, _ = rest.partition(b"DATA=END\n")
    if not (found and ended):
        raise Unconvertible(f"{path}: the dump is not whole: make it again")
    decode = _printed if b"format=print\n" in head else binascii.unhexlify
    try:
        lines = [decode(line[1:]) for line in body.split(b"\n") if line.startswith(b" ")]
        return list(zip(lines[::2], lines[1::2], strict=True))
    except ValueError:
        raise Unconvertible(f"{path}: the dump is broken: make it again") from None


def _printed(line: bytes) -> bytes:
    """A line of ``db_dump -p``, which has a backslash before another and before two digits. Errors: ValueError."""
    first, *pieces = line.replace(b"\\\\", b"\\5c").split(b"\\")
    return first + b"".join(binascii.unhexlify(piece[:2]) + piece[2:] for piece in pieces)


def _key(key: bytes, path: str) -> tuple[str, str, bytes]:
    """The user, the realm and what the value is. Errors: Unconvertible."""
    parts = key.split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004 - cyrus-sasl's sasldb/allockey.c
        raise Unconvertible(f"{path}: it is a Berkeley DB, and no sasldb2")
    name, realm = (each.decode("utf-8", "surrogateescape") for each in parts[:2])
    return name, realm, parts[2]
