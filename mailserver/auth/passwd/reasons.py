"""Why a passwd-file refused a login: for the operator's log, and never for the client."""

from __future__ import annotations

from mailserver.auth.entry import ONE_SECRET, Entry, abilities
from mailserver.auth.passwd.table import Table
from mailserver.errors import LoginRefused
from mailserver.names import Names
from mailserver.reasons import UNFIT_SECRET, UNKNOWN_USER, WRONG_PASSWORD


def refusal(table: Table, entry: Entry | None, name: str, names: Names, mechanism: bytes = b"") -> LoginRefused:
    """Why `name`, with the passwd-file entry `entry`, was refused by `mechanism` (b"": by password).

    The similar name is looked up for every user, since an attacker could measure the time.
    """
    similar = table.similar.get(_local(name).casefold(), "")
    if entry is None:
        return LoginRefused(UNKNOWN_USER, _near(name, similar, names), known=False)
    if entry.hopeless:
        return entry.refusal
    own = [] if entry.secret is None else [entry.secret]
    secrets = own if mechanism in ONE_SECRET else entry.secrets()
    if mechanism and not any(mechanism in abilities(each) for each in secrets):
        stored = f"{{{secrets[0].scheme}}}" if secrets else "no secret"
        return LoginRefused(
            UNFIT_SECRET, UNFIT_SECRET.remedy, said=f"{mechanism.decode('ascii')} cannot be verified with {stored}"
        )
    return LoginRefused(WRONG_PASSWORD)


def _near(name: str, similar: str, names: Names) -> str:
    """A hint at a known user whose name looks like the unknown one."""
    if not similar:
        return ""
    domain, theirs = (each.rpartition("@")[2] if "@" in each else "" for each in (name, similar))
    if theirs and not domain:
        # This endpoint added no domain to the name, or removed it as a local one, whatever other endpoints do.
        default = names.default_domain if names.default_domain in names.local_domains else ""
        here = "" if default == names.default_domain else " for this endpoint"
        return f"{similar!r} is known; names.default_domain is {default!r}{here}"
    if similar.casefold() == name.casefold():
        return f'{similar!r} is known; capitals matter unless names.case is "lower"'
    return f"{similar!r} is known"


def _local(name: str) -> str:
    return name.rpartition("@")[0] or name
