"""A directory that is busy, wrong, mad or silent: logins fail for now, and never is somebody let in or wrongly refused."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.asker import asked_by
from mailserver.auth.ldap import connection
from mailserver.auth.ldap.ber import OCTETS, SEQUENCE, element, integer
from mailserver.auth.ldap.checker import LdapUsers
from mailserver.auth.ldap.servers import MAX_WAITING
from mailserver.credentials import Password
from mailserver.errors import LoginRefused, TemporaryFailure
from tests.auth.ldap.fake import ALICE, BIND, DONE, EXTENDED, NONE, SEARCH, Answer, Liar, found, reference, result

SEARCHING = 'base = "dc=example,dc=org"\nfilter = "(uid={user})"\nstart_tls = false\n'
BINDING = 'mode = "bind"\nbind_as = "uid={user},dc=example,dc=org"\nstart_tls = false\n'
COMPARING = 'mode = "compare"\n' + SEARCHING
SHORT = "operation_seconds = 0.2\nconnect_seconds = 0.4\n"
"""Seconds that nobody measures; they are what the silent servers take."""

RIGHT = Password(b"alice", b"sesame")
CANNOT_TELL = (1, 2, 3, 4, 7, 8, 10, 11, 12, 13, 48, 50, 51, 52, 53, 80, 123)


def coded(code: int) -> Answer:
    """An answer with this result."""
    return lambda asked: [result(DONE[asked.kind], code)]


def answered(*operations: bytes) -> Answer:
    """An answer of these operations."""
    return lambda _: list(operations)


class LdapCase(TestCase):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Any) -> None:
        self.folder = tmp_path

    def serve(self, answers: dict[int, Answer] | None = None) -> Liar:
        liar = Liar(answers)
        liar.url = liar.listen()  # type: ignore[attr-defined]  # of a test
        self.addCleanup(liar.stop)
        return liar

    def checker(self, *liars: Any, settings: str = SEARCHING, short: str = SHORT) -> LdapUsers:
        path = self.folder / "ldap.toml"
        path.write_text(
            f"servers = {[each if isinstance(each, str) else each.url for each in liars]}\n{settings}{short}"
        )
        made = LdapUsers(str(path))
        started: list[Any] = []
        made.start(reactor).addBoth(started.append)
        assert started == [None], started
        self.addCleanup(made.stop)
        return made

    async def temporary(self, answers: dict[int, Answer], settings: str = SEARCHING) -> Liar:
        liar = self.serve(answers)
        checker = self.checker(liar, settings=settings)
        with capturedLogs() as events:
            for _ in range(2):
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(RIGHT)
        told = [event["event"] for event in events if "event" in event]
        assert len(told) == 1, told
        assert "sesame" not in repr(events)
        return liar

    async def reason(self, checker: LdapUsers, credentials: Any = RIGHT) -> LoginRefused:
        with pytest.raises(LoginRefused) as refused:
            await checker.requestAvatarId(credentials)
        return refused.value


class ResultTests(LdapCase):
    async def test_who_is_found_and_bound_is_let_in(self) -> None:
        liar = self.serve({SEARCH: answered(ALICE, NONE)})
        answer = await self.checker(liar).requestAvatarId(RIGHT)
        assert (answer, answer.user.home) == (b"alice", "/home/alice")  # type: ignore[union-attr]  # a UserId
        assert liar.binds() == [(b"uid=alice,dc=example,dc=org", b"sesame")]
        assert [each.kind for each in liar.asked] == [SEARCH, BIND]

    async def test_a_login_asks_twice_and_opens_no_connection_anew(self) -> None:
        liar = self.serve({SEARCH: answered(ALICE, NONE)})
        checker = self.checker(liar)
        for _ in range(3):
            await checker.requestAvatarId(RIGHT)
        assert [each.kind for each in liar.asked] == [SEARCH, BIND] * 3
        assert liar.connections == 2

    async def test_a_bind_that_cannot_tell_is_a_temporary_failure(self) -> None:
        for code in CANNOT_TELL:
            await self.temporary({SEARCH: answered(ALICE, NONE), BIND: coded(code)})

    async def test_likewise_where_users_only_bind(self) -> None:
        for code in CANNOT_TELL:
            await self.temporary({SEARCH: answered(ALICE, NONE), BIND: coded(code)}, BINDING)

    async def test_a_search_that_cannot_tell_is_a_temporary_failure(self) -> None:
        for code in (*CANNOT_TELL, 32, 49):
            for settings in (SEARCHING, COMPARING):
                liar = await self.temporary({SEARCH: coded(code)}, settings)
                assert not liar.binds()

    async def test_half_an_answer_is_none(self) -> None:
        for code in (3, 4, 10, 51):
            answers = {SEARCH: answered(ALICE, result(DONE[SEARCH], code))}
            await self.temporary(answers)
            await self.temporary(answers, BINDING)

    async def test_two_entries_are_nobody(self) -> None:
        other = found(b"uid=alice,ou=x", uid=[b"alice"])
        for code in (0, 4):
            for settings in (SEARCHING, BINDING, COMPARING):
                liar = await self.temporary({SEARCH: answered(ALICE, other, result(DONE[SEARCH], code))}, settings)
                assert settings == BINDING or not liar.binds()

    async def test_references_are_not_followed(self) -> None:
        liar = self.serve({SEARCH: answered(reference(), ALICE, reference(), NONE)})
        assert await self.checker(liar).requestAvatarId(RIGHT) == b"alice"

    async def test_a_service_account_that_may_not_log_in_says_nothing_of_users(self) -> None:
        more = 'service_dn = "cn=x"\nservice_password = "y"\n'
        await self.temporary({SEARCH: answered(ALICE, NONE), BIND: coded(49)}, SEARCHING + more)

    async def test_a_user_who_cannot_read_the_own_entry_is_the_operators_to_mend(self) -> None:
        await self.temporary({}, BINDING)


class RefusalTests(LdapCase):
    async def test_a_wrong_password_is_refused(self) -> None:
        for code in (49, 32, 34):
            for settings in (SEARCHING, BINDING):
                checker = self.checker(
                    self.serve({SEARCH: answered(ALICE, NONE), BIND: coded(code)}), settings=settings
                )
                assert (await self.reason(checker)).reason == "wrong password"

    async def test_an_unknown_user_takes_the_same_steps_and_is_refused_even_if_that_bind_succeeds(self) -> None:
        liar = self.serve()
        refusal = await self.reason(self.checker(liar))
        assert (refusal.reason, refusal.known) == ("unknown user", False)
        assert [each.kind for each in liar.asked] == [SEARCH, BIND]
        assert liar.binds()[0][0].endswith(b",dc=example,dc=org")

    async def test_what_binds_show_is_foretold_by_one_of_a_name_as_users_have(self) -> None:
        liar = self.serve({BIND: coded(49)})
        checker = self.checker(liar, settings=BINDING)
        for _ in range(2):
            assert (await checker.foresee(b"alice", b"")).refusal is None
        (first, _), (second, _) = liar.binds()
        assert re.fullmatch(rb"uid=[0-9a-f]{32},dc=example,dc=org", first)
        assert first == second

    async def test_an_empty_password_never_reaches_a_bind(self) -> None:
        for settings in (SEARCHING, BINDING, COMPARING):
            liar = self.serve({SEARCH: answered(ALICE, NONE)})
            checker = self.checker(liar, settings=settings)
            assert (await self.reason(checker, Password(b"alice", b""))).reason == "the password is empty"
            assert not liar.asked

    async def test_without_the_first_guard_the_second_holds(self) -> None:
        """The checker's own question is taken out here; what makes binds refuses as well, and nobody is let in."""
        liar = self.serve({SEARCH: answered(ALICE, NONE)})
        state: Any = self.checker(liar)._running
        with pytest.raises(ValueError, match="proves nothing"):
            await state.in_time(state.servers.in_turn(lambda line: state._by_search(line, "alice", b"")))
        assert not liar.binds()

    async def test_a_server_would_let_an_empty_password_in(self) -> None:
        """The mutant: without both guards the login succeeds, so the two tests above are what keeps it out."""
        liar = self.serve({SEARCH: answered(ALICE, NONE)})
        state: Any = self.checker(liar)._running
        self.patch(  # type: ignore[no-untyped-call]  # trial's
            connection,
            "bind",
            lambda name, word: element(BIND, integer(3), element(OCTETS, name.encode()), element(0x80, word)),
        )
        assert await state.in_time(state.servers.in_turn(lambda line: state._by_search(line, "alice", b""))) == b"alice"

    async def test_active_directory_says_why(self) -> None:
        for code, reason in (
            ("525", "unknown user"),
            ("52e", "wrong password"),
            ("530", "not at this time of the day"),
            ("531", "not from this workstation"),
            ("532", "the password has expired"),
            ("533", "the account is disabled"),
            ("701", "the account has expired"),
            ("773", "the password must be changed"),
            ("775", "the account is locked after too many wrong passwords"),
            ("fff", "wrong password"),
        ):
            said = f"80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data {code}, v2580\0"
            liar = self.serve({SEARCH: answered(ALICE, NONE), BIND: answered(result(DONE[BIND], 49, said.encode()))})
            assert (await self.reason(self.checker(liar))).reason == reason

    async def test_an_entry_of_another_spelling_is_another_user(self) -> None:
        for values in ([b"Alice"], ["\uff41lice".encode()], [b"al ice"], [], [b"\xff"], [b"bob", b"carol"], [b"../x"]):
            entry = found(b"uid=x", uid=values)
            for settings in (SEARCHING, BINDING):
                checker = self.checker(self.serve({SEARCH: answered(entry, NONE)}), settings=settings)
                assert (await self.reason(checker)).reason == "unknown user", values

    async def test_an_entry_by_another_attribute_has_its_own_name(self) -> None:
        checker = self.checker(self.serve({SEARCH: answered(ALICE, NONE)}))
        answer: Any = await checker.requestAvatarId(Password(b"alice.a@example.org", b"sesame"))
        assert (answer, answer.user.name) == (b"alice", "alice")

    async def test_without_an_attribute_the_typed_name_counts_in_one_spelling(self) -> None:
        settings = SEARCHING + '[attributes]\nuser = ""\n'
        settings = SHORT + settings
        liar = self.serve({SEARCH: answered(found(b"cn=x"), NONE)})
        path = self.folder / "ldap.toml"
        path.write_text(f"servers = ['{liar.url}']\n{settings}")  # type: ignore[attr-defined]
        checker = LdapUsers(str(path))
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        assert await checker.requestAvatarId(RIGHT) == b"alice"
        for name in ("Alice", "\uff41lice", "a  b", "STRASSE", "stra\xdfe"):
            assert (await self.reason(checker, Password(name.encode(), b"sesame"))).reason == "unknown user"


class MadnessTests(LdapCase):
    def answers(self) -> Sequence[Answer]:
        def wrapped(number: int, *operations: bytes) -> bytes:
            return b"".join(element(SEQUENCE, integer(number), each) for each in operations)

        long = element(SEQUENCE, b"x" * 200)
        return [
            lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
            lambda _: b"\0" * 100,
            lambda _: b"\x30",
            lambda _: b"\x30\x80\0\0",
            lambda _: b"\x30\x84\xff\xff\xff\xff",
            lambda _: b"\x30\x85\1\1\1\1\1",
            lambda _: long,
            lambda asked: wrapped(asked.number + 1, result(DONE[asked.kind])),
            lambda asked: wrapped(asked.number, result(DONE[EXTENDED])),
            lambda asked: wrapped(asked.number, result(DONE[BIND if asked.kind == SEARCH else SEARCH])),
            lambda asked: wrapped(asked.number, element(DONE[asked.kind])),
            lambda asked: wrapped(asked.number, element(DONE[asked.kind], integer(0, 0x0A))),
            lambda asked: wrapped(asked.number, element(0x42)),
            lambda asked: wrapped(asked.number, found(b"\xff", uid=[b"alice"]), result(DONE[asked.kind])),
            lambda asked: wrapped(asked.number, element(0x64, b"\x04\x05ab"), result(DONE[asked.kind])),
            lambda _: wrapped(0, result(DONE[EXTENDED], 52, b"shutting down")),
            lambda asked: asked.connection.transport.loseConnection(),
            lambda asked: asked.connection.transport.abortConnection(),
            lambda _: None,
        ]

    async def test_what_is_no_answer_to_a_search_is_a_temporary_failure(self) -> None:
        for answer in self.answers():
            await self.temporary({SEARCH: answer})

    async def test_what_is_no_answer_to_a_bind_is_a_temporary_failure(self) -> None:
        for answer in self.answers():
            for settings in (SEARCHING, BINDING):
                await self.temporary({SEARCH: answered(ALICE, NONE), BIND: answer}, settings)

    async def test_an_entry_without_a_name_is_nobodys(self) -> None:
        """A bind without a name may be anonymous, and then any password is right."""
        nameless = found(b"", uid=[b"alice"])
        liar = await self.temporary({SEARCH: answered(nameless, NONE)})
        assert not liar.binds()
        await self.temporary({SEARCH: answered(nameless, NONE)}, BINDING)

    async def test_nobody_binds_without_a_name(self) -> None:
        liar = self.serve({SEARCH: answered(found(b"uid=x", mail=[b"@example.org"]), NONE)})
        more = 'mode = "bind"\nbind_as = "{local}"\nbase = "dc=x"\nfilter = "(mail={user})"\nstart_tls = false\nattributes = {user = "mail"}\n'
        checker = self.checker(liar, settings=more)
        for name in (b"", b"@example.org"):
            assert (await self.reason(checker, Password(name, b"guess"))).known is False
        assert not liar.asked

    async def test_entries_do_not_answer_a_bind(self) -> None:
        await self.temporary({SEARCH: answered(ALICE, NONE), BIND: answered(ALICE, result(DONE[BIND]))})

    async def test_any_octets_are_no_answer(self) -> None:
        for _ in range(20):
            octets = secrets.token_bytes(40)
            with capturedLogs():
                checker = self.checker(self.serve({SEARCH: lambda _, octets=octets: octets}))  # type: ignore[misc]
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(RIGHT)

    async def test_an_endless_answer_ends(self) -> None:
        self.patch(connection, "MAX_OCTETS", 1000)  # type: ignore[no-untyped-call]  # trial's
        await self.temporary({SEARCH: answered(*[ALICE] * 100)})

    async def test_one_that_comes_back_serves_again_and_says_so_once(self) -> None:
        liar = self.serve({SEARCH: coded(52)})
        checker = self.checker(liar)
        with capturedLogs() as events:
            for _ in range(3):
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(RIGHT)
            liar.answers = {SEARCH: answered(ALICE, NONE)}
            for _ in range(3):
                assert await checker.requestAvatarId(RIGHT) == b"alice"
        assert [event["event"] for event in events if "event" in event] == ["auth.ldap.down", "auth.ldap.up"]


class FailoverTests(LdapCase):
    async def test_the_next_server_is_asked_and_the_first_one_again_when_it_is_time(self) -> None:
        first, second = self.serve({SEARCH: lambda _: None}), self.serve({SEARCH: answered(ALICE, NONE)})
        checker = self.checker(first, second, settings=SEARCHING + "logins = 1\nretry_seconds = 1000\n")
        now = [0.0]
        servers: Any = checker._running.servers
        servers._now = lambda: now[0]
        for _ in range(3):
            assert await checker.requestAvatarId(RIGHT) == b"alice"
        assert len(first.asked) == 1
        first.answers = {SEARCH: answered(ALICE, NONE)}
        now[0] = 1001
        asked = len(second.asked)
        for _ in range(2):
            assert await checker.requestAvatarId(RIGHT) == b"alice"
        assert len(second.asked) == asked
        assert len(first.asked) == 5

    async def test_a_server_that_is_not_there_costs_nobody_the_login(self) -> None:
        second = self.serve({SEARCH: answered(ALICE, NONE)})
        checker = self.checker("ldap://127.0.0.1:1", second)
        assert await checker.requestAvatarId(RIGHT) == b"alice"

    async def test_a_wrong_password_is_not_tried_at_the_next_server(self) -> None:
        first, second = (self.serve({SEARCH: answered(ALICE, NONE), BIND: coded(49)}) for _ in range(2))
        await self.reason(self.checker(first, second))
        assert not second.asked

    async def test_connections_that_broke_meanwhile_cost_no_login(self) -> None:
        liar = self.serve({SEARCH: answered(ALICE, NONE)})
        checker = self.checker(liar)
        for times in range(3):
            assert await checker.requestAvatarId(RIGHT) == b"alice"
            assert liar.connections == 2 * (times + 1)
            for asked in liar.asked[-2:]:
                asked.connection.transport.abortConnection()

    async def test_a_client_that_leaves_takes_its_answer_along(self) -> None:
        liar = self.serve({SEARCH: lambda _: None})
        checker = self.checker(liar, settings=SEARCHING + "logins = 1\n")
        leaving = checker.requestAvatarId(RIGHT)
        while not liar.asked:
            await _turn()
        leaving.cancel()
        await leaving.addErrback(lambda _: None)
        liar.answers = {SEARCH: answered(ALICE, NONE)}
        with capturedLogs() as events:
            assert await checker.requestAvatarId(RIGHT) == b"alice"
        assert not [event for event in events if event.get("event") == "auth.ldap.down"]

    async def test_too_many_who_wait_fail_for_now(self) -> None:
        liar = self.serve({SEARCH: lambda _: None})
        checker = self.checker(liar, settings=SEARCHING + "logins = 1\n")
        waiting = [checker.requestAvatarId(RIGHT) for _ in range(60)]
        refused = [each for each in waiting if each.called]
        assert len(refused) == 60 - 1 - 40
        await checker.stop()
        for each in waiting:
            with pytest.raises(TemporaryFailure):
                await each

    async def test_a_reload_lets_the_logins_under_way_end(self) -> None:
        asked: list[Any] = []
        liar = self.serve({SEARCH: asked.append})
        checker = self.checker(liar, settings=SEARCHING + "logins = 1\n", short="")
        logins = [checker.requestAvatarId(RIGHT) for _ in range(2)]
        while not asked:
            await _turn()
        liar.answers = {SEARCH: answered(ALICE, NONE)}
        reloaded = checker.reload()
        assert not reloaded.called
        for operation in (ALICE, NONE):
            asked[0].connection.transport.write(element(SEQUENCE, integer(asked[0].number), operation))
        for login in logins:
            assert await login == b"alice"
        await reloaded
        assert await checker.requestAvatarId(RIGHT) == b"alice"

    async def test_after_the_end_no_other_server_is_asked(self) -> None:
        first, second = self.serve({SEARCH: lambda _: None}), self.serve()
        checker = self.checker(first, second, short="")
        login = checker.requestAvatarId(RIGHT)
        while not first.asked:
            await _turn()
        await checker.stop()
        with pytest.raises(TemporaryFailure):
            await login
        assert not second.connections

    async def test_all_who_wait_are_answered_at_the_end_however_many_they_are(self) -> None:
        liar = self.serve({SEARCH: lambda _: None})
        checker = self.checker(liar, settings=SEARCHING + "logins = 1\n")
        waiting = [asked_by(str(each % 5), None, checker.requestAvatarId, RIGHT) for each in range(1 + MAX_WAITING)]
        assert not [each for each in waiting if each.called]
        await checker.stop()
        for each in waiting:
            with pytest.raises(TemporaryFailure):
                await each


def _turn() -> Any:
    from twisted.internet.task import deferLater

    return deferLater(reactor, 0)
