"""The contract of our own checkers: that of all, and octets that nobody thinks of."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin

from mailserver.credentials import Apop, Password
from mailserver.testing.contracts import checkers
from mailserver.testing.contracts.checkers import STAMP


class CheckerContract(checkers.CheckerContract):
    """`at_once` says whether the checker answers without a thread."""

    at_once = True

    def test_any_octets_are_taken_or_refused(self) -> None:
        if not self.at_once:
            return

        @settings(deadline=None, max_examples=60)
        @given(st.sampled_from(sorted(self.users)) | st.binary(), st.binary() | st.binary(min_size=4000, max_size=5000))
        def check(name: bytes, password: bytes) -> None:
            for credentials in (Password(name, password), Apop(STAMP, name, password)):
                outcome: list[Any] = []
                self.login(credentials).addBoth(outcome.append)
                taken = outcome[0] == name
                assert taken or outcome[0].check(UnauthorizedLogin)

        check()
