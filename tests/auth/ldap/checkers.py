"""Makes `LdapUsers` for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from mailserver.auth.ldap.checker import LdapUsers
from tests.auth.ldap.slapd import PASSWORD, SERVICE, SUFFIX, Slapd

SEARCH = """
base = "{base}"
filter = "(uid={{user}})"
service_dn = "{service}"
service_password = "{password}"
"""
COMPARE = 'mode = "compare"' + SEARCH
BIND = """
mode = "bind"
bind_as = "employeeNumber={{user}},{base}"
"""


class CheckerOf:
    """For a trial TestCase, in front of the contracts."""

    settings = SEARCH

    @pytest.fixture(autouse=True)
    def _given(self, slapd: Slapd, tmp_path: Path) -> None:
        self.slapd, self.folder = slapd, tmp_path

    def configured(
        self, base: str = SUFFIX, servers: tuple[str, ...] = (), more: str = "", settings: str = ""
    ) -> LdapUsers:
        """A checker, started."""
        path = self.folder / "ldap.toml"
        text = (settings or self.settings).format(base=base, service=SERVICE, password=PASSWORD)
        urls = list(servers or [self.slapd.ldapi])
        path.write_text(f"servers = {urls}\n{text}{more}")
        checker = LdapUsers(str(path))
        started: list[Any] = []
        checker.start(reactor).addBoth(started.append)
        assert started == [None], started
        self.addCleanup(checker.stop)  # type: ignore[attr-defined]  # trial's
        return checker

    def make(self, users: Any) -> Any:
        """What the contract asks for."""
        return self.configured(self.slapd.people(users))
