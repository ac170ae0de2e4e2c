"""The Maildir store under the contract, in both ways of doing its disk work."""

from __future__ import annotations

from typing import ClassVar

from tests.store.contract import StoreContract
from tests.store.maildir.maildirs import MaildirCase


class MaildirContract(MaildirCase, StoreContract):
    pass


class ThreadsContract(MaildirCase, StoreContract):
    options: ClassVar = {"io": "threads"}


class SeenContract(MaildirCase, StoreContract):
    options: ClassVar = {"seen": "retr"}
