"""The portal: checkers in their order in front of a realm whose avatars are maildrops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NoReturn, cast

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from mailserver.auth.identities import Acting, Masters, Unproved, VerifiedIdentities
from mailserver.auth.schemes import plausible
from mailserver.auth.users import Users
from mailserver.credentials import NO_NAME, IKerberosIdentity, Password
from mailserver.errors import HomeUnknown, LoginRefused, PermanentFailure, first_reason
from mailserver.interfaces import IMaildrop, IRevocable, IStore, Mind, User, UserId
from mailserver.names import user_name

AvatarId = bytes | str | Acting | tuple[()]
Avatar = tuple[type[Interface], object, Any]

REFUSED = (UnauthorizedLogin, UnhandledCredentials, UnicodeError)
"""How a checker says no. UnicodeError: Twisted's UNIXChecker decodes the password of a user it knows, and only his."""

LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

HOMELESS = (
    "{user!r} gave the right password, but {reason}: "
    "write it into the sixth field of the user's line in the passwd-file, or {remedy}"
)

UNSERVED = "{user!r} gave the right password, but his maildrop cannot be opened: {reason}"

UNLISTED = (
    "{user!r} proved who he is, but no checker knows a home directory of his, which the store's URL needs: "
    "write a line for him into the passwd-file, or use {{user}} in the URL"
)

log = Logger()


def make_portal(realm: IRealm, checkers: Users | Iterable[ICredentialsChecker], masters: Iterable[str] = ()) -> Portal:
    """A portal that asks `checkers`, or those of `Users`, in their order; the users `masters` may log in for others.

    cred keeps one checker per credentials interface, so that one is a `Chain`. For the two interfaces of POP3's logins
    there always is one: a checker may come to serve an interface while it runs.
    """
    portal = Portal(realm)
    users = Users.of(checkers)
    given = [_with_octets(checker) for checker in users.checkers]
    ordered = [*given, VerifiedIdentities(users), Masters(masters, portal, users), Unproved(given)]
    served = {iface for checker in ordered for iface in checker.credentialInterfaces}
    for iface in {IUsernamePassword, IUsernameHashedPassword} | served:
        chain = Chain(iface, ordered, users)
        portal.registerChecker(cast(ICredentialsChecker, chain), iface)
    return portal


def _with_octets(checker: ICredentialsChecker) -> ICredentialsChecker:
    """The ``memory:`` of strcred fills its table with text, which no credentials' octets would ever equal."""
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        checker.users = {_octets(name): _octets(secret) for name, secret in checker.users.items()}
    return checker


def _octets(value: bytes | str) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else value


@implementer(ICredentialsChecker)
class Chain:
    """The checkers for one credentials interface, asked in their order until one says yes.

    Only a refusal leads to the next one. Any other error ends the login: it is a fault, and not a wrong password. A user
    whom a checker has read is handed on in the name of `users`, unless a checker before it may know him, too.
    """

    def __init__(
        self, interface: type[Interface], checkers: Sequence[ICredentialsChecker], users: Users | None = None
    ) -> None:
        self._interface = interface
        self._checkers = checkers
        self._users = users

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """The chain's interface while some checker can use it now, else nothing: what may be announced."""
        able = any(self._interface in checker.credentialInterfaces for checker in self._checkers)
        return (self._interface,) if able else ()

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The avatar id by the first checker that knows one. What can be nobody's name or password is asked of none."""
        if not _names_somebody(credentials):
            raise LoginRefused(NO_NAME, known=False)
        if not plausible(getattr(credentials, "password", b"")):
            raise LoginRefused("no password has a NUL, or so many octets", known=None)
        asked = maybeDeferred(self._ask, 0, credentials, {})
        if isinstance(credentials, Password) and credentials.second:
            asked.addErrback(self._refused_as_typed, credentials)
        return asked

    def _refused_as_typed(self, failure: Failure, credentials: Password) -> Deferred[Any]:
        failure.trap(*REFUSED)
        return self._ask(0, replace(credentials, password=credentials.second, second=b""), {})

    def _ask(self, first: int, credentials: Any, refusals: Mapping[int, LoginRefused]) -> Deferred[Any]:
        for index in range(first, len(self._checkers)):
            checker = self._checkers[index]
            if self._interface in checker.credentialInterfaces:
                asked = maybeDeferred(checker.requestAvatarId, credentials)
                further = (index, credentials, refusals)
                return asked.addCallbacks(self._taken, self._refused, further, errbackArgs=further)
        raise first_reason(list(refusals.values()))

    def _taken(self, answer: Any, index: int, credentials: Any, refusals: Mapping[int, LoginRefused]) -> Any:
        """The answer. The user in it is vouched for if he is of the name that the checkers before refused as unknown."""
        if self._users is None or not isinstance(answer, UserId) or answer.read_by is not None:
            return answer
        same = answer == getattr(credentials, "username", None)
        ignorant = [self._checkers[at] for at, why in refusals.items() if same and why.known is False]
        sure = self._users.first_to_know(self._checkers[index], ignorant)
        return UserId(answer, answer.user, self._users) if sure else answer

    def _refused(
        self, failure: Failure, index: int, credentials: Any, refusals: Mapping[int, LoginRefused]
    ) -> Deferred[Any]:
        failure.trap(*REFUSED)
        why = failure.value
        if not isinstance(why, LoginRefused):
            why = LoginRefused(f"{type(self._checkers[index]).__name__} refused without a reason", known=None)
        return self._ask(index + 1, credentials, {**refusals, index: why})


def _names_somebody(credentials: Any) -> bool:
    name = getattr(credentials, "username", None)
    if name == b"" and IKerberosIdentity.providedBy(credentials):
        return True  # whose principal he is: its own maildrop is meant
    return name is None or user_name(name) is not None


@implementer(IRealm, IRevocable)
class MailboxRealm:
    """cred's realm: the avatar is the user's locked maildrop, its logout is the maildrop's release.

    It asks `users`, or checkers, for what the store must know of a user; without them the name must do.
    """

    def __init__(self, store: IStore, users: Users | Iterable[object] = ()) -> None:
        self._store = store
        self._users = Users.of(users)

    def requestAvatar(self, avatarId: AvatarId, mind: object, *interfaces: type[Interface]) -> Deferred[Avatar]:  # noqa: N803 - IRealm names it so
        """Open the maildrop of a user who gave proof of himself.

        `mind` is a `Mind`; without one the peer is unknown. Errors: UnauthorizedLogin, PermanentFailure, the store's.
        """
        if IMaildrop not in interfaces:
            raise NotImplementedError("this realm's avatars are maildrops: ask for IMaildrop")
        if isinstance(avatarId, Acting):
            return self._act(avatarId, mind)
        name = user_name(avatarId)
        if name is None:  # also cred's ANONYMOUS, which is ()
            raise LoginRefused(NO_NAME, known=False)
        return self._find(name, avatarId, mind).addCallback(self._open, mind).addCallback(_avatar)

    def _act(self, acting: Acting, mind: object) -> Deferred[Avatar]:
        """As for the user himself, if his master may log in from here, too."""
        admitted = self._find(acting.master, acting.master_id, mind).addCallback(_admitted, mind)
        found = admitted.addCallback(lambda _: self._find(acting.user, acting.user_id, mind))
        return found.addCallback(self._open, mind).addCallback(_avatar).addCallback(_log_master, acting, mind)

    def _find(self, name: str, avatar_id: object, mind: object) -> Deferred[User]:
        """The user, as he came with the avatar id if this realm's own users have read him."""
        read = self._users.read_here(avatar_id)
        return succeed(read.user) if read is not None else self._users.lookup(name).addCallback(self._found, name, mind)

    def _found(self, user: User | None, name: str, mind: object) -> User:
        if user is None and "home" in self._store.needs:  # the users are listed, and he is none of them
            log.error(UNLISTED, event="auth.unlisted", user=name, session=_session(mind))
            raise LoginRefused("he proved who he is, but no checker knows his home", known=False)
        return User(name) if user is None else user

    def _open(self, user: User, mind: object) -> Deferred[IMaildrop]:
        peer, listener = (mind.peer, mind.listener) if isinstance(mind, Mind) else (None, "embedded")
        if user_name(_admitted(user, mind).name) is None:
            raise LoginRefused(NO_NAME, known=False)
        if user.unserved:
            log.error(UNSERVED, event="auth.unserved", user=user.name, reason=user.unserved, session=_session(mind))
            raise PermanentFailure
        if isinstance(mind, Mind):
            mind.user = user.name
        return self._store.open(user, f"{listener} {peer or 'local'}").addErrback(_homeless, user, mind)


def _admitted(user: User, mind: object) -> User:
    """The user, if he may log in from where he is. Errors: UnauthorizedLogin."""
    peer = mind.peer if isinstance(mind, Mind) else None
    if user.barred:
        raise LoginRefused(user.barred)
    if user.networks and not _within(peer, user.networks):
        networks = ",".join(map(str, user.networks))
        raise LoginRefused("not from this address", f"allow_nets of {user.name!r} is {networks}")
    return user


def _homeless(failure: Failure, user: User, mind: object) -> NoReturn:
    """Tell the operator where he writes down a home; what else the store has to say is the session's to report."""
    failure.trap(HomeUnknown)
    why = cast(HomeUnknown, failure.value)
    session = _session(mind)
    log.error(HOMELESS, event="auth.homeless", user=user.name, session=session, reason=str(why), remedy=why.remedy)
    raise PermanentFailure


def _log_master(avatar: Avatar, acting: Acting, mind: object) -> Avatar:
    peer = mind.peer if isinstance(mind, Mind) else None
    log.info(
        "{master!r} acts for {user!r} from {peer}",
        event="auth.master",
        master=acting.master,
        user=acting.user,
        peer=peer,
        session=_session(mind),
    )
    return avatar


def _session(mind: object) -> str:
    return mind.session if isinstance(mind, Mind) else ""


def _avatar(maildrop: IMaildrop) -> Avatar:
    return IMaildrop, maildrop, maildrop.release


def _within(peer: str | None, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether the peer's address is in one of the networks.

    Over a Unix socket ("") the peer is on this machine: it counts as both loopback addresses. None is nowhere.
    """
    if peer is None:
        return False
    addresses = [ip_address(peer)] if peer else LOOPBACK
    return any(address in network for address in addresses for network in networks)
