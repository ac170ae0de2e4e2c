"""The portal: checkers in their order in front of a realm whose avatars are maildrops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NoReturn, cast

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mailserver import reasons
from mailserver.answers import Answer, ask, prompt, rescued, then
from mailserver.auth.chain import Chain
from mailserver.auth.entry import IN_TLS
from mailserver.auth.identities import Acting, Masters, Unproved, VerifiedIdentities
from mailserver.auth.users import Users, proved_by
from mailserver.errors import HomeUnknown, LoginRefused, LoginTooSoon, PermanentFailure
from mailserver.interfaces import TERMS, IDelays, IMaildrop, IRevocable, IStore, Mind, Terms, User
from mailserver.names import user_name

AvatarId = bytes | str | Acting | tuple[()]
Avatar = tuple[type[Interface], object, Any]

LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

HOMELESS = (
    "{user!r} gave the right password, but {reason}: "
    "write it into the sixth field of the user's line in the passwd-file, or {remedy}"
)

UNSERVED = "{user!r} gave the right password, but the maildrop cannot be opened: {reason}"

UNLISTED = (
    "{user!r} is authenticated, but no checker knows the home directory, which the store's URL needs: "
    "add the user to the passwd-file, or use {{user}} in the URL"
)

log = Logger()


class Unlisted(LoginRefused):
    """An authenticated user whom no list of users has, where the store needs a home."""

    def __init__(self, name: str) -> None:
        said = "the user is authenticated, but no checker knows the home"
        super().__init__(reasons.NO_HOME, known=False, said=said)
        self.name = name


class Unserved(PermanentFailure):
    """The user's entry names a maildrop that is not served here."""

    why = reasons.UNSERVED

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user
        self.detail = user.unserved


def make_portal(realm: IRealm, checkers: Users | Iterable[ICredentialsChecker], masters: Iterable[str] = ()) -> Portal:
    """A portal that asks `checkers`, or those of `Users`, in their order; the users `masters` may log in for others.

    cred keeps one checker per credentials interface, so that one is a `Chain`. For the two interfaces of POP3's logins
    there always is one: a checker may come to serve an interface while it runs.
    """
    portal = Portal(realm)
    users = Users.of(checkers)
    given = users.checkers
    for checker in users.backends:
        if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
            _make_octets(checker)
    ordered = [*given, VerifiedIdentities(users), Masters(masters, portal, users), Unproved(given)]
    served = {iface for checker in ordered for iface in checker.credentialInterfaces}
    for iface in {IUsernamePassword, IUsernameHashedPassword} | served:
        chain = Chain(iface, ordered, users)
        portal.registerChecker(cast(ICredentialsChecker, chain), iface)
    return portal


def _make_octets(checker: InMemoryUsernamePasswordDatabaseDontUse) -> None:
    """Encode the text in the table of strcred's ``memory:``, since credentials are octets and would never equal it."""
    checker.users = {_octets(name): _octets(secret) for name, secret in checker.users.items()}


def _octets(value: bytes | str) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else value


@implementer(IRealm, IRevocable)
class MailboxRealm:
    """cred's realm: the avatar is the user's locked maildrop, its logout is the maildrop's release.

    It asks `users`, or checkers, for the `User` that the store needs; without them the store gets only the name. Without
    `delays` a user may log in at any time.
    """

    def __init__(self, store: IStore, users: Users | Iterable[object] = (), delays: IDelays | None = None) -> None:
        self._store = store
        self._delays = delays
        self._users = Users.of(users)

    @prompt
    def requestAvatar(self, avatarId: AvatarId, mind: object, *interfaces: type[Interface]) -> Answer[Avatar]:  # noqa: N803 - IRealm names it so
        """Open the maildrop of an authenticated user.

        `mind` is a `Mind`; without one the peer is unknown. Errors: UnauthorizedLogin, LoginTooSoon, PermanentFailure, the store's.
        """
        if IMaildrop not in interfaces:
            raise NotImplementedError("this realm's avatars are maildrops: ask for IMaildrop")
        user = rescued((Unlisted, Unserved), lambda why: _not_served(why, mind), self.user_of, avatarId, mind)
        if isinstance(avatarId, Acting):  # who looks after a user neither waits for the login delay nor begins one
            return then(then(user, self._open, mind), _log_master, avatarId, mind)
        return then(user, self._open, mind, self._delays)

    def user_of(self, avatar_id: AvatarId, mind: object) -> Answer[User]:
        """The user whose maildrop an authenticated user may open. Nothing is opened, and nothing is logged.

        A master must be let in from this address, too. Errors: LoginRefused, Unserved, those of the users.
        """
        if isinstance(avatar_id, Acting):
            admitted = then(self._find(avatar_id.master, avatar_id.master_id), _admitted, mind)
            return then(then(admitted, self._find_for, avatar_id), _servable, None, mind)
        name = user_name(avatar_id)
        if name is None:  # also for cred's ANONYMOUS, which is ()
            raise LoginRefused(reasons.INVALID_NAME, known=False)
        return then(self._find(name, avatar_id), _servable, name, mind)

    def _find_for(self, master: User, acting: Acting) -> Answer[User]:
        """The other user; the secret is the master's, and who may delete nothing may not do it for others either."""
        found = self._find(acting.user, acting.user_id)
        if not (master.secret or master.read_only):
            return found
        return then(found, lambda user: _by(master, user))

    def _find(self, name: str, avatar_id: object) -> Answer[User]:
        """The user: from the avatar id if this realm's own `users` have read it, else by a lookup."""
        read = self._users.read_here(avatar_id)
        if read is not None:
            return read.user
        return self._users.lookup(name).addCallback(self._found, name).addCallback(proved_by, avatar_id)

    def _found(self, user: User | None, name: str) -> User:
        if user is None and "home" in self._store.needs:  # there are lists of users, without this one
            raise Unlisted(name)
        return User(name) if user is None else user

    def _open(self, user: User, mind: object, delays: IDelays | None = None) -> Answer[Avatar]:
        """Open the user's maildrop."""
        peer, listener = (mind.peer, mind.listener) if isinstance(mind, Mind) else (None, "embedded")
        if isinstance(mind, Mind):
            mind.user, mind.terms = user.name, _terms(user)
        owner = f"{listener} {peer or 'local'} {_session(mind)}".rstrip()
        timing = self._users.timing
        asked: tuple[Any, ...] = (ask,) if timing is None else (timing.ask, self._store, ask)
        opening = partial(
            rescued, (HomeUnknown,), lambda why: _homeless(why, user, mind), *asked, self._store.open, user, owner
        )
        opened: Answer[IMaildrop] = opening() if delays is None else _in_time(delays, user, opening)
        return then(opened, _avatar)


def _admitted(user: User, mind: object) -> User:
    """The user, if the user may log in from this address and by this listener. Errors: UnauthorizedLogin."""
    peer = mind.peer if isinstance(mind, Mind) else None
    if user.denied:
        raise LoginRefused(reasons.DENIED, said=user.denied)
    if user.networks and not _within(peer, user.networks):
        networks = ",".join(map(str, user.networks))
        raise LoginRefused(reasons.ADDRESS, f"allow_nets of {user.name!r} is {networks}")
    if user.listeners and not _serves(mind, user.listeners):
        whose = f"the app password {user.secret!r} of {user.name!r}" if user.secret else repr(user.name)
        raise LoginRefused(reasons.LISTENER, f"{whose} is for {','.join(sorted(user.listeners))}")
    return user


def _servable(user: User, checked: str | None, mind: object) -> User:
    """The user, if the user may log in and has a maildrop. `checked` is a name that can be a user's; a checker may know the user by another."""
    if _admitted(user, mind).name != checked and user_name(user.name) is None:
        raise LoginRefused(reasons.INVALID_NAME, known=False)
    if user.unserved:
        raise Unserved(user)
    return user


def _not_served(why: Unlisted | Unserved, mind: object) -> NoReturn:
    """Log what the operator can mend."""
    session = _session(mind)
    if isinstance(why, Unlisted):
        log.error(UNLISTED, event="auth.unlisted", user=why.name, session=session)
    else:
        log.error(UNSERVED, event="auth.unserved", user=why.user.name, reason=why.user.unserved, session=session)
    raise why


def _by(master: User, user: User) -> User:
    return replace(user, secret=master.secret, read_only=user.read_only or master.read_only)


def _serves(mind: object, listeners: frozenset[str]) -> bool:
    """Whether the client uses one of these listeners; without a `Mind` it is unknown."""
    if not isinstance(mind, Mind):
        return False
    return mind.listener in listeners or (mind.tls and not listeners.isdisjoint({"tls", mind.listener + IN_TLS}))


def _terms(user: User) -> Terms:
    made = Terms(user.read_only, user.expire_days, user.login_delay, user.secret)
    return TERMS if made == TERMS else made


def _in_time(delays: IDelays, user: User, opening: Callable[[], Answer[IMaildrop]]) -> Answer[IMaildrop]:
    """Open the maildrop, unless the user's login delay is not over. Errors: LoginTooSoon, those of `opening`."""
    left = delays.begin(user)
    if left:
        raise LoginTooSoon(left)

    def not_opened(error: Exception) -> NoReturn:  # also when the client has left meanwhile
        delays.give_back(user)
        raise error

    return rescued((Exception,), not_opened, opening)


def _homeless(why: HomeUnknown, user: User, mind: object) -> NoReturn:
    """Log where to configure a missing home; the session reports the store's other errors."""
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
