"""The map of the system: the interfaces between its parts.

Everything that may wait returns a Deferred. Only `IMaildrop.fetch`, its envelopes and `IBody.read` may also answer at once,
because they are called often or are cheap; only ``net/`` distinguishes the two cases. The methods of a login answer at once
for those who ask by `answers.ask`, where they are under `answers.prompt`; others get their Deferred.

`net/` knows `IMaildrop`, `IBody` and `IOracle`; `store/` implements `IStore`, `IMaildrop` and `IBody`; `auth/` implements
`IUsers`, `IVerifiers` and `IOracle`, and its realm asks `IStore`. `exchange` has SASL's types, `incoming` the interfaces of deliveries.
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
    """An account of many users (SDPS), and the part of it that a name opens."""

    domain: str
    """The domain of its users' addresses."""
    user: str | None = None
    """The user whose mail the session gets, as `Names.user` spells the name; None: the mail of all."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a maildrop may hold; 0: no limit."""

    octets: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """An account that a checker knows. `name` is canonical: it is the avatar id and what the log shows."""

    name: str
    _: KW_ONLY
    home: str | None = None
    """Home directory, for store URLs with ``{home}``."""
    mail: str | None = None
    """The user's own store URL, which overrides the configured one (passwd-file: ``userdb_mail``)."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """The networks from which the user may log in; empty: all (passwd-file: ``allow_nets``)."""
    denied: str = ""
    """Why the user may not log in by any means; "": the user may."""
    unserved: str = ""
    """Why the maildrop cannot be opened, though the user may log in; "": it can."""
    account: Account | None = None
    """Set if the name opens an account of many users (SDPS)."""
    quota: Quota | None = None
    """For deliveries, since a maildrop that is only read cannot outgrow it; None: the site's."""
    listeners: frozenset[str] = frozenset()
    """The listeners that the user may use, by their names in ``[listen]``; "tls": any inside TLS; empty: all."""
    read_only: bool = False
    """Whether the user may delete nothing."""
    expire_days: int | None = None
    """After how many days mail is removed, which EXPIRE announces (RFC 2449 section 6.7); 0: QUIT removes what RETR has sent; None: the site's."""
    login_delay: int | None = None
    """The seconds between two logins (LOGIN-DELAY, RFC 2449 section 6.5); None: the site's."""
    secret: str = ""
    """The name of the app password that the login was proved with; "": the user's one password, or no password."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session is told of its user; for each field see `User`."""

    read_only: bool = False
    expire_days: int | None = None
    login_delay: int | None = None
    secret: str = ""


TERMS = Terms()
"""Those of nearly all users, and of foreign realms: thousands of sessions share it."""


class UserId(bytes):
    """An avatar id that carries the `User` that a checker has read, so that the realm need not look it up again.

    A checker that provides `IUsers` may answer `requestAvatarId` with it, where one question to its database gives the whole
    user and not only the secret; `user` is the answer of its `lookup`. For all other code it is just the name.
    """

    user: User
    read_by: object
    """The `auth.users.Users` that ensures that no other checker comes first for this name; None: not ensured yet."""

    def __new__(cls, name: bytes, user: User, read_by: object = None) -> Self:
        """Make an avatar id of a canonical name, in UTF-8."""
        made = bytes.__new__(cls, name)
        made.user = user
        made.read_by = read_by
        return made


@dataclass(slots=True)
class Mind:
    """cred's `mind`: the client and its connection; the realm adds the user whose maildrop it opens, and on which terms."""

    peer: str
    """The client's address, without its port; a.b.c.d for ::ffff:a.b.c.d; "" over a Unix socket."""
    tls: bool
    listener: str
    """The listener's protocol: "pop3", "pop3s", "kpop"."""
    session: str = field(default="", compare=False)
    """The session's name in the log, which is in each of its events."""
    user: str = field(default="", compare=False)
    """Set by the realm: the user whose maildrop it opens."""
    terms: Terms = field(default=TERMS, compare=False)
    """Set by the realm, with `user`."""


class IPart(Interface):
    """A part with threads, timers or files: a store, a checker, the watch over certificates, an acceptor of tickets.

    The service starts its parts in their order, and stops them in the reverse order.
    """

    def start(reactor: object) -> Deferred[None]:
        """Get ready, as the user that will serve: check what can be checked before a client comes.

        Errors: `errors.Unusable`, which tells the operator what to do, OSError, ImportError; any other is a fault. Then
        nothing is left running.
        """

    def reload() -> Deferred[None]:
        """At SIGHUP: read again whatever may have changed. Errors are logged, and the old state stays in use."""

    def stop() -> Deferred[None]:
        """Finish running work, and end threads and connections; idempotent."""


class IPrivileged(Interface):
    """Provided by a part that must begin something with the rights that the process gives up, such as a process of its own."""

    def begin(reactor: object) -> None:
        """Begin it, before the process becomes the user that serves; each process that will serve calls this once.

        It ends with the part's `stop`, and with the process. Errors: as those of `IPart.start`.
        """

    def stands_for(other: object) -> bool:
        """Whether this one, which has begun, can do what the `other` would, which was made of other settings."""


class IStore(IPart):
    """The maildrops; one store per process. `store.Router` is a store in front of several."""

    needs: frozenset[str] = Attribute(
        "The fields of a `User` that `open` needs if the user has no `mail`: {'home'}, or none."
    )

    def open(user: User, owner: str) -> Deferred[IMaildrop]:
        """Take the maildrop's exclusive lock and a snapshot under it.

        `owner` names the listener, the peer and the session, for an operator who wants to know who holds the lock. Errors:
        MaildropInUse, MaildropUnavailable, NoMaildrop, MaildropCorrupt. It may be cancelled: then a lock is released again.
        """


class IMaildrop(Interface):
    """A locked maildrop: the avatar. Valid until `commit` or `release`."""

    messages: Snapshot = Attribute("The snapshot; it does not show messages that arrive later.")

    def fetch(number: int) -> IBody | Deferred[IBody]:
        """Open message-number `number`; the caller closes it. May answer at once. Errors, also raised at once: MessageGone."""

    def envelope(number: int) -> Envelope | Deferred[Envelope]:
        """The envelope of message-number `number`; may answer at once. Errors, also raised at once: MessageGone."""

    def sent(number: int, octets: int) -> None:
        """Note that RETR sent the whole message, with `octets` on the wire.

        The store may mark it as seen; if its row has other octets, it corrects the row for later sessions.
        """

    def commit(numbers: Sequence[int]) -> Deferred[int]:
        """Enter the UPDATE state: atomically remove these messages for good, and release the lock.

        Answers, when that is durable, the number of messages that could not be removed. Errors: OutcomeUnknown.
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
    """Provided by a cred realm if the Deferred of its `requestAvatar` may be cancelled without a loss.

    After a cancel the realm itself releases what it opens, such as a maildrop.
    """


class IUsers(Interface):
    """Provided by a checker that knows its users. `auth.users.Users` asks all such checkers in their order."""

    def lookup(name: str) -> Deferred[User | None]:
        """The user with this name, in the canonical form that `requestAvatarId` answers.

        None: there is surely no such user, so that the next checker is asked. Errors: TemporaryFailure if it cannot tell,
        which ends the search, because another checker may know a different user by this name.
        """


class IDelays(Interface):
    """The memory of the last logins, by which the realm enforces LOGIN-DELAY (RFC 2449 section 6.5)."""

    def begin(user: User) -> int:
        """Begin the delay of a user who is about to log in, and answer 0; or, within a delay, the seconds that are left."""

    def give_back(user: User) -> None:
        """Undo `begin`, which answered 0, because the maildrop could not be opened."""


class IUserList(IUsers):
    """Provided by a checker that can list its users, for tools that need all of them."""

    def names(after: str, limit: int) -> Deferred[Sequence[str]]:
        """The first `limit` names after `after` ("": from the start), each of which `lookup` knows.

        They are in order of code points, so that the lists of several checkers can be merged. Fewer than `limit` names are
        the last ones. Errors: TemporaryFailure.
        """


BY_SECRET = frozenset({b"APOP", b"CRAM-MD5", b"DIGEST-MD5", b"SCRAM-SHA-1", b"SCRAM-SHA-256"})
"""The mechanisms, and APOP, that not every stored secret can serve. A client that sees one of them may try no other."""


@dataclass(frozen=True, slots=True)
class Census:
    """How many users can use each mechanism of `BY_SECRET`."""

    users: int = 0
    """The number of users with a secret, in checkers that can count them."""
    able: Mapping[bytes, int] = field(default_factory=dict)
    """For each mechanism, the number of these users who can use it."""
    uncounted: frozenset[bytes] | None = None
    """The mechanisms that all users of other checkers can use; None: there are no others."""

    @property
    def everybodys(self) -> frozenset[bytes]:
        """The mechanisms that every user with a secret can use."""
        counted = frozenset(name for name in BY_SECRET if self.able.get(name, 0) == self.users)
        return counted if self.uncounted is None else counted & self.uncounted


class IVerifiers(Interface):
    """Derives the keys that SASL exchanges need from stored secrets, which do not leave ``auth/``."""

    def mechanisms() -> frozenset[bytes]:
        """The SASL mechanisms for which some stored secret can answer `verifier` now."""

    def verifier(name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        """The keys that `mechanism` needs, from `name`'s secret; for an unknown user fake ones, the same each time.

        `ScramKeys` for SCRAM, whatever else is given; for DIGEST-MD5 the MD5 of the name as it was `typed` (or else of
        `name`), `realm` and password (RFC 2831).
        """

    def census() -> Census:
        """The number of users, and the mechanisms that they can use now."""

    def explain(name: str, mechanism: bytes) -> LoginRefused:
        """Why a proof by `mechanism` failed: the user is unknown, the stored secret cannot serve it, or it was wrong."""


class IOracle(Interface):
    """Answers the requests of SASL exchanges; built in ``auth/``, called by ``net/``."""

    def mechanisms() -> frozenset[bytes]:
        """The SASL mechanisms whose requests can be answered now: those of all `IVerifiers`, and GSSAPI with a keytab."""

    def census() -> Census:
        """The census of all checkers together."""

    def ask(request: object) -> Deferred[object]:
        """The answer to a frozen request such as `VerifierOf`. Errors: a Refusal, or a fault.

        For a `credentials.BearerToken` it is the owner's name, or a `LoginRefused` when the token is invalid.
        """


@dataclass(frozen=True, slots=True)
class Accepted:
    """A verified Kerberos ticket."""

    principal: str
    """The client's principal, with its realm."""
    ap_rep: bytes | None
    """The AP-REP (DER) for a client that asked for mutual authentication."""


class IAcceptor(Interface):
    """Verifies Kerberos tickets for KPOP; built in ``auth/``, given to ``net/``."""

    def accept(ap_req: bytes) -> Deferred[Accepted]:
        """Verify an AP-REQ (DER) in a thread. Errors: TicketRefused; TemporaryFailure when too many wait."""
