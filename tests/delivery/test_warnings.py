"""The warnings of a full maildrop."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.delivery import programs
from mailserver.delivery.deliver import Deliveries
from mailserver.delivery.warnings import Warnings
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import MaildropUnavailable, Unusable
from mailserver.incoming import Usage
from mailserver.interfaces import Account, Quota, User
from mailserver.limits import QuotaRules
from tests.delivery.room import NOW, SENDER, Lists, People, deliveries

ALICE = User("alice", quota=Quota(100_000, 0))


class WarningCase(TestCase):
    def setUp(self) -> None:
        self.store = Lists()
        self.user = ALICE

    def made(self, **quota: Any) -> Deliveries:
        made = deliveries(self.store, People(alice=self.user), quota=quota)
        self.successResultOf(made.warnings.start(reactor))
        self.addCleanup(made.warnings.stop)
        return made

    async def send(self, made: Deliveries, octets: int) -> list[str]:
        """Deliver a message, and answer the events of it and of its warning."""
        with capturedLogs() as events:
            delivery = made.begin(SENDER)
            await delivery.recipient(b"alice")
            delivery.write(b"x" * octets)
            assert list(await delivery.commit()) == [None]
        return [event["event"] for event in events if event["event"] != "delivery.stored"]

    def warnings(self) -> list[bytes]:
        return [each for each in self.store.of(self.user.name) if b"Auto-Submitted" in each]


class MessageTests(WarningCase):
    async def test_a_delivery_that_crosses_the_line_is_told_once(self) -> None:
        made = self.made()
        assert await self.send(made, 40000) == []
        assert await self.send(made, 50000) == ["delivery.quota"]
        assert await self.send(made, 10) == []
        assert len(self.warnings()) == 1

    async def test_another_crossing_is_told_again(self) -> None:
        made = self.made()
        await self.send(made, 90000)
        self.store.kept.clear()
        assert await self.send(made, 10) == []
        assert await self.send(made, 90000) == ["delivery.quota"]

    async def test_two_that_cross_it_at_once_are_told_once(self) -> None:
        made = self.made()
        with capturedLogs():
            both = [made.begin(SENDER), made.begin(SENDER)]
            for delivery in both:
                await delivery.recipient(b"alice")
                delivery.write(b"x" * 46_000)
            self.store.fill("alice", 50_000)  # by others, after the usage was asked for
            assert list(await both[0].commit()) == [None]
            self.store.kept.pop(0)
            assert list(await both[1].commit()) == [None]
        assert len(self.warnings()) == 1

    async def test_one_that_was_over_the_line_when_the_server_began_crosses_nothing(self) -> None:
        self.store.fill("alice", 95000)
        assert await self.send(self.made(), 10) == []

    async def test_the_message_tells_what_it_is_about_and_fits_no_quota(self) -> None:
        self.user = User("alice", quota=Quota(100_000, 2))
        await self.send(self.made(), 40000)
        await self.send(self.made(), 56000)
        (message,) = self.warnings()
        assert EnvelopeHeaders().read(message).recipients == (b"alice",)
        parsed = message_from_bytes(message, policy=policy.default)
        assert parsed["Return-Path"] == "<>"
        assert parsed["From"] == "Mail system <postmaster@mail.example.org>"
        assert parsed["To"] == "alice@mail.example.org"
        assert parsed["Subject"] == "Your maildrop is 100 % full"
        assert parsed["Auto-Submitted"] == "auto-generated"
        assert parsed["Date"].datetime.timestamp() == NOW
        text = parsed.get_content()
        assert "maildrop on mail.example.org is 100 % full" in text
        assert "it may hold 100000 octets and 2 messages" in text
        assert message.count(b"\n") == message.count(b"\r\n")

    async def test_an_account_s_postmaster_is_warned(self) -> None:
        account = Account("vision25.example.org", "john")
        user = User("vision25", quota=Quota(1000), account=account)
        warnings = Warnings(self.store, QuotaRules(), "h", lambda: NOW)
        self.store.fill("vision25", 950)
        warnings.consider(user, Usage(0, 0), 950)
        (message,) = [each for each in self.store.of("vision25") if b"Auto-Submitted" in each]
        assert EnvelopeHeaders().read(message).recipients == (b"postmaster@vision25.example.org",)

    async def test_without_a_percentage_or_a_quota_nobody_is_warned(self) -> None:
        assert await self.send(self.made(warn_percent=0), 95000) == []
        self.user = User("alice")
        assert await self.send(self.made(), 95000) == []

    async def test_a_warning_that_cannot_be_stored_is_logged_and_the_delivery_stands(self) -> None:
        made = self.made()
        usage = self.store.usage

        def fails(user: User) -> Deferred[Usage]:
            self.store.failing["alice"] = MaildropUnavailable("the disk is gone")
            return usage(user)

        with capturedLogs() as events:
            delivery = made.begin(SENDER)
            await delivery.recipient(b"alice")
            delivery.write(b"x" * 91000)
            self.patch(self.store, "usage", fails)
            assert list(await delivery.commit()) == [None]
        assert [each["event"] for each in events] == ["delivery.stored", "delivery.quota", "delivery.warning_failed"]

    async def test_a_fault_of_a_warning_is_logged_with_its_traceback(self) -> None:
        made = self.made()
        with capturedLogs() as events:
            delivery = made.begin(SENDER)
            await delivery.recipient(b"alice")
            delivery.write(b"x" * 91000)
            self.store.unknown["alice"] = ZeroDivisionError("a slip of ours")
            assert list(await delivery.commit()) == [None]
        assert [each["event"] for each in events] == ["delivery.stored", "delivery.warning_fault"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1


# Of Python 3.12 and later, where another test's thread is left: Twisted's spawnProcess does, up to 24.11, and executes at once.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
class ProgramTests(WarningCase):
    def program(self, text: str) -> tuple[str, Path]:
        """A program that writes to a file, and the file."""
        path, told = Path(self.mktemp()), Path(self.mktemp()).absolute()
        path.write_text(f"#!{sys.executable}\nimport os, sys\ntold = open({str(told)!r}, 'a')\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path.absolute()), told

    async def ended(self, made: Warnings) -> None:
        """Wait until no program runs or waits."""
        running = made._programs
        assert running is not None
        while running._running or running._waiting:
            await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]

    def begun(self, command: str) -> Warnings:
        made = Warnings(self.store, QuotaRules(warn_command=command), "h")
        self.successResultOf(made.start(reactor))
        self.addCleanup(made.stop)
        return made

    async def test_a_program_is_told_the_user_and_the_share_without_a_shell(self) -> None:
        program, told = self.program(
            "print(sys.argv[1:], *(f'{k}={v}' for k, v in sorted(os.environ.items()) if k.startswith('MAIL')), file=told)"
        )
        made = self.begun(f"{program} --for '$(id) x'")
        user = User("a;b $HOME", quota=Quota(1000, 5))
        self.store.fill(user.name, 950)
        made.consider(user, Usage(0, 0), 950)
        await self.ended(made)
        assert told.read_text() == (
            "['--for', '$(id) x', '95', 'a;b $HOME'] MAILSERVER_MESSAGES=1 MAILSERVER_OCTETS=950 MAILSERVER_PERCENT=95 "
            "MAILSERVER_USER=a;b $HOME\n"
        )
        assert len(self.store.kept) == 1  # and there is no message

    async def test_its_failure_is_logged_with_what_it_said(self) -> None:
        program, _ = self.program("print('out'); sys.exit('no route to the pager')")
        made = self.begun(program)
        with capturedLogs() as events:
            made._programs.run("alice", 95, Usage(1, 950))  # type: ignore[union-attr]
            await self.ended(made)
        (event,) = events
        assert (event["event"], event["user"]) == ("delivery.warn_command", "alice")
        assert "exit code 1" in event["reason"]
        assert "no route to the pager" in event["output"]

    async def test_one_that_hangs_is_ended(self) -> None:
        self.patch(programs, "SECONDS", 0.2)
        program, _ = self.program("import time; time.sleep(600)")
        made = self.begun(program)
        with capturedLogs() as events:
            made._programs.run("alice", 95, Usage(1, 950))  # type: ignore[union-attr]
            await self.ended(made)
        assert [event["reason"] for event in events] == ["it was killed, for it ran for 0 s"]

    async def test_one_whose_children_stay_behind_is_ended_all_the_same(self) -> None:
        orphan = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, file=told, flush=True)"
        for text in (f"{orphan}; import time; time.sleep(600)", orphan):
            program, told = self.program(text)
            made = self.begun(program)
            running = made._programs
            assert running is not None
            running.run("alice", 95, Usage(1, 950))
            while not (told.exists() and told.read_text().endswith("\n")):
                await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]
            self.addCleanup(os.kill, int(told.read_text()), signal.SIGKILL)
            with capturedLogs():
                running.stop()
                await self.ended(made)

    async def test_few_run_at_once_and_not_many_wait(self) -> None:
        self.patch(programs, "MAX_WAITING", 3)
        program, told = self.program("print(sys.argv[2], file=told)")
        made = self.begun(program)
        running = made._programs
        assert running is not None
        with capturedLogs() as events:
            for number in range(programs.AT_ONCE + 4):
                running.run(f"user{number}", 95, Usage(1, 950))
            assert len(running._running) == programs.AT_ONCE
            await self.ended(made)
        assert [(event["user"], event["reason"]) for event in events] == [("user5", "too many others wait")]
        assert sorted(told.read_text().split()) == [f"user{number}" for number in range(5)]

    async def test_a_system_that_gives_no_process_is_told_and_the_next_goes_on(self) -> None:
        program, told = self.program("print(sys.argv[2], file=told)")
        made = self.begun(program)
        running = made._programs
        assert running is not None
        real = os.fork

        def fork() -> int:
            self.patch(os, "fork", real)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        self.patch(os, "fork", fork)
        with capturedLogs() as events:
            running.run("alice", 95, Usage(1, 950))
            running.run("bob", 95, Usage(1, 950))
            await self.ended(made)
        assert [(event["user"], event["reason"]) for event in events] == [("alice", os.strerror(errno.EAGAIN))]
        assert told.read_text() == "bob\n"

    async def test_a_stop_ends_them(self) -> None:
        program, _ = self.program("import time; time.sleep(600)")
        made = self.begun(program)
        running = made._programs
        assert running is not None
        with capturedLogs() as events:
            for number in range(programs.AT_ONCE + 1):
                running.run(f"user{number}", 95, Usage(1, 950))
            await made.stop()
            await self.ended(made)
        assert {event["reason"] for event in events} == {"it was killed, for the server ends"}

    async def test_a_program_that_is_not_there_is_told_at_the_start(self) -> None:
        made = Warnings(self.store, QuotaRules(warn_command="/no/such/program x"), "h")
        with pytest.raises(Unusable) as caught:
            await made.start(reactor)
        assert "no program '/no/such/program' can be run" in str(caught.value)
