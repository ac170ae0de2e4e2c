"""The configurations of docs/users-ldap.md, as they stand but for where the directory is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from mailserver.credentials import Password
from tests.auth.ldap.checkers import CheckerOf
from tests.auth.ldap.slapd import SERVICE

PAGE = Path(__file__).parents[3] / "docs/users-ldap.md"
FILES = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


class PageTests(CheckerOf, TestCase):
    async def test_each_configuration_lets_its_users_in(self) -> None:
        base = self.slapd.people(
            {b"alice": b"sesame"},
            alice={"objectClass": ["inetOrgPerson", "qmailUser"], "sAMAccountName": "alice", "mailQuotaSize": "1000"},
        )
        assert len(FILES) == 3
        for text in FILES:
            file = re.sub(r"servers = .*\n", "", text)
            file = re.sub(r"ca_file = .*\n", "", file)
            file = re.sub(r"base = .*\n", f'base = "{base}"\n', file)
            file = file.replace("mailserver@ad.example.org", SERVICE).replace(
                "objectClass=user", "objectClass=inetOrgPerson"
            )
            checker = self.configured(settings=file.replace("{", "{{").replace("}", "}}"))
            answer: Any = await checker.requestAvatarId(Password(b"alice", b"sesame"))
            assert (answer, answer.user.name) == (b"alice", "alice")
