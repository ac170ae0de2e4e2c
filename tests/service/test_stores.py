"""The stores of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth import MailboxRealm, PasswordFile
from mailserver.config.reading import decode
from mailserver.errors import NoMaildrop
from mailserver.interfaces import IMaildrop
from mailserver.service.stores import make_store


class StoreTests(TestCase):
    """Where a passwd-file and the configuration say that a user's mail lies."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.config = decode(
            {
                "listen": {"pop3": ["tcp:0"]},
                "auth": {"checkers": [f"passwd-file:{self.folder}/users"]},
                "store": {"url": f"maildir:{self.folder}/mail/{{user}}"},
            }
        )

    async def test_each_user_s_mail_lies_where_his_line_says_and_nobody_gets_another_s(self) -> None:
        folder = self.folder
        lines = (
            "alice:{PLAIN}x\nbob:{PLAIN}x::::::userdb_mail=memory:\ncarol:{PLAIN}x::::::userdb_mail=nosuch:pool/carol\n"
        )
        (folder / "mail" / "bob").mkdir(parents=True)
        (folder / "users").write_text(lines)
        checker = PasswordFile(str(folder / "users"))
        await checker.start(reactor)
        store = make_store(self.config, [checker], reactor)
        await store.start(reactor)
        realm = MailboxRealm(store, [checker])
        for name, made in (("alice", ["alice", "bob"]), ("bob", ["alice", "bob"])):
            _, maildrop, logout = await realm.requestAvatar(name, None, IMaildrop)
            assert len(maildrop.messages) == 0
            logout()
            assert sorted(path.name for path in (folder / "mail").iterdir()) == made
        with pytest.raises(
            NoMaildrop, match="'nosuch:pool/carol' of 'carol' names no store; known are maildir:, memory:"
        ):
            await realm.requestAvatar("carol", None, IMaildrop)
        assert list((folder / "mail" / "bob").iterdir()) == []
        await store.stop()
        await checker.stop()
