"""The checkers' door: who knows the user, and which secrets would be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred

from mailserver.auth.chain import REFUSED
from mailserver.auth.identities import Masters
from mailserver.auth.refusals import first_reason
from mailserver.auth.users import Users
from mailserver.config.settings import Auth
from mailserver.config.shown import shown_checker
from mailserver.credentials import ActingFor, IBearerToken, KerberosIdentity, Unproven, VerifiedIdentity
from mailserver.errors import LoginRefused, Refusal, TemporaryFailure
from mailserver.foresight import IForesees, Prospect
from mailserver.interfaces import IVerifiers, UserId
from mailserver.net.probing import Asked
from mailserver.reasons import NO_CHECKER, UNKNOWN_USER
from mailserver.refusals import login_refused
from mailserver.service.explaining.prospects import prospect, tell
from mailserver.service.explaining.steps import Walk
from mailserver.service.kerberos import Kerberos

CHECKER_SECONDS: Final = 5.0
"""How long one checker may take. A login waits longer, 20 s for a Dovecot that hangs, and libkrb5 half a minute for a KDC; so long as this the
next of a directory's servers is asked, where the first one hangs.
"""

NO_ANSWER: Final = "it has not answered within {:g} s, and a login may wait longer"


class Entrant(NamedTuple):
    """Somebody whom the checkers would let in."""

    app: str
    """The app password by which; "": the own secret, or none."""
    avatar_id: Any
    """None: only a login can tell."""
    maybe: str = ""
    """The checker that may take the password, as only a login can tell; "": it takes the right one."""


class Checkers:
    """The checkers of a portal, over these users."""

    def __init__(
        self, portal: Portal, users: Users, settings: Auth, clock: Any, kerberos: Kerberos | None = None
    ) -> None:
        self._portal = portal
        self._clock = clock
        self._kerberos = kerberos
        self._users = users
        self._masters = Masters(settings.masters, portal, users)
        self._names = dict(zip(users.backends, map(shown_checker, settings.checkers), strict=False))
        """What the settings call each; none of those that a program has added to them."""

    async def enter(self, walk: Walk, asked: Asked, app: str) -> list[Entrant]:
        """Those as whom a login with the right secret would come to the realm; none where the checkers refuse it."""
        proof = asked.credentials.credentials if isinstance(asked.credentials, ActingFor) else asked.credentials
        try:
            entrants = await self._proved(walk, asked, proof)
            found = [each for each in entrants if each.app == app] if app else entrants
            if entrants and not found:
                known = ", ".join(repr(each.app) for each in entrants if each.app) or "none"
                raise LoginRefused(UNKNOWN_USER, said=f"there is no usable app password {app!r} (there are: {known})")
            if isinstance(asked.credentials, ActingFor):
                return [await self._acting(each, asked.credentials) for each in found]
        except (*REFUSED, Refusal) as error:
            walk.refused("checker", error if isinstance(error, Refusal) else login_refused(error))
            return []
        return found

    async def _proved(self, walk: Walk, asked: Asked, proof: Any) -> list[Entrant]:
        if isinstance(proof, KerberosIdentity):
            if self._kerberos is not None:
                await self._kerberos.acceptor.foresee()
            answer = await self._answer(proof)
            walk.passes("checker", f"{proof.principal!r} may open the maildrop of {answer.decode()!r}")
            return [Entrant("", answer)]
        if asked.interface is IBearerToken:
            await self._issuers(walk, proof.username)
        if asked.mechanism and isinstance(proof, VerifiedIdentity):
            proof = await self._by_keys(walk, proof.username, asked.mechanism)
        if isinstance(proof, VerifiedIdentity):
            answer = await self._answer(proof)
            walk.passes("checker", f"the user {answer.decode()!r} has an account")
            return [Entrant("", answer)]
        return await self._by_secret(walk, asked, proof.username)

    async def _answer(self, credentials: Any) -> Any:
        """The portal's own answer, to credentials that hold no secret. Errors: as of its checkers."""
        for interface, checker in self._portal.checkers.items():
            if interface.providedBy(credentials):
                return await maybeDeferred(checker.requestAvatarId, credentials)
        raise LoginRefused(NO_CHECKER, known=None)

    async def _by_keys(self, walk: Walk, name: bytes, mechanism: bytes) -> VerifiedIdentity:
        """What an exchange proves whose keys are the user's; as the oracle finds whose they are. Errors: LoginRefused."""
        able = [each for each in self._users.backends if IVerifiers.providedBy(each)]
        able = [each for each in able if mechanism in IVerifiers(each).mechanisms()]
        holder = await self._users.holder(name.decode("utf-8", "replace"), able)
        if holder.verifiers is None:
            await self._answer(Unproven(name, mechanism=mechanism))
        seen = await prospect(holder.verifiers, holder.name, mechanism)
        tell(walk, self._shown(holder.verifiers), holder.name, seen)
        if seen.refusal is not None:
            raise seen.refusal
        return VerifiedIdentity(name, holder.user_id)

    async def _by_secret(self, walk: Walk, asked: Asked, name: bytes) -> list[Entrant]:
        """Those whom a secret lets in, in the order in which a `Chain` asks for it. Errors: LoginRefused, TemporaryFailure."""
        secret, own = await self._users.secret_of(name.decode("utf-8"))
        refusals: dict[object, LoginRefused] = {}
        entrants: list[Entrant] = []
        down: Refusal | None = None
        able = [each for each in self._users.backends if asked.interface in cast("Any", each).credentialInterfaces]
        for checker in able:
            try:
                seen = await self._in_time(Deferred.fromCoroutine(prospect(checker, secret, asked.mechanism)))
            except Refusal as error:
                _tell_down(walk, self._shown(checker))
                down = error
                break
            tell(walk, self._shown(checker), secret, seen)
            for each in self._entrants(checker, seen, refusals):
                known = each.avatar_id is not None
                opened = await self._users.opened(name.decode("utf-8"), own, each.avatar_id) if known else None
                entrants.append(each._replace(avatar_id=opened))
            if seen.down:
                down = TemporaryFailure()
                break
        _end(walk, entrants, list(refusals.values()), down)
        return entrants

    def _entrants(self, checker: object, seen: Prospect, refusals: dict[object, LoginRefused]) -> list[Entrant]:
        """Whom this checker would let in. Why it lets others not in is noted."""
        if seen.refusal is not None:
            refusals[checker] = seen.refusal
        maybe = self._shown(checker) if seen.doubt or seen.known is None else ""
        if seen.refusal is None and not seen.ways:
            return [Entrant("", None, maybe)]
        ignorant = [each for each, why in refusals.items() if why.known is False]
        entrants = []
        for way in seen.ways:
            answer = way.outcome
            if isinstance(answer, UserId):
                answer = self._users.vouch(answer, checker, ignorant)
            if isinstance(answer, bytes):
                entrants.append(Entrant(way.name, answer, maybe))
            elif seen.refusal is None:
                refusals.setdefault(checker, answer)
        return entrants

    async def _issuers(self, walk: Walk, name: bytes) -> None:
        """Those who say whose a token is. Errors: TemporaryFailure, of the first."""
        able = [each for each in self._users.backends if IBearerToken in cast("Any", each).credentialInterfaces]
        before: list[str] = []
        for checker in able:
            shown = self._shown(checker)
            if not IForesees.providedBy(checker):
                before.append(shown)
                walk.unknown("checker", f"{shown} may know whose the token is: only a login tells", checker=shown)
                continue
            try:
                seen = await self._in_time(IForesees(checker).foresee(name, b""))
            except Refusal as error:
                _tell_down(walk, shown)
                if not before:
                    raise
                walk.hangs("checker", error, before)
                return
            before.append(shown)
            if seen.doubt:
                walk.unknown("checker", f"{shown}: {seen.doubt}", checker=shown, doubt=seen.doubt)
            else:
                walk.passes("checker", f"{shown} can tell whose a token is", checker=shown)
            if seen.down:
                walk.hangs("checker", TemporaryFailure(), before)
                return

    def _in_time(self, seen: Deferred[Prospect]) -> Deferred[Prospect]:
        """The same; of a checker that takes too long, that only a login can tell."""
        late = Prospect(None, doubt=NO_ANSWER.format(CHECKER_SECONDS), down=True)
        return seen.addTimeout(CHECKER_SECONDS, self._clock, lambda *_: late)

    def _shown(self, checker: object) -> str:
        """The checker as the settings have it, without what may be a secret."""
        return self._names.get(checker, type(checker).__name__)

    async def _acting(self, master: Entrant, credentials: ActingFor) -> Entrant:
        """The same for the other user, for whom the master acts. Errors: LoginRefused, TemporaryFailure."""
        if not self._masters.credentialInterfaces:
            raise LoginRefused(NO_CHECKER, known=None)
        if master.avatar_id is None:
            return master
        return master._replace(avatar_id=await self._masters.acting(master.avatar_id, credentials.authzid))


def _tell_down(walk: Walk, shown: str) -> None:
    walk.skips("checker", f"{shown} does not answer now", checker=shown)


def _end(walk: Walk, entrants: Sequence[Entrant], refusals: Sequence[LoginRefused], down: Refusal | None) -> None:
    """What becomes of a password that no checker takes before one that is down. Errors: that, where none may take it."""
    if any(not each.maybe for each in entrants):
        return
    if down is None and entrants and not any(each.known for each in refusals):
        return
    why = down or first_reason(refusals)
    if not entrants:
        raise why
    walk.hangs("checker", why, list(dict.fromkeys(each.maybe for each in entrants)))
