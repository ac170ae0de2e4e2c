"""The map of the system: what its parts ask of one another.

Everything that may wait returns a Deferred. Only `IMaildrop.fetch`, its envelopes and `IBody.read` may also answer at once,
because they are hot or cheap; the check for that stays inside ``net/``.

`net/` knows `IMaildrop`, `IBody` and `IOracle`; `store/` implements `IStore`, `IMaildrop` and `IBody`; `auth/` implements
`IUsers`, `IVerifiers` and `IOracle`, and its realm asks `IStore`. What a SASL exchange says, and is asked, is in `exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from mailserver.envelope import Envelope
from mailserver.errors import LoginRefused
from mailserver.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Account:
    """An account of many users (SDPS), and what is wanted of it."""

    domain: str
    """Of its users' addresses."""
    user: str | None = None
    """The one whose mail is wanted, as `Names.user` spells him; None: the mail of all."""


@dataclass(frozen=True, slots=True)
class User:
    """An account that a checker knows. `name` is canonical: it is the avatar id and what the log shows."""

    name: str
    _: KW_ONLY
    home: str | None = None
    """Home directory, for store URLs with ``{home}``."""
    mail: str | None = None
    """A store URL of the user's own, over the configured one (passwd-file: ``userdb_mail``)."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where the user may log in from; empty: from anywhere (passwd-file: ``allow_nets``)."""
    barred: str = ""
    """Why he may not log in at all, whatever he proves himself with; "": he may."""
    unserved: str = ""
    """Why his maildrop cannot be opened, though he may log in; "": it can."""
    account: Account | None = None
    """What makes it an account of many users (SDPS); the realm tells."""


class UserId(bytes):
    """An avatar id that carries the user whom a checker has read: the realm need not look him up again.

    A checker may answer `requestAvatarId` with it, where one question to its database brings all of the user, not only his
    secret; `user` is what its `lookup` would answer. To everybody else it is the name alone.
    """

    user: User
    read_by: object
    """The `auth.users.Users` who stand for it that no other checker was to be asked first; None: nobody does yet."""

    def __new__(cls, name: bytes, user: User, read_by: object = None) -> Self:
        """Make one of a canonical name, in UTF-8."""
        made = bytes.__new__(cls, name)
        made.user = user
        made.read_by = read_by
        return made


@dataclass(slots=True)
class Mind:
    """cred's `mind`: who asks for an avatar, and over what; and what the realm tells of its answer."""

    peer: str
    """The client's address, without its port; a.b.c.d for ::ffff:a.b.c.d; "" over a Unix socket."""
    tls: bool
    listener: str
    """The listener's protocol: "pop3", "pop3s", "kpop"."""
    session: str = field(default="", compare=False)
    """What the log calls the session: it is in each of its events."""
    user: str = field(default="", compare=False)
    """The realm's word: whose maildrop it opens."""


class IPart(Interface):
    """Something with a life of its own: a store, a checker with threads, a certificate's watch, an acceptor of tickets.

    The service starts its parts in their order, and stops them the other way round.
    """

    def start(reactor: object) -> Deferred[None]:
        """Get ready, as the user that will serve: check what can be checked before a client comes.

        Errors: `errors.Unusable`, which tells the operator what to do, OSError, ImportError; any other is a fault. Then
        nothing is left running.
        """

    def reload() -> Deferred[None]:
        """SIGHUP: read again what may have changed. What is broken is logged, and the old state kept."""

    def stop() -> Deferred[None]:
        """Finish what is under way and let go of threads and connections; idempotent."""


class IStore(IPart):
    """Where the maildrops are; one per process. `store.Router` is one in front of several."""

    needs: frozenset[str] = Attribute(
        "Which fields of a `User` without `mail` of his own `open` must know: {'home'}, or none."
    )

    def open(user: User, owner: str) -> Deferred[IMaildrop]:
        """Take the maildrop's exclusive lock and a snapshot under it.

        `owner` names the worker and the peer, for the operator who asks who holds the lock. Errors: MaildropInUse,
        MaildropUnavailable, NoMaildrop, MaildropCorrupt. It may be cancelled: what was locked by then is unlocked.
        """


class IMaildrop(Interface):
    """A locked maildrop: the avatar. Valid until it was committed or released."""

    messages: Snapshot = Attribute("The snapshot; what arrives later is invisible to it.")

    def fetch(number: int) -> IBody | Deferred[IBody]:
        """Open message-number `number`, which the caller closes. May answer at once. Errors (raised, when it answers at
        once): MessageGone.
        """

    def envelope(number: int) -> Envelope | Deferred[Envelope]:
        """Who sent message-number `number`, and to whom; may answer at once. Errors, also raised at once: MessageGone."""

    def sent(number: int, octets: int) -> None:
        """RETR sent the whole message, and counted `octets` on the wire.

        The store may mark it as seen; where its row said other than `octets`, it mends the row for later sessions.
        """

    def commit(numbers: Sequence[int]) -> Deferred[int]:
        """The UPDATE state, one atomic act: these messages are gone for good and the lock is released.

        Answers, after it is durable, how many could not be removed. Errors: OutcomeUnknown.
        """

    def release() -> None:
        """Unlock without removing anything; idempotent, and harmless after `commit`. It is the avatar's logout."""


class IBody(Interface):
    """An open message: the stored bytes, whatever their line ends."""

    def read(limit: int) -> bytes | Deferred[bytes]:
        """At most `limit` further octets; b"" at the end. May answer at once. Errors: MessageTruncated."""

    def fileno() -> int | None:
        """A descriptor for sendfile, to be read from offset 0 (the body's own position is not used); or None."""

    def close() -> None:
        """Idempotent."""


class IRevocable(Interface):
    """A realm of cred's provides it where the Deferred of its `requestAvatar` may be cancelled without a loss.

    What it opens after that, such as a maildrop, it gives back.
    """


class IUsers(Interface):
    """A checker that knows its users provides it; `auth.users.Users`, who is all of them in their order, asks it."""

    def lookup(name: str) -> Deferred[User | None]:
        """The user of this name, canonical as `requestAvatarId` answers it.

        None: surely nobody, so that the next checker is asked. Errors: TemporaryFailure where it cannot say, which ends the
        search: what another knows by this name could be somebody else.
        """


class IUserList(IUsers):
    """A checker that can list its users provides it, for whoever goes through all of them."""

    def names(after: str, limit: int) -> Deferred[Sequence[str]]:
        """The first `limit` names behind `after`, each of which `lookup` knows; "" is before all.

        They ascend by code points, so that the lists of several checkers can be merged. Fewer than `limit` are the last. Errors:
        TemporaryFailure.
        """


BY_SECRET = frozenset({b"APOP", b"CRAM-MD5", b"DIGEST-MD5", b"SCRAM-SHA-1", b"SCRAM-SHA-256"})
"""What only some ways to store a secret can serve: the mechanisms, and APOP. A client that is shown one may use no other."""


@dataclass(frozen=True, slots=True)
class Census:
    """How many can use each of `BY_SECRET`."""

    users: int = 0
    """Those who have a secret, where they can be counted."""
    able: Mapping[bytes, int] = field(default_factory=dict)
    uncounted: frozenset[bytes] | None = None
    """What all those can use who have a secret elsewhere, where nobody can count them; None: there are no others."""

    @property
    def everybodys(self) -> frozenset[bytes]:
        """What all can use who have a secret."""
        counted = frozenset(name for name in BY_SECRET if self.able.get(name, 0) == self.users)
        return counted if self.uncounted is None else counted & self.uncounted


class IVerifiers(Interface):
    """What an exchange needs of a stored secret, without the secret leaving ``auth/``."""

    def mechanisms() -> frozenset[bytes]:
        """The SASL mechanisms for which some stored secret can answer `verifier` now."""

    def verifier(name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        """What `mechanism` needs of `name`'s secret; for an unknown user a fake, the same each time.

        `ScramKeys` for SCRAM, whatever else is given; for DIGEST-MD5 the MD5 of the name as it was `typed` (or else of
        `name`), `realm` and password (RFC 2831).
        """

    def census() -> Census:
        """How many users there are, and what they can use now."""

    def explain(name: str, mechanism: bytes) -> LoginRefused:
        """Why a proof by `mechanism` failed: nobody has this name, his secret cannot do that, or it was wrong."""


class IOracle(Interface):
    """Answers what a SASL exchange asks; built in ``auth/``, carried by ``net/``."""

    def mechanisms() -> frozenset[bytes]:
        """The SASL mechanisms whose questions can be answered now: those of all `IVerifiers`, and GSSAPI with a keytab."""

    def census() -> Census:
        """Of all checkers together."""

    def ask(request: object) -> Deferred[object]:
        """The answer to a frozen request such as `VerifierOf`. Errors: a Refusal, or a fault.

        To a `credentials.BearerToken` it is the name of its owner, or a `LoginRefused` when the token is not good.
        """


@dataclass(frozen=True, slots=True)
class Accepted:
    """A Kerberos ticket that was verified."""

    principal: str
    """The client's, with its realm."""
    ap_rep: bytes | None
    """The AP-REP (DER) for a client that asked for mutual authentication."""


class IAcceptor(Interface):
    """Verifies Kerberos tickets for KPOP; built in ``auth/``, given to ``net/``."""

    def accept(ap_req: bytes) -> Deferred[Accepted]:
        """Verify an AP-REQ (DER) off the reactor. Errors: TicketRefused; TemporaryFailure when too many wait."""
