"""A user whom an answer carries is the one whom a lookup would find, whatever the checkers are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import alsoProvides, implementer

from mailserver.auth import Accounts, MailboxRealm, Users, make_portal
from mailserver.credentials import ActingFor, Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import IMaildrop, IUsers, Mind, User, UserId
from mailserver.names import Names
from tests.auth.kerberos.realms import Store

NAMES = Names(accounts={"vision25": "vision25.example.org"})
TYPED = ("alice", "root", "vision25", "john@vision25", "mary@vision25")
MIND = Mind("192.0.2.1", tls=True, listener="pop3s")


@dataclass(frozen=True)
class Database:
    """What a checker is like."""

    users: dict[str, tuple[User, bytes]]
    """Each with the password."""
    aliases: dict[str, str]
    """Other names, by which it knows some of them."""
    knows: bool
    """Whether it provides `IUsers`."""
    says: bool
    """Whether it says that a user is unknown."""


@implementer(ICredentialsChecker)
class Checker:
    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, database: Database, place: int, *, carries: bool) -> None:
        self.users = {
            name: (replace(user, home=f"/{place}/{name}"), password)
            for name, (user, password) in database.users.items()
        }
        self.aliases = database.aliases
        self.unknown = False if database.says else None
        self.carries = carries
        if database.knows:
            alsoProvides(self, IUsers)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        typed = credentials.username.decode()
        name = self.aliases.get(typed, typed)
        user, password = self.users.get(name, (None, b""))
        if user is None or password != credentials.password:
            return fail(LoginRefused("no", known=True if typed in self.users else self.unknown))
        return succeed(UserId(name.encode(), user) if self.carries else name.encode())

    def lookup(self, name: str) -> Deferred[User | None]:
        return succeed(self.users.get(name, (None, b""))[0])


def outcome(checkers: list[Checker], credentials: Any, *, accounts: bool) -> User | str:
    """The user whose maildrop is opened, or the refusal."""
    store, outcomes = Store(), []
    users = Accounts(NAMES, checkers) if accounts else Users(checkers)
    portal = make_portal(MailboxRealm(store, users), users, ["root"])
    portal.login(credentials, MIND, IMaildrop).addBoth(outcomes.append)
    return store.opened[0][0] if store.opened else type(outcomes[0].value).__name__


NAME = st.sampled_from(TYPED)
PASSWORD = st.sampled_from([b"x", b"y"])
USER = st.builds(
    lambda denied, networks: User("", denied=denied, networks=networks),
    st.sampled_from(["", "", "denied"]),
    st.sampled_from([(), (), (ip_network("198.51.100.0/24"),)]),
)
DATABASE = st.builds(
    lambda users, *rest: Database(
        {name: (replace(user, name=name), word) for name, (user, word) in users.items()}, *rest
    ),
    st.dictionaries(NAME, st.tuples(USER, PASSWORD)),
    st.dictionaries(NAME, NAME, max_size=2),
    st.booleans(),
    st.booleans(),
)


@settings(deadline=None, max_examples=400)
@given(st.lists(DATABASE, min_size=1, max_size=3), NAME, PASSWORD, st.booleans(), st.booleans())
def test_it_makes_no_difference_whether_the_checkers_answer_with_users(
    databases: list[Database], name: str, password: bytes, acting: bool, accounts: bool
) -> None:
    credentials: Any = Password(b"root" if acting else name.encode(), password)
    if acting:
        credentials = ActingFor(credentials, name.encode())
    carried, looked_up = (
        outcome(
            [Checker(each, place, carries=carries) for place, each in enumerate(databases)],
            credentials,
            accounts=accounts,
        )
        for carries in (True, False)
    )
    assert carried == looked_up
