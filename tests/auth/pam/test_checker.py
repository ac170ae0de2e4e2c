"""The checker of system users, over real PAM stacks."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.asker import asked_by
from mailserver.auth.pam.checker import LONGEST_DELAY, PamUsers
from mailserver.auth.pam.line import LOST, SLOW, Lines
from mailserver.auth.pam.link import MAX_WAITING, SHARE, PamUnusable
from mailserver.auth.pam.options import Options
from mailserver.credentials import Password
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.interfaces import IPart, IPrivileged, IUsers, Mind, User
from mailserver.names import Names
from mailserver.pam.libpam import REFUSALS, SUCCESS, Libraries
from tests.auth.contract import CheckerContract
from tests.auth.outages import only_in_threads, password, weather
from tests.auth.pam.stacks import (
    SERVICE,
    alive,
    children,
    core_limit,
    descendants,
    descriptors,
    inheritable,
    of_matrix,
    of_probe,
    of_userdb,
    service,
)
from tests.waiting import eventually

ALICE = Password(b"alice", b"tanstaaf")
NAMES = [f"user{number}" for number in range(20)]


class PamCase(TestCase):
    """`checker` makes a started checker; a test's own folder has its stack."""

    def folder(self) -> Path:
        return Path(self.mktemp()).absolute()

    async def checker(self, folder: Path, naming: Names | None = None, **options: Any) -> PamUsers:
        checker = PamUsers(replace(Options(SERVICE, folder=str(folder)), **options))
        checker.naming = naming or checker.naming
        checker.begin(reactor)
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        return checker

    async def refusal(self, asked: Deferred[Any]) -> LoginRefused:
        with pytest.raises(LoginRefused) as caught:
            await asked
        return caught.value


def process(checker: PamUsers) -> int:
    """The first of the processes."""
    watch = checker._link._watch
    assert watch is not None
    return int(watch.transport.pid)


def second(checker: PamUsers) -> int:
    """The second, which reads the requests."""
    eventually(lambda: bool(children(process(checker))), lambda: "there is no second process")
    return children(process(checker))[0]


@contextmanager
def fifo(folder: Path) -> Iterator[tuple[Path, Any]]:
    """A FIFO that a module waits at, and what lets it go."""
    folder.mkdir(exist_ok=True)
    path = folder / "fifo"
    os.mkfifo(path)

    def is_awaited() -> bool:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    yield path, lambda: eventually(is_awaited, lambda: "no module waits")


class PamContractTests(CheckerContract, PamCase):
    at_once = False

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.made = await self.checker(of_matrix(self.folder(), self.users))
        super().setUp()

    def make(self, _users: dict[bytes, bytes]) -> PamUsers:
        return self.made

    def test_it_provides_its_other_interfaces(self) -> None:
        for interface in (IUsers, IPart, IPrivileged):
            verifyObject(interface, self.made)


class PamUsersTests(PamCase):
    async def test_the_user_comes_with_the_home_that_the_system_has(self) -> None:
        entry = pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
        stack = of_matrix(self.folder(), {entry.pw_name.encode(): b"secret"})
        checker = await self.checker(stack, min_uid=1)
        user = User(entry.pw_name, home=entry.pw_dir)
        answer: Any = await checker.requestAvatarId(Password(entry.pw_name.encode(), b"secret"))
        assert (answer, answer.user) == (entry.pw_name.encode(), user)
        assert await checker.lookup(entry.pw_name) == user
        assert await checker.lookup("no-such-user") is None

    async def test_nobody_can_guess_at_roots_password_nor_at_the_systems_users(self) -> None:
        record = self.folder()
        checker = await self.checker(of_probe(self.folder(), f"record={record}"))
        for name in (b"root", b"daemon"):
            refusal = await self.refusal(checker.requestAvatarId(Password(name, b"tanstaaf")))
            assert (refusal.known, await checker.lookup(name.decode())) == (False, None)
            assert "uid" in refusal.reason
        assert "tanstaaf" not in record.read_text()  # so the time cannot tell either
        assert len(record.read_text().splitlines()) == 2

    async def test_the_log_hears_whom_the_system_does_not_know(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "result=7"), min_uid=1)
        known, unknown = [
            await self.refusal(checker.requestAvatarId(Password(name, b"x"))) for name in (b"nobody", b"no-such-user")
        ]
        assert (known.known, known.hint) == (True, "")
        assert (unknown.known, unknown.hint) == (None, "the system's list of users has no such name")
        assert known.reason == unknown.reason

    async def test_root_stays_out_whatever_min_uid_says(self) -> None:
        checker = await self.checker(of_probe(self.folder(), ""), min_uid=0)
        assert "uid 0" in (await self.refusal(checker.requestAvatarId(Password(b"root", b"x")))).reason

    async def test_nor_does_a_module_make_root_of_another_name(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "name=root"))
        assert "uid 0" in (await self.refusal(checker.requestAvatarId(ALICE))).reason

    async def test_pam_hears_of_the_client(self) -> None:
        record = self.folder()
        checker = await self.checker(of_probe(self.folder(), f"record={record}"))
        mind = Mind("192.0.2.7", tls=True, listener="pop3s")
        assert await asked_by("192.0.2.7", mind, checker.requestAvatarId, ALICE) == b"alice"
        assert record.read_text().partition("|")[2] == "alice|tanstaaf|192.0.2.7|mailserver\n"

    async def test_a_name_is_what_the_modules_make_of_it_and_the_rules_for_names_read(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "name=ALICE@Example.org"), naming=Names(case="lower"))
        assert await checker.requestAvatarId(ALICE) == b"alice@example.org"
        checker = await self.checker(of_probe(self.folder(), "name=../alice"))
        assert (await self.refusal(checker.requestAvatarId(ALICE))).known is False

    async def test_users_of_a_domain_are_asked_for_by_the_bare_name(self) -> None:
        checker = await self.checker(of_matrix(self.folder(), {b"alice": b"tanstaaf"}), domain="example.org")
        assert await checker.requestAvatarId(Password(b"alice@example.org", b"tanstaaf")) == b"alice@example.org"
        for name in (b"alice", b"alice@example.net", b"@example.org"):
            assert (await self.refusal(checker.requestAvatarId(Password(name, b"tanstaaf")))).known is False
            assert await checker.lookup(name.decode()) is None

    async def test_who_is_not_asked_for_a_password_stays_out(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "prompts=0"))
        assert "did not ask" in (await self.refusal(checker.requestAvatarId(ALICE))).reason

    async def test_a_stack_may_ask_again_but_not_for_ever_and_not_for_more(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "", "prompts=2"))
        assert await checker.requestAvatarId(ALICE) == b"alice"
        for lines in ("prompts=100", "style=2"):
            checker = await self.checker(of_probe(self.folder(), lines))
            with pytest.raises(TemporaryFailure):
                await checker.requestAvatarId(ALICE)

    async def test_a_message_is_no_prompt(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "style=4", ""))
        assert await checker.requestAvatarId(ALICE) == b"alice"

    async def test_results_that_are_about_the_user_refuse_and_others_do_not(self) -> None:
        folder = self.folder()
        checker = await self.checker(of_probe(folder, ""))
        for code in (*REFUSALS, 4, 5, 9, 26, 28):
            of_probe(folder, f"result={code}")
            with pytest.raises(LoginRefused if code in REFUSALS else TemporaryFailure):
                await checker.requestAvatarId(ALICE)

    async def test_the_accounts_rules_count(self) -> None:
        folder = self.folder()
        checker = await self.checker(of_probe(folder, ""))
        for code, expected in ((13, LoginRefused), (12, LoginRefused), (9, TemporaryFailure)):
            of_probe(folder, f"account={code}")
            with pytest.raises(expected):
                await checker.requestAvatarId(ALICE)

    async def test_modules_may_have_a_refusal_held_back_and_no_process_waits_for_it(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "result=7 delay=60000000"), processes=1)
        checker._reactor = clock = Clock()
        ended: list[Any] = []
        checker.requestAvatarId(ALICE).addBoth(ended.append)
        await checker.lookup("alice")  # by the one process that there may be
        assert not ended
        clock.advance(LONGEST_DELAY)
        assert ended[0].check(LoginRefused)

    async def test_the_numbers_are_those_of_the_library(self) -> None:
        libraries = Libraries()
        assert libraries.text(SUCCESS) == "Success (0)"
        told = {code: libraries.text(code) for code in REFUSALS}
        words = {
            6: "Permission denied",
            7: "Authentication failure",
            10: "User not known",
            11: "maximum number of retries",
        }
        words |= {12: "no longer valid; new one required", 13: "User account has expired", 16: "credentials expired"}
        words |= {27: "Authentication token expired"}
        assert {code for code in REFUSALS if words[code].lower() in told[code].lower()} == set(REFUSALS)


class MemoryTests(PamCase):
    async def test_a_right_password_is_remembered_as_long_as_the_settings_say(self) -> None:
        folder, now = self.folder(), [0.0]
        checker = PamUsers(Options(SERVICE, folder=str(of_probe(folder, f"record={folder}/record")), remember=60))
        checker._cache._seconds = lambda: now[0]
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        asked = folder / "record"
        for seconds, questions in ((0, 1), (59, 1), (60, 2)):
            now[0] = seconds
            answer: Any = await checker.requestAvatarId(ALICE)
            assert (answer, answer.user.name) == (b"alice", "alice")
            assert len(asked.read_text().splitlines()) == questions
        await checker.requestAvatarId(Password(b"alice", b"another"))
        assert len(asked.read_text().splitlines()) == 3
        await checker.reload()
        await checker.requestAvatarId(ALICE)
        assert len(asked.read_text().splitlines()) == 4

    async def test_it_is_remembered_for_the_clients_address_alone(self) -> None:
        """A module may let the user in from there alone (pam_access)."""
        folder = self.folder()
        checker = await self.checker(of_probe(folder, f"record={folder}/record"), remember=60)
        for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"):
            await asked_by(peer, Mind(peer, tls=True, listener="pop3s"), checker.requestAvatarId, ALICE)
        told = [line.split("|")[3] for line in (folder / "record").read_text().splitlines()]
        assert told == ["192.0.2.1", "192.0.2.2"]

    async def test_by_default_it_is_not(self) -> None:
        folder = self.folder()
        checker = await self.checker(of_probe(folder, f"record={folder}/record"))
        for _ in range(2):
            await checker.requestAvatarId(ALICE)
        assert len((folder / "record").read_text().splitlines()) == 2


class TroubleTests(PamCase):
    async def troubled(self, checker: PamUsers, credentials: Password = ALICE) -> list[str]:
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(credentials)
        return [event["trouble"] for event in events if event.get("event") == "auth.pam.down"]

    async def test_a_service_without_a_file_is_an_error_at_the_start(self) -> None:
        folder = self.folder()
        folder.mkdir()
        checker = PamUsers(Options(SERVICE, folder=str(folder)))
        with pytest.raises(
            PamUnusable, match=f"there is no {folder}/{SERVICE}, so PAM would refuse everybody: create it"
        ):
            await checker.start(reactor)
        assert not checker._link.running

    async def test_without_it_later_nobody_is_refused(self) -> None:
        folder = of_matrix(self.folder(), {b"alice": b"tanstaaf"})
        checker = await self.checker(folder)
        text = (folder / SERVICE).read_text()
        (folder / SERVICE).unlink()
        assert "there is no" in "".join(await self.troubled(checker))
        assert not await self.troubled(checker)  # it is said once
        (folder / SERVICE).write_text(text)
        with capturedLogs() as events:
            assert await checker.requestAvatarId(ALICE) == b"alice"
        assert [event["event"] for event in events] == ["auth.pam.up"]

    async def test_a_module_that_is_missing_refuses_nobody(self) -> None:
        checker = await self.checker(service(self.folder(), "auth required pam_no_such_module.so"))
        assert "Module is unknown" in "".join(await self.troubled(checker))

    async def test_a_module_that_crashes_ends_only_its_own_login(self) -> None:
        checker = await self.checker(of_probe(self.folder(), "", "only=mallory crash"))
        others = gatherResults([checker.requestAvatarId(ALICE) for _ in range(8)])
        assert "SIGSEGV" in "".join(await self.troubled(checker, Password(b"mallory", b"x")))
        assert set(await others) == {b"alice"}

    async def test_a_module_that_waits_keeps_nobody_else_waiting(self) -> None:
        folder = self.folder()
        with fifo(folder) as (path, let_go):
            checker = await self.checker(of_probe(folder, "", f"only=mallory wait={path}"), processes=2)
            slow = checker.requestAvatarId(Password(b"mallory", b"x"))
            assert await checker.requestAvatarId(ALICE) == b"alice"
            assert not slow.called
            let_go()
            assert await slow == b"mallory"

    async def test_a_module_that_hangs_is_killed_at_the_end_of_the_time(self) -> None:
        folder = self.folder()
        with fifo(folder) as (path, _):
            stack = of_probe(folder, f"record={folder}/record", f"only=mallory fork={folder}/fork wait={path}")
            checker = await self.checker(stack, processes=1, timeout=1)
            assert await self.troubled(checker, Password(b"mallory", b"x")) == ["a module did not answer in time"]
            pids = [int((folder / name).read_text().partition("|")[0]) for name in ("record", "fork")]
            eventually(lambda: not any(map(alive, pids)), lambda: f"one of {pids} runs")
            assert await checker.requestAvatarId(ALICE) == b"alice"

    async def test_what_nobody_waits_for_any_more_is_not_asked(self) -> None:
        folder = self.folder()
        checker = await self.checker(of_probe(folder, f"record={folder}/record"), processes=1, timeout=1)
        pid = second(checker)
        os.kill(pid, signal.SIGSTOP)
        assert await self.troubled(checker) == [SLOW]
        os.kill(pid, signal.SIGCONT)
        assert await checker.requestAvatarId(Password(b"bob", b"x")) == b"bob"
        assert [line.split("|")[1] for line in (folder / "record").read_text().splitlines()] == ["bob"]

    async def test_one_address_has_its_share_of_what_waits(self) -> None:
        folder = self.folder()
        with fifo(folder) as (path, let_go):
            checker = await self.checker(of_probe(folder, "", f"only=mallory wait={path}"), processes=1)
            slow = checker.requestAvatarId(Password(b"mallory", b"x"))
            waiting = [asked_by("192.0.2.1", None, checker.requestAvatarId, ALICE) for _ in range(SHARE)]
            assert SHARE < MAX_WAITING
            with pytest.raises(TemporaryFailure):
                await asked_by("192.0.2.1", None, checker.requestAvatarId, ALICE)
            other = asked_by("192.0.2.2", None, checker.requestAvatarId, ALICE)
            let_go()
            assert set(await gatherResults([slow, other, *waiting])) == {b"mallory", b"alice"}

    async def test_before_its_start_and_after_its_stop_it_cannot_tell(self) -> None:
        checker = PamUsers(Options(SERVICE))
        for _ in range(2):
            with pytest.raises(TemporaryFailure):
                await checker.requestAvatarId(ALICE)
            with pytest.raises(TemporaryFailure):
                await checker.lookup("alice")
            await checker.stop()

    async def test_it_starts_itself_where_it_is_told_the_reactor(self) -> None:
        stack = of_matrix(self.folder(), {b"alice": b"tanstaaf"})
        checker = PamUsers(Options(SERVICE, folder=str(stack)), find_reactor=lambda: reactor)
        self.addCleanup(checker.stop)
        assert await checker.requestAvatarId(ALICE) == b"alice"


class ProcessTests(PamCase):
    async def test_the_second_process_is_forked_anew_and_what_it_asked_ends(self) -> None:
        folder = self.folder()
        with fifo(folder) as (path, _):
            stack = of_probe(folder, f"record={folder}/record", f"only=mallory wait={path}")
            checker = await self.checker(stack, processes=1)
            lost = checker.requestAvatarId(Password(b"mallory", b"x"))
            eventually((folder / "record").exists, lambda: "the module was not called")
            asking = list(descendants(second(checker)))
            os.kill(second(checker), signal.SIGKILL)
            with capturedLogs() as events, pytest.raises(TemporaryFailure):
                await lost
            assert [event["trouble"] for event in events] == [LOST]  # at once, and not at the end of the time
            eventually(lambda: not any(map(alive, asking)), lambda: "a module outlived its process")
            assert await checker.requestAvatarId(ALICE) == b"alice"

    async def test_the_first_is_started_anew_by_whoever_has_its_rights(self) -> None:
        checker = await self.checker(of_matrix(self.folder(), {b"alice": b"tanstaaf"}))
        old = process(checker)
        with capturedLogs() as events:
            os.kill(old, signal.SIGKILL)
            ended = checker._link._watch
            assert ended is not None
            await ended.gone
        assert [event["consequence"] for event in events] == ["the process that asks PAM is started anew"]
        answers = []
        while not answers:
            try:
                answers.append(await checker.requestAvatarId(ALICE))
            except TemporaryFailure:
                await pause()
        assert process(checker) != old

    async def test_whoever_has_not_says_once_what_to_do(self) -> None:
        checker = await self.checker(of_matrix(self.folder(), {b"alice": b"tanstaaf"}))
        checker._link._uid = os.geteuid() + 1  # as after `become`
        first, other = process(checker), second(checker)
        with capturedLogs() as events:
            ended = checker._link._watch
            assert ended is not None
            os.kill(first, signal.SIGKILL)
            await ended.gone
            assert await checker.requestAvatarId(ALICE) == b"alice"  # the second process goes on
            os.kill(other, signal.SIGKILL)
            eventually(lambda: not alive(other), lambda: "it cannot be killed")
            for _ in range(3):
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(ALICE)
        told = [event["consequence"] for event in events if event["event"] == "auth.pam.ended"]
        assert told == [
            "the process that asks PAM has ended, and one with its rights can only be started as root: restart the server"
        ]
        assert len([event for event in events if event["event"] == "auth.pam.down"]) <= 1

    async def test_a_stop_leaves_no_process(self) -> None:
        checker = await self.checker(of_matrix(self.folder(), {b"alice": b"tanstaaf"}))
        pids = [process(checker), second(checker)]
        await checker.stop()
        eventually(lambda: not any(map(alive, pids)), lambda: f"{pids} run")

    async def test_it_ends_with_the_server_whatever_signals_come_before(self) -> None:
        checker = await self.checker(of_matrix(self.folder(), {b"alice": b"tanstaaf"}))
        for pid in (process(checker), second(checker)):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
                os.kill(pid, number)
        assert await checker.requestAvatarId(ALICE) == b"alice"

    async def test_it_has_only_its_lines_and_no_core(self) -> None:
        checker = await self.checker(of_matrix(self.folder(), {b"alice": b"tanstaaf"}), processes=2)
        assert await checker.requestAvatarId(ALICE) == b"alice"
        opened = descriptors(process(checker))
        assert opened[:2] == ["/dev/null", "/dev/null"]
        assert len(opened) == 5  # and standard error, and two lines
        assert core_limit(process(checker)) == ["0", "0"]

    async def test_a_program_that_a_module_starts_inherits_no_line(self) -> None:
        checker = await self.checker(of_matrix(self.folder(), {b"alice": b"tanstaaf"}), processes=2)
        for pid in (process(checker), second(checker)):
            assert inheritable(pid) == [0, 1, 2]


def pause() -> Deferred[None]:
    """A turn of the reactor."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)  # type: ignore[attr-defined]  # it provides IReactorTime
    return turned


class OutageTests(PamCase):
    async def outage(self, breakdown: Any, **options: Any) -> None:
        stack = of_matrix(self.folder(), {name.encode(): password(name) for name in NAMES})
        checker = await self.checker(stack, **options)
        with only_in_threads((Lines, "ask")) as calls:
            tally = await weather(checker, NAMES, lambda: breakdown(checker))
        assert calls
        tally.check()

    async def test_killed(self) -> None:
        @contextmanager
        def killed(checker: PamUsers) -> Iterator[None]:
            os.kill(second(checker), signal.SIGKILL)
            yield

        await self.outage(killed, timeout=5)

    async def test_frozen(self) -> None:
        @contextmanager
        def frozen(checker: PamUsers) -> Iterator[None]:
            stopped = [process(checker), second(checker)]  # which then starts no more
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            yield
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

        await self.outage(frozen, timeout=1)


class RealModuleTests(PamCase):
    async def test_pam_userdb(self) -> None:
        checker = await self.checker(of_userdb(self.folder(), "alice\ntanstaaf\nbob\nsesame\n"))
        assert await checker.requestAvatarId(ALICE) == b"alice"
        with pytest.raises(UnauthorizedLogin):
            await checker.requestAvatarId(Password(b"alice", b"sesame"))
        with pytest.raises(UnauthorizedLogin):
            await checker.requestAvatarId(Password(b"nobody-else", b"sesame"))
