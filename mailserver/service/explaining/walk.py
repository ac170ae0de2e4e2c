"""The whole way of a login: the doors in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

from mailserver.answers import awaited
from mailserver.auth.portal import MailboxRealm
from mailserver.auth.users import Users
from mailserver.config.kinds import KINDS
from mailserver.config.settings import Config
from mailserver.credentials import ActingFor, KerberosIdentity, Unproven, renamed
from mailserver.delivery.quota import Quotas, percent
from mailserver.errors import LoginRefused, Refusal, StoreError
from mailserver.foresight import Attempt, Sight, seen
from mailserver.incoming import IDeposits
from mailserver.interfaces import IStore, Mind, User
from mailserver.net.failures import printable
from mailserver.net.pop3_listener import POP3ServerFactory
from mailserver.net.probing import Asked, asked, take
from mailserver.net.throttle import network
from mailserver.reasons import HELD, INVALID_NAME, LOGIN_DELAY, NEEDS_TLS, NOT_NOW, TURNED_AWAY
from mailserver.service.explaining.checkers import NO_ANSWER, Checkers, Entrant
from mailserver.service.explaining.steps import Walk
from mailserver.service.kerberos import Kerberos
from mailserver.service.listeners import Listeners
from mailserver.service.memories import Memories

if TYPE_CHECKING:
    from mailserver.auth.policy import Policy

WALK_SECONDS: Final = 12.0
"""How long all doors may take together: `mailserver explain` itself waits for 15 s."""


class NoListener(Exception):
    """There is no such listener. The text says which there are."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """The parts of a server that decide on a login; `portal` is the one behind the policy server."""

    config: Config
    portal: Portal
    users: Users
    store: IStore
    listeners: Listeners
    memories: Memories
    reactor: Any
    kerberos: Kerberos | None = None
    policy: Policy | None = None

    async def explain(self, attempt: Attempt, *, alone: bool = False) -> Walk:
        """Walk; `alone`: this server serves nobody, so that it knows nothing of other clients. Errors: NoListener; faults."""
        listener, tls = self._listener(attempt)
        walk = Walk()
        self._connection(walk, attempt, alone=alone)
        self._enter(walk, listener, attempt, tls=tls)
        mind = Mind(attempt.peer, tls, listener.listener)
        asking = Deferred.fromCoroutine(self._ask(walk, listener, attempt, mind, alone=alone))
        await asking.addTimeout(WALK_SECONDS, self.reactor, lambda *_: _late(walk))
        return walk

    async def _ask(self, walk: Walk, listener: POP3ServerFactory, attempt: Attempt, mind: Mind, *, alone: bool) -> None:
        """The doors that may have to ask others."""
        walk.at = "policy"
        found = await self._names(walk, listener, attempt, mind, alone=alone)
        if found is None:
            return
        walk.at = "checker"
        checkers = Checkers(self.portal, self.users, self.config.auth, self.reactor, self.kerberos)
        entrants = await checkers.enter(walk, found, attempt.app)
        walk.at = "user"
        user = await self._user(walk, entrants, mind)
        if user is not None:
            await self._open(walk, user, acting=isinstance(found.credentials, ActingFor), alone=alone)

    def _listener(self, attempt: Attempt) -> tuple[POP3ServerFactory, bool]:
        """The listener, and whether the login is in TLS there."""
        made = {kind: found for kind, found in self.listeners.entries.items() if isinstance(found, POP3ServerFactory)}
        wanted = attempt.listener or ("kpop" if attempt.principal and not attempt.mechanism else "")
        for (kind, endpoint), found in sorted(made.items(), key=lambda each: not KINDS[each[0][0]].tls):
            if wanted in {"", kind, endpoint} and (wanted or not KINDS[kind].keytab):
                if KINDS[kind].keytab and not attempt.principal:
                    raise NoListener(f"{kind} takes a ticket: say whose by --principal")
                return found, KINDS[kind].tls or (attempt.tls and found.tls is not None)
        known = ", ".join(f"{kind} ({endpoint})" for kind, endpoint in made) or "none"
        raise NoListener(f"there is no listener {wanted!r} for logins: there are {known}")

    def _connection(self, walk: Walk, attempt: Attempt, *, alone: bool) -> None:
        places = self.memories.places
        if alone:
            walk.unknown("connection", "no running server tells how many connections there are")
            return
        limit = places.full(attempt.peer)
        facts = {"connections": places.all_taken, "of_address": places.connections_of(network(attempt.peer))}
        if limit:
            walk.refuses("connection", TURNED_AWAY, f"{TURNED_AWAY.words}: {limit}", **facts)
        else:
            walk.passes("connection", f"there is a place for {attempt.peer or 'a Unix socket'}", **facts)

    def _enter(self, walk: Walk, listener: POP3ServerFactory, attempt: Attempt, *, tls: bool) -> None:
        taken = take(listener, attempt, tls=tls, certificates=bool(self.config.tls.client_ca))
        kind, way = listener.listener, attempt.mechanism or "USER and PASS"
        facts = {"listener": kind, "tls": tls, "mechanism": attempt.mechanism or "USER", "takes": list(taken.can)}
        if taken.refusal is None:
            walk.passes("listener", f"{kind}, {'in TLS' if tls else 'without TLS'}, takes {way}", **facts)
        elif taken.refusal is NEEDS_TLS:
            walk.refuses("listener", NEEDS_TLS, f"{kind}: {NEEDS_TLS.words}", **facts)
        else:
            can = ", ".join(taken.can) or "nothing"
            walk.refuses(
                "listener", taken.refusal, f"{kind} does not take {way}: {taken.reply} (it takes {can})", **facts
            )

    async def _names(
        self, walk: Walk, listener: POP3ServerFactory, attempt: Attempt, mind: Mind, *, alone: bool
    ) -> Asked | None:
        """The request with its names as this listener reads them; None: they are nobody's."""
        whole, names = asked(attempt), listener.door.names
        credentials = whole.credentials if names is None else renamed(whole.credentials, names.read)
        visitor = printable(credentials.username)
        if whole.secret:
            self._hold(walk, listener, attempt, visitor, alone=alone)
        await self._policy(walk, mind, credentials)
        if isinstance(credentials, Unproven):
            walk.refuses("name", INVALID_NAME, f"{credentials.reason}: {visitor!r}")
            return None
        self._tell_name(walk, attempt, listener, credentials)
        return whole._replace(credentials=credentials)

    def _tell_name(self, walk: Walk, attempt: Attempt, listener: POP3ServerFactory, credentials: Any) -> None:
        if isinstance(credentials, KerberosIdentity) and not credentials.username:
            walk.passes("name", f"{credentials.principal!r} opens the principal's own maildrop", read="")
            return
        opened = credentials.authzid if isinstance(credentials, ActingFor) else credentials.username
        read = opened.decode("utf-8")
        owner = None if listener.door.names is None else listener.door.names.owner(read)
        says = f"{attempt.user!r} is read as {read!r}"
        if owner is not None and owner.user is not None:
            says += f", {owner.user!r} of the account {owner.maildrop!r}"
        if isinstance(credentials, ActingFor):
            says += f"; {credentials.username.decode()!r} logs in for this user"
        walk.passes("name", says, read=read, account=owner.maildrop if owner is not None and owner.user else "")

    def _hold(self, walk: Walk, listener: POP3ServerFactory, attempt: Attempt, visitor: str, *, alone: bool) -> None:
        if alone:
            walk.unknown("hold", "no running server tells whether logins are held back")
            return
        hold = listener.door.hold(attempt.peer, visitor)
        facts = {"seconds": round(hold.seconds, 1), "failures": hold.failures, "waiting": hold.waiting}
        if hold.too_long:
            walk.refuses("hold", HELD, f"{HELD.words}: {hold.waiting} wait before it, if they fail", **facts)
        elif hold.seconds:
            walk.waits("hold", f"it would wait {hold.seconds:.1f} s, after {hold.failures} failures", **facts)
        else:
            walk.passes("hold", "nothing holds it back", **facts)

    async def _policy(self, walk: Walk, mind: Mind, credentials: Any) -> None:
        if self.policy is None or not mind.peer:
            return
        from mailserver.auth.policy import facts_of  # it imports an HTTP client, which few servers need

        try:
            seconds = await self.policy.judge(facts_of(mind, credentials.username))
        except LoginRefused as error:
            walk.refused("policy", error)
            return
        if self.policy.is_down:
            walk.unknown("policy", "the policy server does not answer, and logins go on without it")
        elif seconds:
            walk.waits("policy", f"the policy server lets it wait {seconds:g} s", seconds=seconds)
        else:
            walk.passes("policy", "the policy server lets it pass")

    async def _user(self, walk: Walk, entrants: Sequence[Entrant], mind: Mind) -> User | None:
        """The user of the first one whom the realm would let in; else the first one's refusal is told."""
        realm = cast("MailboxRealm", self.portal.realm)
        refusal: Exception | None = None
        for entrant in entrants:
            if entrant.avatar_id is None:
                walk.unknown(
                    "user",
                    f"only a login shows {entrant.maybe}'s user, and so the maildrop: `mailserver login` tries one",
                )
                return None
            try:
                user = await awaited(realm.user_of(entrant.avatar_id, mind))
            except (LoginRefused, Refusal) as error:
                refusal = refusal or error
                continue
            walk.passes("user", f"{user.name!r} may log in here", **_terms(user))
            return user
        if refusal is not None:
            walk.refused("user", refusal)
        return None

    async def _open(self, walk: Walk, user: User, *, acting: bool, alone: bool) -> None:
        left = 0 if acting else self.memories.delays.before(user)
        if left:
            walk.refuses("delay", LOGIN_DELAY, f"{LOGIN_DELAY.words}: {left} s are left", left=left)
        elif alone and not acting and self.memories.delays.of(user):
            walk.unknown(
                "delay",
                "no running server tells whether the login delay is over",
                seconds=self.memories.delays.of(user),
            )
        walk.at = "maildrop"
        try:
            sight = await seen(self.store, user)
        except (StoreError, Refusal) as error:
            walk.refused("maildrop", error)
            return
        if sight is None:
            walk.unknown("maildrop", "the store cannot look at a maildrop without opening it")
            return
        facts = {"place": sight.place, "exists": sight.exists, "holder": sight.holder, "messages": sight.messages}
        if sight.refusal is not None:
            walk.refused("maildrop", sight.refusal, **facts)
            return
        walk.passes("maildrop", "; ".join([f"{sight.place}: {_state(sight)}", *sight.remarks]), **facts)
        await self._quota(walk, user)

    async def _quota(self, walk: Walk, user: User) -> None:
        """How full it is: it keeps nobody out, but mail."""
        walk.at = "quota"
        deposits = IDeposits(self.store)
        quota = Quotas(deposits, self.config.quota).of(user)
        if quota is None:
            return
        try:
            usage = await deposits.usage(replace(user, quota=None))  # by a quota it would be noted down in the maildrop
        except (StoreError, Refusal):
            walk.unknown("quota", "how full the maildrop is cannot be told now")
            return
        full = percent(quota, usage)
        walk.passes("quota", f"{full} % of the quota are used", percent=full, octets=usage.octets)


def _state(sight: Sight) -> str:
    """Whether the maildrop is there, and how full."""
    if not sight.exists:
        return "it is not there yet, and can be made"
    if sight.messages is None:
        return "it is there"
    return f"{sight.messages} message{'' if sight.messages == 1 else 's'}"


def _late(walk: Walk) -> None:
    """What is said of a door that takes too long."""
    says = NO_ANSWER.format(WALK_SECONDS)
    if walk.at == "quota":
        walk.unknown("quota", says)
    else:
        walk.refuses(walk.at, NOT_NOW, says)


def _terms(user: User) -> dict[str, Any]:
    """What is special about the user, for programs."""
    return {
        "user": user.name,
        "app": user.secret,
        "home": user.home or "",
        "networks": [str(each) for each in user.networks],
        "listeners": sorted(user.listeners),
        "read_only": user.read_only,
        "expire_days": user.expire_days,
        "login_delay": user.login_delay,
    }
