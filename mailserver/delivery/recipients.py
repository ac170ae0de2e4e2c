r"""Recipients: which users an address means.

    1. an alias of the address with its tag, then without; first as a whole address, then, in a local domain, as a local name
    2. the user whom `names` reads in it; then the one whom it reads in the address in lower case, since senders do not know
       about capitals
    3. an alias of the domain's rest (@example.org), then the domain's catch-all
    4. nobody: 550 5.1.1

Aliases come before users, as in Postfix and sendmail, and what an alias stands for is looked up in the same way. Where that leads back
to an alias on the way, its user is meant: ``root: root, alice`` gives root's mail to both. An address without a domain, such as
postmaster (RFC 5321 section 4.5.1), is of the default domain, or else of the first local one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailserver.delivery.addresses import Address, parse_address, read_address
from mailserver.delivery.alias_table import AliasTable, Key, Target, key_of
from mailserver.delivery.aliases import Aliases
from mailserver.errors import TemporaryFailure
from mailserver.interfaces import IUsers, User
from mailserver.names import Names, folded
from mailserver.smtp_errors import AliasLoop, UnknownRecipient

MAX_TARGETS: Final = 10_000
"""Addresses that one address may stand for, through all aliases on the way. Each costs a question to the users' database, and a
file that names more by a slip would keep it busy; lists of that size are a list server's work."""

AT_A_TIME: Final = 50
"""Addresses of an alias that are looked up in one turn of the reactor: a few milliseconds, where the database answers at once."""

MAX_DEPTH: Final = 100
"""Aliases of aliases on one way. People write three; a thousand would be a program's slip."""

log = Logger()


class Reached(NamedTuple):
    """A user whom an address means."""

    user: User
    address: Address
    """The address that the user was found by: that of the wire, or what an alias made of it."""


class _Step(NamedTuple):
    """An address that is still to be looked up."""

    address: Address
    ways: frozenset[Key] = frozenset()
    """The aliases that led to it."""
    target: Target | None = None
    """The last of these as it stands in the file; None: it is the wire's, or a catch-all's."""
    caught: bool = False
    """Whether it is somebody's catch-all, so that no other may catch it."""


class Recipients:
    """Looks addresses up. `catch_all` has a user's address by domain."""

    def __init__(self, users: IUsers, naming: Names, aliases: Aliases, catch_all: Mapping[str, str]) -> None:
        self._users = users
        self._naming = naming
        self.aliases = aliases
        self._catch_all = {folded(domain): user for domain, user in catch_all.items()}
        self._noted: tuple[AliasTable, set[Target]] = (AliasTable(), set())

    def find(self, octets: bytes) -> Deferred[Sequence[Reached]]:
        """The users whom a path means, each once. Errors: UnknownRecipient, AliasLoop, TemporaryFailure; faults.

        Where some of an alias's targets are nobody, the others are meant. Where one cannot be looked up, nobody is.
        """
        return Deferred.fromCoroutine(self._find(octets))

    async def _find(self, octets: bytes) -> Sequence[Reached]:
        address = read_address(octets)
        if address is None:
            raise UnknownRecipient
        return await _Search(self, await self.aliases.table()).run(address)

    async def user(self, address: Address) -> User | None:
        """The user whom the rules for names read in an address. Errors: TemporaryFailure, also for one who cannot be served."""
        names = (self._naming.read(text) for text in (address.text, folded(address.text)))
        for name in dict.fromkeys(names):
            user = None if name is None else await self._users.lookup(name)
            if user is not None and user.unserved:
                log.error(
                    "mail for {user} waits at its sender, because the maildrop cannot be served: {reason}",
                    event="delivery.unserved",
                    user=user.name,
                    reason=user.unserved,
                )
                raise TemporaryFailure
            if user is not None:
                return user
        return None

    def keys(self, address: Address) -> Iterator[Key]:
        """The left sides of aliases for an address, in their order."""
        locals_ = dict.fromkeys((address.local, self._naming.untagged(address.local)))
        for domain in dict.fromkeys((address.domain, "" if self._is_local(address.domain) else address.domain)):
            yield from (key_of(Address(local, domain)) for local in locals_)

    def catcher(self, address: Address) -> Address | None:
        """Who gets the mail of the address's domain that nobody else gets."""
        user = self._catch_all.get(self.domain_of(address))
        return None if user is None else parse_address(user) or Address(user)

    def domain_of(self, address: Address) -> str:
        """The domain of an address, also of one that names none."""
        return address.domain or self._naming.default_domain or next(iter(self._naming.local_domains), "")

    def note(self, table: AliasTable, target: Target) -> None:
        """Log that a target of an alias is nobody here, once for each reading of the file."""
        if self._noted[0] is not table:
            self._noted = table, set()
        if target not in self._noted[1]:
            self._noted[1].add(target)
            log.warn(
                "{path}:{line}: nobody here is {target}, and mail is sent to no other server; the alias's other targets count",
                event="delivery.aliases.target",
                path=self.aliases.path,
                line=target.line,
                target=target.address.text,
            )

    def _is_local(self, domain: str) -> bool:
        return domain in ("", self._naming.default_domain, *self._naming.local_domains)


class _Search:
    """One address on its way to its users: breadth first, so that no depth of aliases is too deep."""

    def __init__(self, recipients: Recipients, table: AliasTable) -> None:
        self._recipients = recipients
        self._table = table
        self._waiting: deque[_Step] = deque()
        self._expanded: dict[Key, set[Key]] = {}  # each with those that have led to it
        self._cut: list[tuple[_Step, Key]] = []  # what has led to an expanded one once more
        self._found: dict[tuple[object, ...], Reached] = {}
        self._targets = 0
        self._is_loop = False

    async def run(self, address: Address) -> Sequence[Reached]:
        self._waiting.append(_Step(address))
        for number in count(1):
            await self._take(self._waiting.popleft())
            if not self._waiting and not self._again():
                break
            if number % AT_A_TIME == 0:
                await self._recipients.aliases.turn()
        if not self._found:
            raise AliasLoop if self._is_loop else UnknownRecipient
        return tuple(self._found.values())

    async def _take(self, step: _Step) -> None:
        if not (step.target and step.target.final):
            key = next((key for key in self._recipients.keys(step.address) if key in self._table.entries), None)
            if key is not None and key not in step.ways:
                self._expand(step, key)
                return
        user = await self._recipients.user(step.address)
        if user is not None:
            self._found.setdefault((user.name, user.account), Reached(user, step.address))
        elif not self._catch(step):
            self._lost(step)

    def _expand(self, step: _Step, key: Key) -> None:
        """Go on with an alias's targets. An alias that has been gone through has given all that it gives, but for loops."""
        if key in self._expanded:
            self._expanded[key] |= step.ways
            self._cut.append((step, key))
            return
        self._expanded[key] = set(step.ways)
        targets = self._table.entries[key]
        self._targets += len(targets)
        if self._targets > MAX_TARGETS or len(step.ways) >= MAX_DEPTH:
            log.error(
                "{path}: at {alias} an address stands for more than {targets} others, or leads through more than {depth} aliases, so its "
                "mail waits at its sender",
                event="delivery.aliases.too_many",
                path=self._recipients.aliases.path,
                alias=step.address.text,
                targets=MAX_TARGETS,
                depth=MAX_DEPTH,
            )
            raise TemporaryFailure
        ways = step.ways | {key}
        self._waiting.extend(_Step(target.address, ways, target, step.caught) for target in targets)

    def _again(self) -> bool:
        """Whether steps were cut that lead round in a loop: they mean their users, as if each way had been gone alone."""
        cut, self._cut = self._cut, []
        self._waiting.extend(step._replace(ways=step.ways | {key}) for step, key in cut if self._leads_back(key))
        return bool(self._waiting)

    def _leads_back(self, key: Key) -> bool:
        seen, waiting = set[Key](), [key]
        while waiting:
            before = self._expanded[waiting.pop()] - seen
            seen |= before
            waiting += before
        return key in seen

    def _catch(self, step: _Step) -> bool:
        """Whether the domain has somebody for the addresses of nobody."""
        rest = ("", self._recipients.domain_of(step.address))
        if rest in self._table.entries and rest not in step.ways:
            self._expand(step, rest)
            return True
        catcher = None if step.caught else self._recipients.catcher(step.address)
        if catcher is not None:
            self._waiting.append(_Step(catcher, step.ways, step.target, caught=True))
        return catcher is not None

    def _lost(self, step: _Step) -> None:
        """Nobody is meant by this address."""
        if step.caught and not step.target:
            log.error(
                "delivery.catch_all: nobody is {user}, so the mail for the domain's unknown addresses waits at its sender",
                event="delivery.catch_all",
                user=step.address.text,
            )
            raise TemporaryFailure
        if any(key in step.ways for key in self._recipients.keys(step.address)):
            self._is_loop = True
        elif step.target is not None:
            self._recipients.note(self._table, step.target)
