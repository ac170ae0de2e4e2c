from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.auth import MailboxRealm, make_portal
from mailserver.auth.identities import Acting
from mailserver.errors import MaildropInUse, PermanentFailure
from mailserver.interfaces import TERMS, IMaildrop, IUsers, Mind, Terms, User, UserId
from mailserver.refusals import login_refused
from tests.auth.kerberos.realms import HomeStore, Maildrop, Store
from tests.auth.test_chain import ALICE, Answers

MIND = Mind("192.0.2.1", tls=True, listener="pop3s")


@implementer(IUsers)
class Knows:
    """A user directory."""

    def __init__(self, *users: User) -> None:
        self.users = {user.name: user for user in users}

    def lookup(self, name: str) -> Deferred[User | None]:
        return succeed(self.users.get(name))


class MailboxRealmTests(TestCase):
    def avatar(self, realm: MailboxRealm, avatar_id: Any = b"alice", mind: object = MIND) -> Deferred[Any]:
        return realm.requestAvatar(avatar_id, mind, IMaildrop, IMailboxPOP3)

    def test_it_provides_its_interface(self) -> None:
        verifyObject(IRealm, MailboxRealm(Store()))

    def test_the_avatar_is_the_users_maildrop_and_its_release_the_logout(self) -> None:
        store, alice = Store(), User("alice", home="/home/alice")
        interface, maildrop, logout = self.successResultOf(self.avatar(MailboxRealm(store, [Knows(alice)])))
        assert interface is IMaildrop
        assert isinstance(maildrop, Maildrop)
        logout()
        assert maildrop.released == 1
        assert store.opened == [(alice, "pop3s 192.0.2.1")]

    def test_a_portal_leads_from_credentials_to_the_maildrop(self) -> None:
        portal = make_portal(MailboxRealm(Store()), [Answers(b"alice")])
        assert self.successResultOf(portal.login(ALICE, MIND, IMaildrop))[0] is IMaildrop

    def test_the_first_directory_that_knows_the_user_counts(self) -> None:
        store, here = Store(), User("alice", home="/here")
        users = [object(), Knows(), Knows(here), Knows(User("alice", home="/there"))]
        self.successResultOf(self.avatar(MailboxRealm(store, users)))
        assert store.opened[0][0] == here

    def test_without_a_directory_the_name_must_do(self) -> None:
        store = Store()
        self.successResultOf(self.avatar(MailboxRealm(store)))
        self.successResultOf(self.avatar(MailboxRealm(store), "text from a foreign checker"))
        assert [user for user, _ in store.opened] == [User("alice"), User("text from a foreign checker")]

    def test_a_store_that_needs_a_home_is_not_asked_without_one(self) -> None:
        store = HomeStore()
        for users in ([], [Knows(User("alice"))]):
            with capturedLogs() as events:
                self.failureResultOf(self.avatar(MailboxRealm(store, users)), PermanentFailure)
            assert "write it into the sixth field" in formatEvent(events[0])
            assert "{user} in the URL" in formatEvent(events[0])
        assert store.opened == []

    def test_a_mail_location_of_his_own_spares_him_a_home(self) -> None:
        store, alice = HomeStore(), User("alice", mail="maildir:/srv/alice")
        self.successResultOf(self.avatar(MailboxRealm(store, [Knows(alice)])))
        assert store.opened[0][0] == alice

    def test_what_is_no_name_never_reaches_the_store(self) -> None:
        store = Store()
        for avatar_id in (ANONYMOUS, b"", "", b"../alice", b"a/b", b"a\0b", b"\xff", "\udcff", b"x" * 256, None, 7):
            self.failureResultOf(self.avatar(MailboxRealm(store), avatar_id), UnauthorizedLogin)
        assert store.opened == []

    def test_nor_does_what_a_directory_makes_of_a_name(self) -> None:
        store, users = Store(), Knows()
        users.users["alice"] = User("../../root")
        self.failureResultOf(self.avatar(MailboxRealm(store, [users])), UnauthorizedLogin)
        assert store.opened == []

    def test_the_stores_errors_are_the_logins(self) -> None:
        self.failureResultOf(self.avatar(MailboxRealm(Store(MaildropInUse("pid 1")))), MaildropInUse)

    def test_other_avatars_are_not_to_be_had(self) -> None:
        self.failureResultOf(MailboxRealm(Store()).requestAvatar(b"alice", MIND, IMailboxPOP3), NotImplementedError)

    def test_a_user_with_networks_logs_in_from_these_alone(self) -> None:
        networks = tuple(ip_network(each) for each in ("192.0.2.0/24", "2001:db8::/32", "::1/128"))
        store = Store()
        realm = MailboxRealm(store, [Knows(User("alice", networks=networks))])
        for peer, allowed in {
            "192.0.2.77": True,
            "2001:db8::1": True,
            "": True,  # over a Unix socket: counts as loopback
            "192.0.3.1": False,
            "2001:db9::1": False,
            "fe80::1%eth0": False,
        }.items():
            login = self.avatar(realm, mind=Mind(peer, tls=False, listener="pop3"))
            if allowed:
                self.successResultOf(login)
            else:
                why = login_refused(self.failureResultOf(login, UnauthorizedLogin).value)
                told = "allow_nets of 'alice' is 192.0.2.0/24,2001:db8::/32,::1/128"
                assert (why.reason, why.hint) == ("not from this address", told)

    def test_a_unix_socket_is_not_any_network(self) -> None:
        realm = MailboxRealm(Store(), [Knows(User("alice", networks=(ip_network("192.0.2.0/24"),)))])
        self.failureResultOf(self.avatar(realm, mind=Mind("", tls=False, listener="pop3")), UnauthorizedLogin)

    def test_a_peer_that_nobody_names_is_in_no_network(self) -> None:
        everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
        realm = MailboxRealm(Store(), [Knows(User("alice", networks=everywhere))])
        self.failureResultOf(self.avatar(realm, mind=None), UnauthorizedLogin)
        self.successResultOf(self.avatar(MailboxRealm(Store()), mind=None))

    def test_a_user_with_listeners_logs_in_by_these_alone(self) -> None:
        for listeners, allowed in {
            "pop3s": {("pop3s", True)},
            "pop3 kpop": {("pop3", False), ("pop3", True), ("kpop", False)},
            "tls": {("pop3", True), ("pop3s", True)},
            "pop3+tls": {("pop3", True)},
            "none": set(),
        }.items():
            realm = MailboxRealm(Store(), [Knows(User("alice", listeners=frozenset(listeners.split())))])
            for listener, tls in (("pop3", False), ("pop3", True), ("pop3s", True), ("kpop", False)):
                login = self.avatar(realm, mind=Mind("192.0.2.1", tls=tls, listener=listener))
                if (listener, tls) in allowed:
                    self.successResultOf(login)
                else:
                    why = login_refused(self.failureResultOf(login, UnauthorizedLogin).value)
                    assert why.reason == "not by this listener"
                    assert why.hint == f"'alice' is for {','.join(sorted(listeners.split()))}"
            self.failureResultOf(self.avatar(realm, mind=None), UnauthorizedLogin)

    def test_an_app_password_restricts_whoever_has_read_the_user(self) -> None:
        proved = UserId(b"alice", User("alice", secret="phone", listeners=frozenset({"pop3s"})))
        realm = MailboxRealm(Store(), [Knows(User("alice", read_only=True))])
        mind = Mind("192.0.2.1", tls=True, listener="pop3s")
        self.successResultOf(self.avatar(realm, proved, mind))
        assert mind.terms == Terms(read_only=True, secret="phone")
        login = self.avatar(realm, proved, Mind("192.0.2.1", tls=False, listener="pop3"))
        why = login_refused(self.failureResultOf(login, UnauthorizedLogin).value)
        assert why.hint == "the app password 'phone' of 'alice' is for pop3s"

    def test_a_master_acts_by_a_secret_of_its_own(self) -> None:
        root = UserId(b"root", User("root", secret="desk", listeners=frozenset({"pop3s"})))
        realm = MailboxRealm(Store(), [Knows(User("alice", expire_days=3), User("root"))])
        mind = Mind("192.0.2.1", tls=True, listener="pop3s")
        self.successResultOf(self.avatar(realm, Acting("alice", "root", None, root), mind))
        assert mind.terms == Terms(expire_days=3, secret="desk")
        outside = Mind("192.0.2.1", tls=False, listener="pop3")
        self.failureResultOf(self.avatar(realm, Acting("alice", "root", None, root), outside), UnauthorizedLogin)

    def test_a_master_who_may_delete_nothing_may_not_do_it_for_others(self) -> None:
        realm = MailboxRealm(Store(), [Knows(User("alice"), User("bob", read_only=True), User("root", read_only=True))])
        for user in ("alice", "bob"):
            mind = Mind("192.0.2.1", tls=True, listener="pop3s")
            self.successResultOf(self.avatar(realm, Acting(user, "root"), mind))
            assert mind.terms == Terms(read_only=True)

    def test_nearly_all_users_share_their_terms(self) -> None:
        mind = Mind("192.0.2.1", tls=True, listener="pop3s")
        self.successResultOf(self.avatar(MailboxRealm(Store(), [Knows(User("alice", home="/home/alice"))]), mind=mind))
        assert mind.terms is TERMS
        slow = User("alice", login_delay=60)
        self.successResultOf(self.avatar(MailboxRealm(Store(), [Knows(slow)]), mind=mind))
        assert mind.terms == Terms(login_delay=60)
