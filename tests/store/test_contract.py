"""The Maildir store under the contract, in both ways of doing its disk work."""

from __future__ import annotations

from typing import ClassVar

from tests.store.maildir.maildirs import MaildirCase
from tests.store.whole import WholeContract


class MaildirContract(MaildirCase, WholeContract):
    pass


class ThreadsContract(MaildirCase, WholeContract):
    options: ClassVar = {"io": "threads"}


class SeenContract(MaildirCase, WholeContract):
    options: ClassVar = {"seen": "retr"}
