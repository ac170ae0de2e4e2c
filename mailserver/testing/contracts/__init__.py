"""The tests that every store, and every checker, of this server passes, for those of other people.

Each contract is a class to mix into a TestCase of Twisted's trial, which pytest runs, too. A subclass says how to make, fill and look
into the thing under test. docs/your-own-store.md and docs/your-own-checker.md have whole examples.
"""

from mailserver.testing.contracts.checkers import CheckerContract, UserListContract
from mailserver.testing.contracts.deposits import DepositContract
from mailserver.testing.contracts.imports import ImportContract
from mailserver.testing.contracts.keeping import KeepContract
from mailserver.testing.contracts.store import StoreContract

__all__ = ["CheckerContract", "DepositContract", "ImportContract", "KeepContract", "StoreContract", "UserListContract"]
