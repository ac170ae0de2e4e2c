"""Nobody on the way sees a password, or plays the directory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.auth.ldap.checker import LdapUsers
from mailserver.auth.ldap.connection import Connection
from mailserver.auth.ldap.messages import message
from mailserver.auth.ldap.settings import LdapFileError
from mailserver.credentials import Password
from mailserver.errors import TemporaryFailure
from mailserver.tls.certificates import self_signed
from tests.auth.ldap.checkers import BIND, SEARCH, CheckerOf
from tests.auth.ldap.fake import ALICE, DONE, EXTENDED, NONE, result
from tests.auth.ldap.fake import SEARCH as SEARCHES
from tests.auth.ldap.test_lies import SEARCHING, LdapCase, answered, coded

RIGHT = Password(b"alice", b"sesame")


class RealTests(CheckerOf, TestCase):
    def urls(self, host: str) -> tuple[str, str]:
        return f"ldap://{host}:{self.slapd.port}", f"ldaps://{host}:{self.slapd.tls_port}"

    def secured(self, url: str, authority: Any = None, settings: str = SEARCH) -> Any:
        base = self.slapd.people({b"alice": b"sesame"})
        more = f'connect_seconds = 20\nca_file = "{authority or self.slapd.certificate}"\n'
        return self.configured(base, (url,), more, settings)

    async def test_a_server_that_is_verified_is_asked(self) -> None:
        for url in self.urls("localhost"):
            assert await self.secured(url).requestAvatarId(RIGHT) == b"alice"

    async def test_a_server_by_another_name_is_not(self) -> None:
        for url in self.urls("127.0.0.1"):
            await self.distrusted(self.secured(url))

    async def test_a_server_of_another_authority_is_not(self) -> None:
        other = self.folder / "other.pem"
        other.write_bytes(self_signed(("localhost",))[0])
        for url in self.urls("localhost"):
            await self.distrusted(self.secured(url, other))

    async def test_without_a_file_the_systems_authorities_count(self) -> None:
        base = self.slapd.people({b"alice": b"sesame"})
        for url in self.urls("localhost"):
            await self.distrusted(self.configured(base, (url,)))

    async def test_on_this_machine_it_may_be_left_out(self) -> None:
        base = self.slapd.people({b"alice": b"sesame"})
        checker = self.configured(base, self.urls("127.0.0.1")[:1], "start_tls = false\n")
        assert await checker.requestAvatarId(RIGHT) == b"alice"

    async def distrusted(self, checker: Any) -> None:
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(RIGHT)
        assert [event["event"] for event in events if "event" in event] == ["auth.ldap.down"]

    def test_a_host_that_no_certificate_can_name_is_an_error_at_the_start(self) -> None:
        path = self.folder / "ldap.toml"
        for host in ("a..b", "a_b", "x" * 70):
            path.write_text(f'servers = ["ldaps://{host}"]\nbase = "dc=x"\nfilter = "(uid={{user}})"\n')
            error = self.failureResultOf(LdapUsers(str(path)).start(reactor), LdapFileError)
            assert error.getErrorMessage().startswith(f"{path}: servers: ldaps://{host}: ")

    def test_a_file_without_certificates_is_an_error_at_the_start(self) -> None:
        (self.folder / "empty.pem").write_bytes(b"")
        for name, words in (("empty.pem", "has no certificates"), ("missing.pem", "No such file")):
            with pytest.raises(AssertionError, match=words):
                self.secured("ldaps://localhost", self.folder / name, BIND)


class StrippedTests(LdapCase):
    """Someone on the way answers StartTLS: no password may follow in clear."""

    settings = SEARCHING.replace("start_tls = false\n", "")

    async def test_a_refusal_of_tls_ends_the_connection(self) -> None:
        for code in (1, 2, 10, 52, 53):
            liar = await self.temporary({EXTENDED: coded(code)}, self.settings)
            assert not liar.binds()
            assert {each.kind for each in liar.asked} == {EXTENDED}

    async def test_an_answer_in_clear_behind_it_does_so_too(self) -> None:
        liar = await self.temporary({EXTENDED: answered(result(DONE[EXTENDED]), result(DONE[SEARCHES]))}, self.settings)
        assert not liar.binds()

    async def test_a_server_that_never_begins_tls_is_late(self) -> None:
        liar = await self.temporary({SEARCHES: answered(ALICE, NONE)}, self.settings)
        assert {each.kind for each in liar.asked} == {EXTENDED}


class _Transport(StringTransport):
    """Notes whether TLS began."""

    secured = False

    def startTLS(self, _context: Any) -> None:
        self.secured = True


def test_octets_in_clear_behind_the_answer_never_come_to_be_read_as_if_tls_had_brought_them() -> None:
    for behind, begins in ((b"", True), (b"0", False), (message(2, result(DONE[SEARCHES])), False)):
        connection, transport = Connection(Clock()), _Transport()
        connection.makeConnection(transport)
        failures: list[Any] = []
        Deferred.fromCoroutine(connection.start_tls(object(), 3)).addErrback(failures.append)
        connection.dataReceived(message(1, result(DONE[EXTENDED])) + behind)
        assert (transport.secured, transport.disconnected, bool(failures)) == (begins, not begins, not begins)
        connection.abort()
