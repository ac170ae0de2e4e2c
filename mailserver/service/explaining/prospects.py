"""What one checker says of a user."""

from __future__ import annotations

from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.error import UnauthorizedLogin

from mailserver.errors import LoginRefused
from mailserver.foresight import IForesees, Prospect, Way
from mailserver.interfaces import IUsers, UserId
from mailserver.reasons import OTHER, UNKNOWN_USER
from mailserver.service.explaining.steps import Walk


async def prospect(checker: object, name: str, mechanism: bytes) -> Prospect:
    """What the checker says; of one that keeps no secrets, what it says of the user. Errors: TemporaryFailure."""
    octets = name.encode("utf-8", "surrogateescape")
    if IForesees.providedBy(checker):
        return await IForesees(checker).foresee(octets, mechanism)
    if isinstance(checker, FilePasswordDB | InMemoryUsernamePasswordDatabaseDontUse):
        known = _of_twisted(checker, octets)
        return _not_of_twisted(checker) if known is None else Prospect(True, [Way("", "", known)])
    if not IUsers.providedBy(checker):
        return Prospect(None, [Way("", "", octets)], doubt="only the password can tell: `mailserver login` tries it")
    user = await IUsers(checker).lookup(name)
    if user is None:
        return Prospect(False, refusal=LoginRefused(UNKNOWN_USER, known=False))
    return Prospect(True, [Way("", "", UserId(user.name.encode("utf-8"), user))], user=user)


def _not_of_twisted(checker: object) -> Prospect:
    """Such a checker refuses a login without a reason, and so does this."""
    said = f"{type(checker).__name__} has no such user, or its file cannot be read"
    return Prospect(False, refusal=LoginRefused(OTHER, known=None, said=said))


def _of_twisted(checker: FilePasswordDB | InMemoryUsernamePasswordDatabaseDontUse, name: bytes) -> bytes | None:
    """The avatar id, as one of Twisted's own checkers has the name; None: it has none such."""
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        return name if name in checker.users else None
    try:
        return checker.getUser(name)[0]
    except (KeyError, UnauthorizedLogin):  # that is for a file that cannot be read
        return None


def tell(walk: Walk, shown: str, name: str, prospect: Prospect) -> None:
    """Say what a checker knows of the name."""
    secrets = [_secret(each) for each in prospect.ways]
    mechanisms = sorted(each.decode("ascii") for each in prospect.mechanisms)
    facts = {"checker": shown, "place": prospect.place, "secrets": secrets, "by_secret": mechanisms}
    where = f" ({prospect.place})" if prospect.place else ""
    why = prospect.refusal
    if why is not None and prospect.known is False:
        said = ": ".join(each for each in (why.reason if why.reason != why.why.words else "", why.hint) if each)
        walk.skips("checker", f"{shown} does not know {name!r}{f' ({said})' if said else ''}", **facts)
    elif why is not None:
        walk.skips(
            "checker", f"{shown} {'knows' if prospect.known else 'refuses'} {name!r}{where}: {why.reason}", **facts
        )
    elif prospect.doubt or prospect.known is None:
        does = "knows" if prospect.known else "may know"
        walk.unknown("checker", f"{shown} {does} {name!r}{where}; {prospect.doubt}", doubt=prospect.doubt, **facts)
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
