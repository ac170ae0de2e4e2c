"""The stores of the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from mailserver.auth import MailboxRealm, PasswordFile
from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.errors import ConfigError, NoMaildrop
from mailserver.interfaces import IMaildrop
from mailserver.service.server import Server
from mailserver.service.stores import make_store

USERS = "alice:{PLAIN}x\nbob:{PLAIN}x::::::userdb_mail=memory:\ncarol:{PLAIN}x::::::userdb_mail=nosuch:pool/carol\n"


class StoreTests(TestCase):
    """Where a passwd-file and the configuration say that a user's mail lies."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "mail" / "bob").mkdir(parents=True)
        (self.folder / "users").write_text(USERS)
        self.config = decode(
            {
                "hostname": "mail.example.org",
                "listen": {"pop3": ["tcp:0"]},
                "auth": {"checkers": [f"passwd-file:{self.folder}/users"], "cleartext": "always"},
                "store": {"url": f"maildir:{self.folder}/mail/{{user}}"},
            }
        )

    def problems_of(self, **store: str) -> list[str]:
        problems = Problems(self.config.places)
        config = replace(self.config, store=replace(self.config.store, **store))  # type: ignore[arg-type]  # fields of strings
        make_store(config, config.naming(), [PasswordFile(str(self.folder / "users"))], problems, reactor)
        try:
            problems.check()
        except ConfigError as error:
            return list(error.problems)
        return []

    def test_a_former_server_that_is_none_or_another_than_new_unique_ids_are_of_is_told(self) -> None:
        assert self.problems_of(former="dovecot:%v.%u", unique_ids="dovecot") == []
        assert self.problems_of(former="dovecot rename-duplicates", unique_ids="dovecot") == []
        assert self.problems_of(former="courier-imap:%u") == []
        assert self.problems_of(former="dovekot") == [
            "store.former: 'dovekot' is no server whose lists are known; did you mean dovecot?"
        ]
        [told] = self.problems_of(former="courier-imap:%u", unique_ids="courier")
        assert told.startswith("store.former: it is 'courier-imap:%u', and store.unique_ids is \"courier\"")
        [told] = self.problems_of(unique_ids="dovecot")
        assert told.startswith("store.former: it is '', and store.unique_ids is \"dovecot\"")

    async def test_each_user_s_mail_lies_where_his_line_says_and_nobody_gets_another_s(self) -> None:
        checker = PasswordFile(str(self.folder / "users"))
        await checker.start(reactor)
        problems = Problems(self.config.places)
        store = make_store(self.config, self.config.naming(), [checker], problems, reactor)
        problems.check()
        assert store is not None
        await store.start(reactor)
        realm = MailboxRealm(store, [checker])
        for name in ("alice", "bob"):
            _, maildrop, logout = await realm.requestAvatar(name, None, IMaildrop)
            assert len(maildrop.messages) == 0
            logout()
        with pytest.raises(NoMaildrop, match="'nosuch:pool/carol' of 'carol' names no store"):
            await realm.requestAvatar("carol", None, IMaildrop)
        assert sorted(path.name for path in (self.folder / "mail").iterdir()) == ["alice", "bob"]
        assert list((self.folder / "mail" / "bob").iterdir()) == []
        await store.stop()
        await checker.stop()

    async def test_a_location_that_names_no_store_is_told_to_the_client_and_the_operator(self) -> None:
        told: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        server = Server(self.config, reactor, Problems(self.config.places))
        await server.start()
        connection = server.factory("pop3", "tcp:0").buildProtocol(None)
        transport = StringTransport()
        connection.makeConnection(transport)
        connection.dataReceived(b"USER carol\r\nPASS x\r\n")
        while b"-ERR" not in transport.value():
            await deferLater(reactor, 0.01)
        connection.connectionLost()
        await server.stop()
        assert transport.value().splitlines()[-1].startswith(b"-ERR [SYS/PERM] ")
        (line,) = [formatEvent(event) for event in told if event.get("event") == "store"]
        assert (
            "'carol': the mail location 'nosuch:pool/carol' of 'carol' names no store; known are maildir:, memory:"
            in line
        )
