"""What the parts of a login can say of one that nobody has tried: which secrets would prove it, and what its maildrop is like.

`mailserver explain` asks them. They answer by the same functions as a login is decided by, take no lock, and change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface

from mailserver.errors import LoginRefused, StoreError
from mailserver.interfaces import User


@dataclass(frozen=True, slots=True)
class Attempt:
    """The login that is asked about."""

    user: str
    peer: str = "127.0.0.1"
    """The client's address; "": a Unix socket."""
    listener: str = ""
    """The listener's kind, or the whole endpoint; "": that of POP3 in TLS, or else of POP3."""
    mechanism: str = ""
    """In capitals; "": USER and PASS."""
    tls: bool = True
    """Whether the client begins TLS where it can."""
    principal: str = ""
    """Whose ticket it has."""
    master: str = ""
    """The user who logs in for `user`."""
    app: str = ""
    """The app password that it uses; "": any secret that lets it in, the user's own first."""


class Way(NamedTuple):
    """A stored secret of a user, and what becomes of a login that proves it."""

    name: str
    """The app password's; "": the user's own."""
    scheme: str
    """The form in which it is stored; "": none, and any password is right."""
    outcome: bytes | LoginRefused
    """The avatar id that the checker answers, a `UserId` where it knows its users; or why it refuses the mechanism or the user."""
    remark: str = ""
    """What is weak about it, for the operator."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a checker can say of a user's login."""

    known: bool | None
    """Whether it knows the user; None: only the password can tell."""
    ways: Sequence[Way] = ()
    """The secrets by which the login may be proved, in the order in which they are tried."""
    refusal: LoginRefused | None = None
    """Why no secret is right; None: there are `ways`, or only the password can tell."""
    user: User | None = None
    """The user; None: unknown, or not known without the password."""
    place: str = ""
    """Where the user's entry stands, such as a file and a line."""
    doubt: str = ""
    """What only a login can tell beside whether the secret is right, and how the operator finds out; "": nothing."""
    down: bool = False
    """Whether those do not answer whom it asks, so that it lets in only what the doubt says, and puts off all others."""
    mechanisms: frozenset[bytes] = frozenset()
    """Those of `interfaces.BY_SECRET` that the user can use."""


class IForesees(Interface):
    """Provided by a checker that knows before a login what would become of it.

    One that keeps secrets knows which one would be right. One that asks others, such as a KDC, tells whether they answer, and what they say of the
    user without a password.
    """

    def foresee(name: bytes, mechanism: bytes) -> Deferred[Prospect]:
        """What a login of `name` by a mechanism would be, b"" by password. Errors: TemporaryFailure."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a user's maildrop is like."""

    place: str
    """Where it is."""
    exists: bool
    """Whether it was made already; else the first login or the first message makes it."""
    holder: str = ""
    """Who has its lock; "": nobody."""
    refusal: StoreError | None = None
    """Why it could not be opened now; None: it could."""
    remarks: Sequence[str] = ()
    """What the next login would finish or mend."""
    messages: int | None = None
    """How many messages it has; None: that cannot be seen now."""


class ILooks(Interface):
    """Provided by a store that can look at a maildrop without opening it."""

    def look(user: User) -> Deferred[Sight | None]:
        """What the user's maildrop is like; None: the store cannot tell. Errors: StoreError, where the user has none."""


def seen(store: object, user: User) -> Deferred[Sight | None]:
    """What a store sees of the user's maildrop; None: it cannot look. Errors: as of `ILooks.look`."""
    return ILooks(store).look(user) if ILooks.providedBy(store) else succeed(None)
