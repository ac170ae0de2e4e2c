"""What the directory is asked: for a user's entry, whether a password is right, and for all users."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mailserver.auth.ldap.connection import Connection, Trouble
from mailserver.auth.ldap.entries import attributes, misnamed
from mailserver.auth.ldap.filters import filled, given, read_filter
from mailserver.auth.ldap.messages import (
    INVALID_CREDENTIALS,
    INVALID_DN,
    NO_SUCH_OBJECT,
    SUCCESS,
    Entry,
    Result,
    Scope,
)
from mailserver.auth.ldap.servers import Line, Servers, found, one_page
from mailserver.auth.ldap.settings import Site
from mailserver.errors import TemporaryFailure

MAX_PAGES: Final = 100_000
"""Of one list, which a server that always promises another page would never end."""

ANYTHING: Final = read_filter("(objectClass=*)")
"""The filter of a search for one entry by its DN."""


class Several(Exception):
    """A name has several entries."""


class Proof(Enum):
    """What a bind has shown."""

    RIGHT = "right"
    WRONG = "wrong"
    NOBODY = "nobody"
    """There is no such entry."""


@dataclass(frozen=True, slots=True)
class Proved:
    """What a bind has shown, with the entry if it was read by the same connection."""

    proof: Proof
    result: Result
    entry: Entry | None = None


_PROOFS: Final = {
    SUCCESS: Proof.RIGHT,
    INVALID_CREDENTIALS: Proof.WRONG,
    NO_SUCH_OBJECT: Proof.NOBODY,
    INVALID_DN: Proof.NOBODY,
}
"""The results of a bind that say something of the user. With any other the server says that it cannot tell."""


class Questions:
    """The questions to the servers of a site. Errors of all: TemporaryFailure."""

    def __init__(self, site: Site, servers: Servers) -> None:
        self._site = site
        self._settings = site.settings
        self._servers = servers
        self._names = attributes(site.settings, secrets=False)
        self._all_names = attributes(site.settings, secrets=True)
        name, by_bind = secrets.token_hex(16), site.settings.mode == "bind"
        self.nobody = (
            filled(site.settings.bind_as, given(name)) if by_bind else f"cn={name},{site.settings.base}".rstrip(",")
        )
        """Whom nobody is, to bind with where there is no user: it costs what a user costs, and is written as a user is."""

    @property
    def lists(self) -> bool:
        """Whether all users can be listed."""
        return self._site.everybody is not None and bool(self._settings.attribute("user")) and self.searches

    @property
    def searches(self) -> bool:
        """Whether somebody searches beside the users themselves."""
        return self._settings.mode != "bind" or bool(self._settings.service_dn)

    async def entry(self, line: Line, name: str, *, secrets: bool = False) -> Entry | None:
        """The user's entry; None: there is surely none. Errors: also Several."""
        if not self.searches:
            raise TemporaryFailure  # users alone can read their entries, so nobody knows who there is
        return await self._servers.ask(line, "search", lambda connection: self._read(connection, name, secrets=secrets))

    async def bind(self, line: Line, dn: str, password: bytes) -> Proved:
        """Whether the password is that of the entry."""

        async def work(connection: Connection) -> Proved:
            return await self._bind(connection, dn, password)

        return await self._servers.ask(line, "bind", work)

    async def bind_and_read(self, line: Line, dn: str, name: str, password: bytes) -> Proved:
        """Whether the password is the user's, who then reads the own entry. Errors: also Several."""

        async def work(connection: Connection) -> Proved:
            proved = await self._bind(connection, dn, password)
            if proved.proof is not Proof.RIGHT:
                return proved
            entry = await self._read(connection, name)
            if entry is None:
                raise Trouble(
                    "a user who is logged in cannot read the own entry: let users read it, or see to base and filter"
                )
            return Proved(proved.proof, proved.result, entry)

        return await self._servers.ask(line, "bind", work)

    async def everybody(self, line: Line) -> AsyncIterator[list[bytes]]:
        """The names of all users, a page at a time. The pages are of one server, since none knows another's cookies."""
        everybody, name = self._site.everybody, self._settings.attribute("user")
        if everybody is None:
            return
        condition = everybody.encode({})
        cookie = b""
        for _ in range(MAX_PAGES):

            async def work(connection: Connection, at: bytes = cookie) -> tuple[list[Entry], bytes]:
                return await one_page(connection, self._settings, condition, name, at)

            entries, cookie = await self._servers.ask(line, "search", work)
            yield [value for each in entries for value in each.values(name)]
            if not cookie:
                return
        raise TemporaryFailure

    async def _bind(self, connection: Connection, dn: str, password: bytes) -> Proved:
        result = await connection.bind(dn, password, self._settings.operation_seconds)
        proof = _PROOFS.get(result.code)
        if proof is None:
            raise Trouble(f"bind: {result.words}")
        return Proved(proof, result)

    async def _read(self, connection: Connection, name: str, *, secrets: bool = False) -> Entry | None:
        settings, values = self._settings, given(name)
        where: tuple[str, Scope] = settings.base, settings.scope
        condition = self._site.filter
        by_dn = condition is None
        if condition is None:
            where, condition = (filled(settings.bind_as, values), "base"), ANYTHING
        names = self._all_names if secrets else self._names
        entries, result = await found(connection, settings, *where, condition.encode(values), *names)
        if len(entries) > 1:
            raise Several
        if by_dn and result.code in (NO_SUCH_OBJECT, INVALID_DN):
            return None
        if result.code != SUCCESS:
            hint = ": see to base" if result.code == NO_SUCH_OBJECT else ""
            raise Trouble(f"search: {result.words}{hint}")
        if entries and not entries[0].dn:  # only the root's, and a bind without a name may be anonymous
            raise Trouble("search: an entry without a name")
        if entries and (strange := misnamed(entries[0], names)):
            raise Trouble(f"search: {strange[:80]!a} was asked for by another name: give this one in [attributes]")
        return entries[0] if entries else None
