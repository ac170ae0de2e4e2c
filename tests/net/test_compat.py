from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from incremental import Version
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMailboxPOP3
from twisted.mail.maildir import MaildirMailbox
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import twisted
from mailserver.errors import MessageGone
from mailserver.interfaces import IBody, IMaildrop
from mailserver.net.compat import ROWS, adapt


@implementer(IMailboxPOP3)
class Mailbox:
    """Messages as a list of (unique-id, text); answers at once, or by Deferreds when `later` is `succeed`."""

    def __init__(
        self, *messages: tuple[bytes | str, bytes], later: Callable[[object], object] = lambda answer: answer
    ) -> None:
        self.messages = list(messages)
        self.later = later
        self.marked: set[int] = set()
        self.calls: list[str] = []

    def listMessages(self, i: int | None = None) -> object:
        sizes = [0 if n in self.marked else len(text) for n, (_, text) in enumerate(self.messages)]
        return self.later(sizes if i is None else sizes[i])

    def getMessage(self, index: int) -> object:
        return self.later(io.BytesIO(self.messages[index][1]))

    def getUidl(self, index: int) -> object:
        return self.later(self.messages[index][0])

    def deleteMessage(self, index: int) -> object:
        self.messages[index]
        self.marked.add(index)
        return self.later(None)

    def undeleteMessages(self) -> object:
        self.calls.append("undelete")
        self.marked.clear()
        return self.later(None)

    def sync(self) -> object:
        self.calls.append("sync")
        self.messages = [m for n, m in enumerate(self.messages) if n not in self.marked]
        self.marked.clear()
        return self.later(None)


THREE = ((b"a", b"one\r\n"), (b"b", b"two!\r\n"), (b"c", b"three\r\n"))


class MailboxTests(SynchronousTestCase):
    later: Callable[[object], object] = staticmethod(lambda answer: answer)

    def drop(self, mailbox: object) -> IMaildrop:
        return self.successResultOf(adapt(mailbox, Clock()))

    def mailbox(self, *messages: tuple[bytes | str, bytes]) -> Mailbox:
        return Mailbox(*(messages or THREE), later=self.later)

    def fetched(self, drop: IMaildrop, number: int) -> IBody:
        body = drop.fetch(number)
        return self.successResultOf(body) if isinstance(body, Deferred) else body

    def test_it_is_a_maildrop_with_bodies(self) -> None:
        drop = self.drop(self.mailbox())
        verifyObject(IMaildrop, drop)
        verifyObject(IBody, self.fetched(drop, 1))

    def test_the_snapshot_has_the_mailboxes_sizes_and_unique_ids(self) -> None:
        messages = self.drop(self.mailbox()).messages
        assert list(messages) == [(b"a", 5, False), (b"b", 6, False), (b"c", 7, False)]
        assert messages.total == 18

    def test_a_message_is_read_in_parts_and_closed(self) -> None:
        body = self.fetched(self.drop(self.mailbox()), 3)
        assert [body.read(4), body.read(4), body.read(4)] == [b"thre", b"e\r\n", b""]
        assert body.fileno() is None
        body.close()
        body.close()

    def test_an_absent_message_leaves_no_hole_in_the_numbers(self) -> None:
        mailbox = self.mailbox()
        mailbox.marked.add(1)
        drop = self.drop(mailbox)
        assert list(drop.messages.uidls) == [b"a", b"c"]
        assert self.fetched(drop, 2).read(100) == b"three\r\n"
        mailbox.marked.clear()
        self.successResultOf(drop.commit([2]))
        assert [uidl for uidl, _ in mailbox.messages] == [b"a", b"b"]

    def test_unique_ids_that_the_rfc_forbids_are_hashed_and_text_is_taken(self) -> None:
        uidls = ["text", b"x" * 70, b"x" * 71, b"", b"with space", "\N{SNOWMAN}"]
        served = self.drop(self.mailbox(*((uidl, b"m") for uidl in uidls))).messages.uidls
        assert list(served[:2]) == [b"text", b"x" * 70]
        assert [len(uidl) for uidl in served[2:]] == [64] * 4
        assert len(set(served)) == 6

    def test_nothing_is_marked_before_the_commit(self) -> None:
        mailbox = self.mailbox()
        drop = self.drop(mailbox)
        drop.sent(1, 5)
        drop.release()
        assert (mailbox.calls, mailbox.marked) == ([], set())

    def test_a_commit_deletes_then_synchronises(self) -> None:
        mailbox = self.mailbox()
        assert self.successResultOf(self.drop(mailbox).commit([1, 3])) == 0
        assert [uidl for uidl, _ in mailbox.messages] == [b"b"]
        assert mailbox.calls == ["sync"]

    def test_a_commit_of_nothing_synchronises_as_twisted_mail_does_at_quit(self) -> None:
        mailbox = self.mailbox()
        assert self.successResultOf(self.drop(mailbox).commit([])) == 0
        assert mailbox.calls == ["sync"]

    def test_a_commit_counts_what_could_not_be_removed(self) -> None:
        mailbox = self.mailbox()
        drop = self.drop(mailbox)
        del mailbox.messages[2]
        assert self.successResultOf(drop.commit([1, 3])) == 1
        assert [uidl for uidl, _ in mailbox.messages] == [b"b"]

    def test_a_fault_before_the_sync_takes_the_marks_back(self) -> None:
        mailbox = self.mailbox()
        drop = self.drop(mailbox)
        delete = mailbox.deleteMessage

        def fault(index: int) -> object:
            if index == 1:
                raise RuntimeError("a fault of the mailbox")
            return delete(index)

        mailbox.deleteMessage = fault
        self.failureResultOf(drop.commit([1, 2, 3]), RuntimeError)
        assert mailbox.calls == ["undelete"]
        assert len(mailbox.messages) == 3

    def test_a_message_that_went_is_gone(self) -> None:
        mailbox = self.mailbox()
        drop = self.drop(mailbox)
        mailbox.messages.clear()
        with pytest.raises(MessageGone):
            self.fetched(drop, 1)

    def test_a_message_that_goes_while_it_is_listed_is_left_out(self) -> None:
        mailbox = self.mailbox()
        uidl = mailbox.getUidl

        def gone(index: int) -> object:
            if index == 1:
                raise ValueError(index)
            return uidl(index)

        mailbox.getUidl = gone
        assert list(self.drop(mailbox).messages.uidls) == [b"a", b"c"]

    def test_a_large_mailbox_is_listed_and_emptied_over_several_turns(self) -> None:
        clock, count = Clock(), 3 * ROWS
        mailbox = self.mailbox(*((b"%d" % n, b"m") for n in range(count)))
        listing = adapt(mailbox, clock)
        self.assertNoResult(listing)
        clock.pump([0] * 4)
        drop = self.successResultOf(listing)
        assert len(drop.messages) == count
        commit = drop.commit(range(1, count + 1))
        self.assertNoResult(commit)
        clock.pump([0] * 4)
        assert self.successResultOf(commit) == 0
        assert mailbox.messages == []


class DeferredMailboxTests(MailboxTests):
    """The same, from a mailbox that answers everything by Deferreds."""

    later = staticmethod(succeed)

    def test_a_deferred_message_that_went_is_gone(self) -> None:
        mailbox = self.mailbox()
        drop = self.drop(mailbox)
        mailbox.getMessage = lambda index: fail(IndexError(index))
        self.failureResultOf(drop.fetch(1), MessageGone)


class TwistedMaildirTests(SynchronousTestCase):
    @pytest.mark.skipif(twisted.version < Version("Twisted", 25, 5, 0), reason="opens no Maildir on any Python 3")
    def test_twisted_mails_own_maildir_is_served(self) -> None:
        # But not emptied: its deleteMessage joins a bytes path with str, and fails on every Python 3.
        folder = Path(self.mktemp())
        mailbox = MaildirMailbox(bytes(folder))  # makes the folders
        octets = b"Subject: h\xf6flich\r\n\r\n.dot\r\n"
        for name in ("1", "2"):
            (folder / "new" / name).write_bytes(octets)
        mailbox = MaildirMailbox(bytes(folder))
        drop = self.successResultOf(adapt(mailbox, Clock()))
        assert list(drop.messages.octets) == [len(octets)] * 2
        assert {len(uidl) for uidl in drop.messages.uidls} == {32}
        body = drop.fetch(2)
        assert body.read(1000) == octets
        body.close()
        (folder / "new" / "1").unlink()
        with pytest.raises(MessageGone):
            drop.fetch(1)
