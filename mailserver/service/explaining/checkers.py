"""The checkers' door: who knows the user, and which secrets would be right."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from twisted.cred.portal import Portal
from twisted.internet.defer import maybeDeferred

from mailserver.auth.chain import REFUSED
from mailserver.auth.identities import Masters
from mailserver.auth.refusals import first_reason
from mailserver.auth.users import Users
from mailserver.config.settings import Auth
from mailserver.config.shown import shown_checker
from mailserver.credentials import ActingFor, KerberosIdentity, Unproven, VerifiedIdentity
from mailserver.errors import LoginRefused, Refusal, login_refused
from mailserver.foresight import IForesees, Prospect, Way
from mailserver.interfaces import IUsers, IVerifiers, UserId
from mailserver.net.probing import Asked
from mailserver.reasons import NO_CHECKER, UNKNOWN_USER
from mailserver.service.explaining.steps import Walk


class Entrant(NamedTuple):
    """Somebody whom the checkers would let in."""

    app: str
    """The app password by which; "": the own secret, or none."""
    avatar_id: Any


class Checkers:
    """The checkers of a portal, over these users."""

    def __init__(self, portal: Portal, users: Users, settings: Auth) -> None:
        self._portal = portal
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
            return [Entrant("", await self._answer(proof))]
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
        prospect = await self._prospect(holder.verifiers, holder.name, mechanism)
        _tell(walk, self._shown(holder.verifiers), holder.name, prospect)
        if prospect.refusal is not None:
            raise prospect.refusal
        return VerifiedIdentity(name, holder.user_id)

    async def _by_secret(self, walk: Walk, asked: Asked, name: bytes) -> list[Entrant]:
        """Those whom a secret lets in, in the order in which a `Chain` asks for it. Errors: LoginRefused, TemporaryFailure."""
        secret, own = await self._users.secret_of(name.decode("utf-8"))
        refusals: dict[object, LoginRefused] = {}
        entrants: list[Entrant] = []
        able = [each for each in self._users.backends if asked.interface in cast("Any", each).credentialInterfaces]
        for checker in able:
            try:
                prospect = await self._prospect(checker, secret, asked.mechanism)
            except Refusal:
                walk.skips("checker", f"{self._shown(checker)} does not answer now", checker=self._shown(checker))
                if entrants:
                    break
                raise
            _tell(walk, self._shown(checker), secret, prospect)
            if prospect.refusal is not None:
                refusals[checker] = prospect.refusal
            ignorant = [each for each, why in refusals.items() if why.known is False]
            for way in prospect.ways:
                answer = way.outcome
                if isinstance(answer, UserId):
                    answer = self._users.vouch(answer, checker, ignorant)
                if isinstance(answer, bytes):
                    entrants.append(Entrant(way.name, await self._users.opened(name.decode("utf-8"), own, answer)))
                elif prospect.refusal is None:
                    refusals.setdefault(checker, answer)
        if not entrants:
            raise first_reason(list(refusals.values()))
        return entrants

    async def _prospect(self, checker: object, name: str, mechanism: bytes) -> Prospect:
        """What the checker says; of one that keeps no secrets, what it says of the user. Errors: TemporaryFailure."""
        octets = name.encode("utf-8", "surrogateescape")
        if IForesees.providedBy(checker):
            return await IForesees(checker).foresee(octets, mechanism)
        if not IUsers.providedBy(checker):
            return Prospect(None, [Way("", "", octets)])
        user = await IUsers(checker).lookup(name)
        if user is None:
            return Prospect(False, refusal=LoginRefused(UNKNOWN_USER, known=False))
        return Prospect(True, [Way("", "", UserId(user.name.encode("utf-8"), user))], user=user)

    def _shown(self, checker: object) -> str:
        """The checker as the settings have it, without what may be a secret."""
        return self._names.get(checker, type(checker).__name__)

    async def _acting(self, master: Entrant, credentials: ActingFor) -> Entrant:
        """The same for the other user, for whom the master acts. Errors: LoginRefused, TemporaryFailure."""
        if not self._masters.credentialInterfaces:
            raise LoginRefused(NO_CHECKER, known=None)
        return Entrant(master.app, await self._masters.acting(master.avatar_id, credentials.authzid))


def _tell(walk: Walk, shown: str, name: str, prospect: Prospect) -> None:
    """Say what a checker knows of the name."""
    secrets = [_secret(each) for each in prospect.ways]
    mechanisms = sorted(each.decode("ascii") for each in prospect.mechanisms)
    facts = {"checker": shown, "place": prospect.place, "secrets": secrets, "by_secret": mechanisms}
    where = f" ({prospect.place})" if prospect.place else ""
    if prospect.known is None:
        walk.unknown("checker", f"{shown} can tell of {name!r} only with the password", **facts)
    elif not prospect.known:
        why = prospect.refusal
        hint = f" ({why.hint})" if why is not None and why.hint else ""
        walk.skips("checker", f"{shown} does not know {name!r}{hint}", **facts)
    elif prospect.refusal is not None:
        walk.skips("checker", f"{shown} knows {name!r}{where}: {prospect.refusal.reason}", **facts)
    else:
        kinds = ", ".join(each["says"] for each in secrets)
        walk.passes("checker", f"{shown} knows {name!r}{where}: {kinds}", **facts)


def _secret(way: Way) -> dict[str, str]:
    """A secret, without itself."""
    says = f"the app password {way.name!r}" if way.name else "the own secret"
    says += f" is {{{way.scheme}}}" if way.scheme else ""
    refusal = way.outcome.reason if isinstance(way.outcome, LoginRefused) else ""
    says += f", {refusal}" if refusal else ""
    return {"app": way.name, "scheme": way.scheme, "refusal": refusal, "remark": way.remark, "says": says}
