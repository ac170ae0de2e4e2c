"""Passwords that are verified here, against the hashes of an entry, and the memory of those that were right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mailserver import reasons
from mailserver.answers import awaited
from mailserver.auth.decoys import Decoys
from mailserver.auth.entry import Entry
from mailserver.auth.hashing import Hashing
from mailserver.auth.verified import VerifiedPasswords
from mailserver.auth.verifying import UNKNOWN, Others, Verifying
from mailserver.credentials import Password
from mailserver.errors import LoginRefused
from mailserver.foresight import Prospect
from mailserver.interfaces import UserId


class Hashes:
    """Verifies passwords; a refusal takes the same work whether the user exists or not."""

    def __init__(self, hashing: Hashing, memory: VerifiedPasswords, wall: Callable[[], float]) -> None:
        self.memory: Final = memory
        self._verifying = Verifying(memory, _why, wall)
        self._verifying.hashing = hashing
        self._decoys = Decoys()

    async def proved(self, name: str, password: bytes, entry: Entry | None) -> UserId:
        """The avatar id, if the password is right for the entry; None: there is no such user. Errors: LoginRefused."""
        for each in entry.secrets()[:1] if entry else ():
            self._decoys.note(each)
        given, others = Password(name.encode("utf-8"), password), Others(decoy=self._decoys.commonest)
        return await awaited(self._verifying.password(given, entry or UNKNOWN, others))

    def foresee(self, name: str, entry: Entry) -> Prospect:
        """What a login by a password of this entry would be."""
        foreseen = self._verifying.foresee(name.encode("utf-8"), entry, b"")
        return replace(foreseen, refusal=entry.refusal) if entry.hopeless else foreseen


def _why(name: bytes, mechanism: bytes) -> LoginRefused:  # noqa: ARG001 - the checker knows better, if it is not this
    return LoginRefused(reasons.WRONG_PASSWORD)
