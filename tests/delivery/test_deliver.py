"""A transaction from its first recipient to its outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.delivery.deliver import Deliveries
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import MaildropUnavailable, NoMaildrop, OverQuota, StoreError, StoreFull, TemporaryFailure
from mailserver.incoming import IDelivery, Sender
from mailserver.interfaces import Quota, User
from mailserver.names import Names
from mailserver.refusals import refusal_for
from mailserver.smtp_errors import OverQuotaForGood, TooManyRecipients, UnknownRecipient
from tests.delivery.room import SENDER, Hosts, Lists, People, deliveries

MESSAGE = b"Message-ID: <1@example.net>\r\nSubject: hello\r\n\r\nHello.\r\n"
SDPS = Names(accounts={"vision25": "vision25.example.org"}, tag_separators="+")


def envelope(message: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    found = EnvelopeHeaders().read(message)
    return found.sender, found.recipients


def headers(message: bytes) -> list[bytes]:
    top = message.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [line.partition(b":")[0] for line in top if not line.startswith(b"\t")]


class DeliveryCase(TestCase):
    naming = Names()

    def setUp(self) -> None:
        self.store = Lists()
        self.people: Any = People(["alice", "bob", "carol"])

    def made(self, aliases: str = "", **settings: Any) -> Deliveries:
        if aliases:
            path = Path(self.mktemp())
            path.write_text(aliases)
            settings["delivery"] = {"aliases": str(path), **settings.get("delivery", {})}
        made = deliveries(self.store, self.people, self.naming, **settings)
        self.successResultOf(made.aliases.start(reactor))
        self.addCleanup(made.aliases.stop)
        return made

    async def begun(self, made: Deliveries, *addresses: bytes, sender: Sender = SENDER) -> IDelivery:
        delivery = made.begin(sender)
        for address in addresses:
            await delivery.recipient(address)
        return delivery

    async def sent(self, made: Deliveries, *addresses: bytes, message: bytes = MESSAGE) -> list[Exception | None]:
        delivery = await self.begun(made, *addresses)
        delivery.write(message)
        return list(await delivery.commit())


class OutcomeTests(DeliveryCase):
    async def test_a_message_is_in_the_maildrop_under_its_trace(self) -> None:
        assert await self.sent(self.made(), b"alice") == [None]
        (message,) = self.store.of("alice")
        assert message.endswith(MESSAGE)
        assert headers(message)[:3] == [b"Return-Path", b"Delivered-To", b"Received"]
        assert envelope(message) == (b"eve@example.net", (b"alice",))

    async def test_two_addresses_of_a_user_are_one_copy_and_two_outcomes(self) -> None:
        made = self.made("sales: alice\nteam: alice, bob\n")
        assert await self.sent(made, b"alice", b"sales", b"alice", b"team") == [None] * 4
        assert len(self.store.of("alice")) == 1
        assert len(self.store.of("bob")) == 1

    async def test_nothing_is_begun_for_a_transaction_without_octets(self) -> None:
        delivery = await self.begun(self.made(), b"alice")
        assert self.store.open == 0
        delivery.abort()
        assert self.store.kept == []

    async def test_an_empty_message_is_a_message(self) -> None:
        delivery = await self.begun(self.made(), b"alice")
        assert list(await delivery.commit()) == [None]
        assert envelope(self.store.of("alice")[0]) == (b"eve@example.net", (b"alice",))

    async def test_a_failure_of_one_is_none_of_the_others(self) -> None:
        self.store.failing["bob"] = MaildropUnavailable("the disk is gone")
        outcomes = await self.sent(self.made(), b"alice", b"bob", b"carol")
        assert [type(each) for each in outcomes] == [type(None), MaildropUnavailable, type(None)]
        assert len(self.store.of("alice")) == len(self.store.of("carol")) == 1

    async def test_a_full_disk_has_its_own_code(self) -> None:
        self.store.failing["alice"] = StoreFull("no room")
        (outcome,) = await self.sent(self.made(), b"alice")
        refusal = refusal_for(outcome)
        assert refusal is not None
        assert refusal.smtp == b"452 4.3.1"

    async def test_what_an_operator_can_mend_is_temporary(self) -> None:
        self.store.failing["alice"] = NoMaildrop("no home")
        (outcome,) = await self.sent(self.made(), b"alice")
        assert isinstance(outcome, TemporaryFailure)
        assert outcome.smtp == b"451 4.3.0"

    async def test_a_store_that_begins_nothing_is_told_of_all(self) -> None:
        self.store.refusing = StoreFull("no room")
        outcomes = await self.sent(self.made(), b"alice", b"bob")
        assert [type(each) for each in outcomes] == [StoreFull, StoreFull]

    async def test_a_fault_of_the_store_is_an_outcome_too(self) -> None:
        self.store.failing["alice"] = ZeroDivisionError("a slip of ours")
        outcomes = await self.sent(self.made(), b"alice", b"bob")
        assert [type(each) for each in outcomes] == [ZeroDivisionError, type(None)]

    async def test_a_store_that_breaks_at_the_end_is_told_of_each(self) -> None:
        self.store.breaking = ZeroDivisionError("a slip of ours")
        outcomes = await self.sent(self.made(), b"alice", b"bob")
        assert [type(each) for each in outcomes] == [ZeroDivisionError, ZeroDivisionError]

    async def test_octets_after_an_abort_are_nobody_s(self) -> None:
        delivery = await self.begun(self.made(), b"alice")
        delivery.abort()
        assert delivery.write(MESSAGE) is None
        assert self.store.sizes == []

    async def test_a_line_that_begins_the_message_and_never_ends_is_stored(self) -> None:
        self.store.late = None
        assert await self.sent(self.made(), b"alice", message=b"Return-Pat") == [None]
        assert self.store.of("alice")[0].endswith(b"\r\nReturn-Pat\r\n")

    async def test_an_unknown_recipient_is_refused_and_the_others_are_not(self) -> None:
        delivery = await self.begun(self.made(), b"alice")
        with pytest.raises(UnknownRecipient):
            await delivery.recipient(b"dave")
        await delivery.recipient(b"bob")
        delivery.write(MESSAGE)
        assert list(await delivery.commit()) == [None, None]

    async def test_an_abort_leaves_nothing(self) -> None:
        delivery = await self.begun(self.made(), b"alice", b"bob")
        delivery.write(MESSAGE)
        delivery.abort()
        delivery.abort()
        assert self.store.kept == []
        assert self.store.open == 0

    async def test_an_abort_after_the_end_changes_nothing(self) -> None:
        delivery = await self.begun(self.made(), b"alice")
        delivery.write(MESSAGE)
        self.store.waiting = Deferred()
        committing = delivery.commit()
        delivery.abort()
        self.store.waiting.callback(None)
        assert list(await committing) == [None]

    async def test_to_cancel_the_end_does_not_stop_it(self) -> None:
        delivery = await self.begun(self.made(), b"alice")
        delivery.write(MESSAGE)
        self.store.waiting = Deferred()
        committing = delivery.commit()
        committing.cancel()
        self.failureResultOf(committing, CancelledError)
        self.store.waiting.callback(None)
        assert len(self.store.of("alice")) == 1

    async def test_who_writes_waits_for_all_copies(self) -> None:
        self.store.late = []
        delivery = await self.begun(self.made(delivery={"share": False}), b"alice", b"bob")
        first = delivery.write(MESSAGE[:5])
        assert first is not None
        assert len(self.store.late) == 2  # the trace of each
        for each in self.store.late[:]:
            each.callback(None)
        self.assertNoResult(first)
        for each in self.store.late[2:]:
            each.callback(None)
        self.successResultOf(first)
        self.store.late = None
        assert delivery.write(MESSAGE[5:]) is None
        assert list(await delivery.commit()) == [None, None]
        assert all(each.data.endswith(MESSAGE) for each in self.store.kept)

    async def test_an_abort_before_the_deposits_have_begun_leaves_nothing(self) -> None:
        self.store.beginning = Deferred()
        delivery = await self.begun(self.made(), b"alice")
        delivery.write(MESSAGE)
        delivery.abort()
        self.store.beginning.callback(None)
        assert self.store.open == 0

    async def test_an_abort_after_an_end_that_has_yet_to_begin_changes_nothing(self) -> None:
        self.store.beginning = Deferred()
        delivery = await self.begun(self.made(), b"alice")
        committing = delivery.commit()
        delivery.abort()
        self.store.beginning.callback(None)
        assert list(await committing) == [None]

    async def test_an_abort_while_the_trace_is_written_leaves_nothing(self) -> None:
        self.store.late = []
        delivery = await self.begun(self.made(), b"alice")
        delivery.write(MESSAGE)
        delivery.abort()
        self.store.late[0].callback(None)
        assert self.store.open == 0

    async def test_the_announced_size_goes_to_the_store_with_the_trace(self) -> None:
        delivery = await self.begun(self.made(), b"alice", sender=SENDER._replace(size=len(MESSAGE)))
        delivery.write(MESSAGE)
        await delivery.commit()
        assert self.store.sizes == [len(self.store.of("alice")[0])]
        await self.sent(self.made(), b"bob")
        assert self.store.sizes[1] is None


class LogTests(DeliveryCase):
    async def test_each_recipient_has_a_line_with_what_an_operator_looks_for(self) -> None:
        self.store.failing["bob"] = MaildropUnavailable("the disk is gone")
        made = self.made("team: alice, carol\n")
        with capturedLogs() as events:
            await self.sent(made, b"team", b"bob")
        stored, failed = events
        assert (stored["event"], stored["users"], stored["recipient"]) == ("delivery.stored", "alice, carol", "team")
        assert (stored["message_id"], stored["octets"]) == ("<1@example.net>", len(MESSAGE))
        assert (failed["event"], failed["user"], failed["reason"]) == ("delivery.failed", "bob", "the disk is gone")
        assert {each["session"] for each in events} == {"4f2a"}

    async def test_what_pop3_would_say_of_a_failure_is_in_no_line(self) -> None:
        self.people.down.add("alice")
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await self.begun(self.made(), b"alice")
        assert events[0]["reason"] == "temporary failure, please try again later"

    async def test_a_refused_recipient_has_one_too(self) -> None:
        with capturedLogs() as events, pytest.raises(UnknownRecipient):
            await self.begun(self.made(), b"d\xffve\x1b")
        (refused,) = events
        assert (refused["event"], refused["log_level"]) == ("delivery.refused", LogLevel.info)
        assert refused["recipient"] == "d\\\\xffve\\x1b"
        assert refused["reason"] == "no such user here"


class ShareTests(DeliveryCase):
    async def test_a_message_for_several_is_one_file_that_tells_of_none(self) -> None:
        assert await self.sent(self.made(), b"alice", b"bob", b"carol") == [None] * 3
        assert self.store.files == 1
        (message,) = set(self.store.of("alice") + self.store.of("bob") + self.store.of("carol"))
        assert headers(message)[:2] == [b"Return-Path", b"Received"]
        assert not any(name in message for name in (b"alice", b"bob", b"carol"))
        assert envelope(message) == (b"eve@example.net", ())

    async def test_a_message_by_one_address_for_several_tells_of_the_address(self) -> None:
        assert await self.sent(self.made("team: alice, bob\n"), b"team") == [None]
        assert self.store.files == 1
        assert envelope(self.store.of("alice")[0]) == (b"eve@example.net", (b"team",))

    async def test_who_have_files_of_their_own_are_a_hundred_in_a_transaction_and_the_others_come_in_another(
        self,
    ) -> None:
        self.people = People([f"u{number}" for number in range(110)])
        made = self.made(aliases="all: " + ", ".join(f"u{n}" for n in range(110)) + "\n", delivery={"share": False})
        delivery = await self.begun(made, *(b"u%d" % number for number in range(100)))
        for late in (b"u100", b"all"):
            with pytest.raises(TooManyRecipients):
                await delivery.recipient(late)
        await delivery.recipient(b"u7")  # whose copy is there already
        delivery.write(MESSAGE)
        assert await delivery.commit() == [None] * 101
        assert self.store.files == 100
        assert await self.sent(made, b"all", b"u3") == [None, None]  # an address that cannot be divided
        assert self.store.files == 210

    async def test_a_file_that_is_shared_has_as_many_recipients_as_the_protocol_lets(self) -> None:
        self.people = People([f"u{number}" for number in range(300)])
        assert await self.sent(self.made(), *(b"u%d" % n for n in range(300))) == [None] * 300
        assert self.store.files == 1

    async def test_a_site_can_have_a_copy_with_the_address_for_each(self) -> None:
        assert await self.sent(self.made(delivery={"share": False}), b"alice", b"bob") == [None, None]
        assert self.store.files == 2
        assert envelope(self.store.of("alice")[0])[1] == (b"alice",)
        assert envelope(self.store.of("bob")[0])[1] == (b"bob",)
        assert b"alice" not in self.store.of("bob")[0]

    async def test_an_address_of_before_is_told_where_it_differs(self) -> None:
        made = self.made()
        for original in b"sales@example.org", b"alice", b"", b"no\xffsense", b"<>":
            delivery = made.begin(SENDER)
            await delivery.recipient(b"alice", original)
            delivery.write(MESSAGE)
            await delivery.commit()
        assert [envelope(each)[1][0] for each in self.store.of("alice")] == [b"sales@example.org", *[b"alice"] * 4]


class AccountTests(DeliveryCase):
    naming = SDPS

    def setUp(self) -> None:
        super().setUp()
        self.people = Hosts(SDPS)

    def shares(self) -> list[tuple[str | None, bytes]]:
        return [(kept.user.account and kept.user.account.user, envelope(kept.data)[1][0]) for kept in self.store.kept]  # type: ignore[misc]

    async def test_each_user_of_an_account_gets_a_copy_with_the_own_address(self) -> None:
        addresses = (
            b"john@vision25.example.org",
            b"Mary+news@vision25.example.org",
            b"john@vision25",
            b"bob+vision25",
            b"vision25",
        )
        assert await self.sent(self.made(), *addresses) == [None] * 5
        assert self.shares() == [
            ("john", b"john@vision25.example.org"),
            ("mary", b"Mary+news@vision25.example.org"),
            ("bob", b"bob@vision25.example.org"),
            (None, b"vision25@vision25.example.org"),
        ]
        for kept in self.store.kept:
            assert EnvelopeHeaders(recipient=("Received",)).read(kept.data).recipients == envelope(kept.data)[1]

    async def test_an_alias_of_an_account_s_user_is_in_the_user_s_share(self) -> None:
        assert await self.sent(self.made("sales@example.org: john@vision25\n"), b"sales@example.org") == [None]
        assert self.shares() == [("john", b"john@vision25")]

    async def test_what_another_server_rewrote_divides_mail_for_the_account_alone(self) -> None:
        made = self.made()
        for address, original in (
            (b"vision25", b"john@vision25.example.org"),
            (b"vision25", b"john@example.net"),
            (b"vision25", b"john+vision25"),
            (b"mary@vision25", b"john@vision25.example.org"),
        ):
            delivery = made.begin(SENDER)
            await delivery.recipient(address, original)
            delivery.write(MESSAGE)
            await delivery.commit()
        assert [recipient for _, recipient in self.shares()] == [
            b"john@vision25.example.org",
            b"vision25@vision25.example.org",
            b"vision25@vision25.example.org",
            b"mary@vision25",
        ]


class QuotaTests(DeliveryCase):
    async def test_a_full_maildrop_is_refused_at_its_recipient(self) -> None:
        self.store.fill("alice", 1000)
        made = self.made(quota={"octets": 1000})
        with capturedLogs(), pytest.raises(OverQuota) as caught:
            await self.begun(made, b"alice")
        assert caught.value.smtp == b"452 4.2.2"
        await self.begun(made, b"bob")

    async def test_a_site_may_refuse_for_good(self) -> None:
        self.store.fill("alice", 1000, messages=2)
        with capturedLogs(), pytest.raises(OverQuotaForGood) as caught:
            await self.begun(self.made(quota={"messages": 2, "over": "permanent"}), b"alice")
        assert caught.value.smtp == b"552 5.2.2"

    async def test_the_announced_size_counts(self) -> None:
        self.store.fill("alice", 500)
        made = self.made(quota={"octets": 1000})
        await self.begun(made, b"alice", sender=SENDER._replace(size=500))
        await self.begun(made, b"alice")
        with capturedLogs(), pytest.raises(OverQuota):
            await self.begun(made, b"alice", sender=SENDER._replace(size=501))

    async def test_a_user_s_own_quota_comes_before_the_site_s(self) -> None:
        self.people = People(
            alice=User("alice", quota=Quota(0, 2)), bob=User("bob", quota=Quota()), carol=User("carol")
        )
        for name in ("alice", "bob", "carol"):
            self.store.fill(name, 5000)
        made = self.made(quota={"octets": 1000})
        await self.begun(made, b"alice")
        await self.begun(made, b"bob")
        with capturedLogs(), pytest.raises(OverQuota):
            await self.begun(made, b"carol")

    async def test_the_end_decides_by_what_the_message_has(self) -> None:
        made = self.made(quota={"octets": 1000})
        assert [type(each) for each in await self.sent(made, b"alice", message=b"x" * 1000)] == [OverQuota]
        made = self.made(quota={"octets": 1000, "over": "permanent"})
        assert [type(each) for each in await self.sent(made, b"alice", message=b"x" * 1000)] == [OverQuotaForGood]
        assert self.store.kept == []

    async def test_usage_that_cannot_be_told_is_no_full_maildrop(self) -> None:
        self.store.unknown["alice"] = MaildropUnavailable("the disk is gone")
        made = self.made(quota={"octets": 1000})
        with capturedLogs() as events, pytest.raises(StoreError):
            await self.begun(made, b"alice")
        assert [(each["event"], each["log_level"]) for each in events] == [("delivery.refused", LogLevel.warn)]
        for error in NoMaildrop("no home"), TemporaryFailure():
            self.store.unknown["alice"] = error
            with capturedLogs(), pytest.raises(TemporaryFailure):
                await self.begun(made, b"alice")
        await self.begun(self.made(), b"alice")  # without a quota nobody asks


class AliasOutcomeTests(DeliveryCase):
    """The outcome of an address of several users."""

    async def test_the_others_get_it_where_one_is_full_already(self) -> None:
        self.store.fill("bob", 1000)
        made = self.made("team: alice, bob, carol\n", quota={"octets": 1000})
        with capturedLogs() as events:
            assert await self.sent(made, b"team") == [None]
        assert [(each["event"], each.get("user")) for each in events] == [
            ("delivery.left_out", "bob"),
            ("delivery.stored", None),
        ]
        assert len(self.store.of("alice")) == len(self.store.of("carol")) == 1

    async def test_an_alias_of_many_with_quotas_is_one_recipient(self) -> None:
        names = [f"user{number}" for number in range(120)]
        self.people = People(names)
        made = self.made(f"all: {', '.join(names)}\n", quota={"octets": 1000})
        with capturedLogs():
            assert await self.sent(made, b"all") == [None]
        assert self.store.files == 1
        assert len(self.store.kept) == 120

    async def test_all_being_full_refuses_it(self) -> None:
        for name in ("alice", "bob"):
            self.store.fill(name, 1000)
        with capturedLogs(), pytest.raises(OverQuota):
            await self.begun(self.made("team: alice, bob\n", quota={"octets": 1000}), b"team")

    async def test_one_that_gets_full_at_the_end_is_left_out(self) -> None:
        self.store.fill("bob", 900)
        with capturedLogs() as events:
            assert await self.sent(self.made("team: alice, bob\n", quota={"octets": 1000}), b"team") == [None]
        assert [(each["event"], each.get("user")) for each in events] == [
            ("delivery.left_out", "bob"),
            ("delivery.stored", None),
        ]

    async def test_all_that_get_full_at_the_end_refuse_it(self) -> None:
        for name in ("alice", "bob"):
            self.store.fill(name, 900)
        with capturedLogs():
            (outcome,) = await self.sent(self.made("team: alice, bob\n", quota={"octets": 1000}), b"team")
        assert isinstance(outcome, OverQuota)

    async def test_any_other_failure_is_tried_again_though_it_doubles_the_others(self) -> None:
        self.store.failing["bob"] = StoreFull("no room")
        self.store.fill("carol", 900)
        with capturedLogs():
            (outcome,) = await self.sent(self.made("team: alice, carol, bob\n", quota={"octets": 1000}), b"team")
        assert isinstance(outcome, StoreFull)
        assert len(self.store.of("alice")) == 1
