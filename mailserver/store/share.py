"""An account of many users (SDPS): all of its mail as a maildrop, or one user's share of it.

The lock, the files and the deletions are the account's. A share only has message-numbers of its own: its 1 is the first message
for its user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.answers import Answer, ask, prompt, then
from mailserver.envelope import Envelope, has_domain, local_part
from mailserver.forwarding import Forwarding
from mailserver.incoming import IMarks
from mailserver.interfaces import Account, IBody, IMaildrop, IStore, User
from mailserver.names import Names
from mailserver.store.envelopes import NOTHING, Envelopes, IEnvelopes, Share
from mailserver.upkeep import IFiled, IUpkeep


class SharedStore(Forwarding):
    """Opens the shares of users that have an `Account`, and other users' maildrops as they are.

    The maildrops of `store` must provide IEnvelopes. `names` reads the local parts of recipients.

    Everything else is the account's: a message for several of its users comes into its maildrop once for each of them, `usage` is
    what that holds, and `undelete` brings back what any of them has deleted.
    """

    def __init__(self, store: IStore, names: Names) -> None:
        super().__init__(store)
        self._names = names

    @prompt
    def open(self, user: User, owner: str) -> Answer[IMaildrop]:
        """Lock the account's maildrop, and read the envelopes that are not known yet."""
        opened = ask(self._store.open, user, owner)
        return opened if user.account is None else then(opened, self._share_of, user.name, user.account)

    @prompt
    def view(self, user: User) -> Answer[IMaildrop]:
        """The share's messages, without a lock."""
        viewed = ask(cast("IUpkeep", self._store).view, user)
        return viewed if user.account is None else then(viewed, self._share_of, user.name, user.account)

    def _share_of(self, maildrop: IMaildrop, name: str, account: Account) -> Deferred[IMaildrop]:
        envelopes = maybeDeferred(cast("IEnvelopes", maildrop).envelopes, name, account.user, self._names.user)
        return envelopes.addCallbacks(
            self._shared_maildrop, _release, (maildrop, name, account), errbackArgs=(maildrop,)
        )

    def _shared_maildrop(self, envelopes: Envelopes, maildrop: IMaildrop, name: str, account: Account) -> IMaildrop:
        if account.user is None:
            share = Share(range(len(maildrop.messages)), maildrop.messages)
        else:
            share = envelopes.shares.get(account.user, NOTHING)
        return SharedMaildrop(
            maildrop, share, envelopes=envelopes, name=name, account=account, user_of=self._names.user
        )


def _release(failure: Failure, maildrop: IMaildrop) -> Failure:
    maildrop.release()
    return failure


@implementer(IMaildrop, IMarks, IFiled)
class SharedMaildrop:
    """A share of the account's maildrop: translates its message-numbers to the account's."""

    __slots__ = ("_account", "_envelopes", "_indexes", "_maildrop", "_name", "_user_of", "messages")

    def __init__(  # noqa: PLR0913 - the results of one login, given by the store alone
        self,
        maildrop: IMaildrop,
        share: Share,
        *,
        envelopes: Envelopes,
        name: str,
        account: Account,
        user_of: Callable[[str], str],
    ) -> None:
        self._maildrop = maildrop
        self._indexes, self.messages = share
        self._envelopes = envelopes
        self._name = name.encode("utf-8")
        self._account = account
        self._user_of = user_of

    def fetch(self, number: int) -> IBody | Deferred[IBody]:
        """As the account's."""
        return self._maildrop.fetch(self._indexes[number - 1] + 1)

    def envelope(self, number: int) -> Envelope:
        """At once. Of several recipients only one is named: the share's user, or else one of the account."""
        found = self._envelopes[self._indexes[number - 1]]
        domain = b"@" + self._account.domain.encode("utf-8")
        whole = [each if has_domain(each) else each + domain for each in found.recipients] or [self._name + domain]
        recipient = next(filter(self._belongs, whole), whole[0])
        user = (self._account.user or "").encode("utf-8")
        return replace(found, recipients=(recipient,), account=self._name, user=user)

    def _belongs(self, recipient: bytes) -> bool:
        if self._account.user is None:
            return recipient.lower().endswith(b"@" + self._account.domain.encode("utf-8"))
        return self._user_of(local_part(recipient)) == self._account.user

    def sent(self, number: int, octets: int) -> None:
        """As the account's."""
        self._maildrop.sent(self._indexes[number - 1] + 1, octets)

    def seen(self, number: int) -> bool:
        """As the account's; nothing was, if that does not know it."""
        marks = IMarks(self._maildrop, None)
        return marks is not None and marks.seen(self._indexes[number - 1] + 1)

    def file(self, number: int) -> str:
        """As the account's; "", if it has no files."""
        filed = IFiled(self._maildrop, None)
        return "" if filed is None else filed.file(self._indexes[number - 1] + 1)

    @prompt
    def commit(self, numbers: Sequence[int]) -> Answer[int]:
        """As the account's: the messages are gone from the account and from all shares."""
        return ask(self._maildrop.commit, [self._indexes[number - 1] + 1 for number in numbers])

    def release(self) -> None:
        """As the account's."""
        self._maildrop.release()
