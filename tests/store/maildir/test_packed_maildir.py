"""Maildrops of Dovecot's with packed messages, and with names that lie."""

from __future__ import annotations

import gzip
import os
from functools import cache
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from mailserver.body import BytesBody
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import MessageGone, MessageSealed
from mailserver.store import body
from mailserver.store.maildir import contents, index, packed
from mailserver.testing.contracts.store import on_the_wire
from tests.store.maildir.maildirs import LoggedCase
from tests.store.maildir.test_packed import MAIL, PACK, SEALED

BIG = b"Subject: big\n\n" + b"".join(b"%d: one of many lines\n" % number for number in range(40_000))
NAME = "1700000000.M1P1.host"


async def octets_of(found: Any) -> bytes:
    pieces = []
    while piece := await maybeDeferred(found.read, body.CHUNK):
        pieces.append(piece)
    found.close()
    return b"".join(pieces)


def claims(mail: bytes) -> str:
    """What Dovecot writes into the name, whatever the file holds then."""
    return f",S={len(mail)},W={on_the_wire(mail)}"


@cache
def packed_once(kind: str, mail: bytes) -> bytes:
    """A megabyte takes bzip2 a while, and each is served several times."""
    return PACK[kind](mail)


class Packed(LoggedCase):
    async def fetched(self, number: int = 1, name: str = "alice") -> bytes:
        """As a session gets it, which sees nothing wrong with the maildrop."""
        maildrop = await self.open(name)
        try:
            found = await octets_of(await maybeDeferred(maildrop.fetch, number))
            maildrop.sent(number, on_the_wire(found))
        finally:
            maildrop.release()
        return found

    async def test_all_kinds_are_served_and_measured_as_the_mail_in_them(self) -> None:
        for kind in PACK:
            for mail, said in (
                (MAIL, ""),
                (MAIL, f",S={len(MAIL)}"),
                (MAIL, claims(MAIL)),
                (BIG, ""),
                (BIG, claims(BIG)),
            ):
                user = f"{kind}{len(mail)}{said}"
                self.deliver(user, packed_once(kind, mail), f"cur/{NAME}{said}:2,S")
                maildrop = await self.open(user)
                assert list(maildrop.messages.octets) == [on_the_wire(mail)]
                assert await octets_of(await maybeDeferred(maildrop.fetch, 1)) == mail
                maildrop.release()
        assert self.told("store.note") == []

    async def test_its_envelope_is_that_of_the_mail(self) -> None:
        mail = b"Return-Path: <a@example.org>\nDelivered-To: <b@example.org>\n" + MAIL
        self.deliver("alice", gzip.compress(mail), f"cur/{NAME}{claims(mail)}:2,S")
        maildrop = await self.open()
        assert (await maildrop.envelope(1)).sender == b"a@example.org"
        assert (await maildrop.envelopes("alice", None, str))[0].recipients == (b"b@example.org",)
        maildrop.release()

    async def test_one_whose_size_happens_to_be_that_of_the_file_is_no_mail_either(self) -> None:
        file = gzip.compress(MAIL)
        self.deliver("alice", file, f"cur/{NAME},S={len(file)},W={on_the_wire(MAIL)}:2,S")
        assert await self.fetched() == MAIL
        maildrop = await self.open()
        assert isinstance(maildrop.fetch(1), Deferred)
        maildrop.release()

    async def test_a_packed_body_gives_no_descriptor_to_send_from(self) -> None:
        self.deliver("alice", gzip.compress(BIG), f"cur/{NAME}{claims(BIG)}:2,S")
        maildrop = await self.open()
        found = await maildrop.fetch(1)
        assert found.fileno() is None
        assert isinstance(found, body.ThreadedBody)  # off the reactor
        assert found._body.fileno() is None
        found.close()
        found.close()
        maildrop.release()

    async def test_what_cannot_be_read_is_refused_with_one_note_and_the_rest_is_served(self) -> None:
        for number, (kind, file) in enumerate(SEALED.items()):
            self.deliver(kind, file, f"cur/{NAME}{claims(MAIL)}:2,S")
            self.deliver(kind, file, f"cur/170000000{number}.M2P1.host:2,S")
            self.deliver(kind, MAIL, "cur/1700000009.M3P1.host:2,S")
            for _ in range(3):
                for refused in (1, 2):
                    with pytest.raises(MessageSealed):
                        await self.fetched(refused, kind)
                assert await self.fetched(3, kind) == MAIL
        notes = self.told("store.note")
        assert len(notes) == 2 * len(SEALED)  # a message each
        assert [NAME in note for note in notes].count(True) == len(SEALED)
        assert all("Dovecot's mail_" in note for note in notes)

    async def test_a_damaged_one_is_refused_before_its_answer_begins(self) -> None:
        file = bytearray(gzip.compress(BIG))
        file[-1] ^= 1
        for said in (claims(BIG), ""):
            user = f"damaged{said}"
            self.deliver(user, bytes(file), f"cur/{NAME}{said}:2,S")
            for _ in range(2):
                with pytest.raises(MessageSealed, match="damaged"):
                    await self.fetched(1, user)

    async def test_a_bomb_costs_one_measuring(self) -> None:
        self.patch(packed, "LARGEST", 1024 * 1024)
        self.deliver("alice", gzip.compress(b"0" * 2 * 1024 * 1024), f"cur/{NAME}:2,S")
        measured = []
        measure = contents.measured
        self.patch(contents, "measured", lambda path: measured.append(path) or measure(path))
        for _ in range(3):
            self.deliver("alice", MAIL)  # so that the next login scans
            with pytest.raises(MessageSealed):
                await self.fetched()
        assert [path for path in measured if NAME.encode() in path] == [
            self.octets() + b"cur/" + NAME.encode() + b":2,S"
        ]

    async def test_one_that_is_replaced_during_its_transfer_ends_the_transfer(self) -> None:
        path = self.deliver("alice", gzip.compress(BIG), f"cur/{NAME}{claims(BIG)}:2,S")
        maildrop = await self.open()
        found = await maildrop.fetch(1)
        os.truncate(path, 100)
        with pytest.raises(body.MessageTruncated):
            await octets_of(found)
        found.close()
        maildrop.release()

    async def test_a_measured_one_that_became_mail_is_served_as_it_is(self) -> None:
        path = self.deliver("alice", file := gzip.compress(MAIL), f"cur/{NAME}:2,S")
        await self.reopen()
        path.write_bytes(b"Subject: other\n\n".ljust(len(file), b"."))
        assert (await self.fetched()).startswith(b"Subject: other")

    async def test_accounts_do_without_the_envelopes_of_what_cannot_be_read(self) -> None:
        self.deliver("alice", SEALED["crypt"], f"cur/{NAME}:2,S")
        maildrop = await self.open()
        assert (await maildrop.envelopes("alice", None, str))[0].sender == b""
        with pytest.raises(MessageGone):
            await maildrop.envelope(1)
        maildrop.release()


class PackedInThreads(Packed):
    options: ClassVar[dict[str, Any]] = {"io": "threads"}


class Lies(LoggedCase):
    """`,S=` in names is what a delivery agent measured before something else changed the file."""

    async def test_many_wrong_sizes_cost_no_session(self) -> None:
        mails = [b"Subject: %d\n\nhello\n" % number for number in range(30)]
        for number, mail in enumerate(mails):
            self.deliver("alice", mail, f"cur/{1_700_000_000 + number}.M1P1.host,S={900 + number},W=7:2,")
        maildrop = await self.open()
        for number, mail in enumerate(mails, 1):
            found = await octets_of(await maybeDeferred(maildrop.fetch, number))
            assert found == mail
            maildrop.sent(number, on_the_wire(found))
        await maildrop.commit([])
        assert len(self.told("store.note")) == 1
        maildrop = await self.open()
        assert list(maildrop.messages.octets) == [on_the_wire(mail) for mail in mails]
        assert all(isinstance(maildrop.fetch(number), BytesBody) for number in range(1, 31))
        maildrop.release()

    async def test_after_the_first_one_no_name_of_the_maildrop_is_believed(self) -> None:
        for number in range(3):
            self.deliver("alice", MAIL, f"cur/{1_700_000_000 + number}.M1P1.host,S={900 + number},W=7:2,")
        self.settle_down()
        maildrop = await self.open()
        await octets_of(await maybeDeferred(maildrop.fetch, 2))
        await maildrop.commit([])
        assert [octets for _, octets in await self.reopen()] == [on_the_wire(MAIL)] * 3

    async def test_a_small_message_is_read_in_three_calls_whether_it_was_measured_or_its_name_is_believed(self) -> None:
        for name in (NAME, f"{NAME}{claims(MAIL)}"):
            self.deliver("alice", MAIL, f"cur/{name}:2,")
            assert await self.calls(MAIL) == ["open", "pread", "close"]
            self.vanish("alice", MAIL)

    async def test_a_large_message_with_a_true_name_is_read_from_its_first_look_on(self) -> None:
        large = MAIL + b"x" * contents.SMALL
        self.deliver("alice", large, f"cur/{NAME}{claims(large)}:2,")
        assert await self.calls(large) == ["open", "fstat", "read", "read", "close"]

    async def calls(self, mail: bytes) -> list[str]:
        """The system calls from a fetch to the close."""
        maildrop = await self.open()
        calls: list[str] = []
        with pytest.MonkeyPatch.context() as patches:
            for name in ("open", "fstat", "read", "pread", "lseek", "close"):
                patches.setattr(os, name, self.counted(calls, name))
            found = maildrop.fetch(1)
            assert b"".join(iter(lambda: found.read(body.CHUNK), b"")) == mail
            found.close()
        maildrop.release()
        return calls

    def counted(self, calls: list[str], name: str) -> object:
        function = getattr(os, name)
        return lambda *arguments, **options: calls.append(name) or function(*arguments, **options)


def test_the_flags_of_a_row_are_different_bits() -> None:
    flags = (index.WIRE, index.DISTRUSTED, index.CLAIMED, index.PACKED, index.SEALED)
    assert sum(flags) == 2 ** len(flags) - 1
    assert EnvelopeHeaders().fingerprint
