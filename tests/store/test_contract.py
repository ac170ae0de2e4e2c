"""The Maildir store under the contract, in both ways of doing its disk work."""

from __future__ import annotations

from typing import ClassVar

from tests.store.deposits import DepositContract
from tests.store.maildir.maildirs import MaildirCase


class MaildirContract(MaildirCase, DepositContract):
    pass


class ThreadsContract(MaildirCase, DepositContract):
    options: ClassVar = {"io": "threads"}


class SeenContract(MaildirCase, DepositContract):
    options: ClassVar = {"seen": "retr"}
