"""Which users an address means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from mailserver.delivery import recipients
from mailserver.delivery.aliases import Aliases
from mailserver.delivery.recipients import Recipients
from mailserver.errors import TemporaryFailure
from mailserver.interfaces import User
from mailserver.names import Names
from mailserver.smtp_errors import AliasLoop, UnknownRecipient
from tests.delivery.room import Hosts, People

LOCAL = Names(local_domains=("example.org", "example.com"), tag_separators="+")


class RecipientCase(TestCase):
    naming = LOCAL

    async def asked(self, aliases: str = "", **options: Any) -> Recipients:
        """Recipients with some aliases."""
        made = Aliases(self.written(aliases) if aliases else "")
        await made.start(reactor)
        self.addCleanup(made.stop)
        options.setdefault("users", People(["alice", "bob", "carol", "root"]))
        options.setdefault("naming", self.naming)
        return Recipients(aliases=made, **{"catch_all": {}, **options})

    def written(self, aliases: str) -> str:
        file = Path(self.mktemp())
        file.write_text(aliases)
        return str(file)

    def changed(self, asked: Recipients, aliases: str) -> None:
        Path(asked.aliases.path).write_text(aliases)

    async def found(self, asked: Recipients, *addresses: bytes) -> list[str]:
        """For each address the names of its users, with spaces."""
        return [" ".join(reached.user.name for reached in await asked.find(address)) for address in addresses]


class UserTests(RecipientCase):
    async def test_an_address_is_its_user_s_by_the_rules_for_names(self) -> None:
        asked = await self.asked()
        found = await self.found(
            asked,
            b"alice@example.org",
            b"alice@EXAMPLE.com",
            b"alice",
            b'"alice"@example.org',
            b"alice+news@example.org",
        )
        assert found == ["alice"] * 5

    async def test_capitals_of_a_local_part_matter_only_where_a_user_has_them(self) -> None:
        asked = await self.asked(users=People(["Alice", "bob", "BOB"]))
        assert await self.found(asked, b"Alice@example.org", b"Bob@example.org", b"BOB@example.org") == [
            "Alice",
            "bob",
            "BOB",
        ]
        with pytest.raises(UnknownRecipient):
            await asked.find(b"alice@example.org")

    async def test_nobody_is_unknown(self) -> None:
        asked = await self.asked()
        for address in (
            b"dave@example.org",
            b"alice@example.net",
            b"../alice",
            b"",
            b"a/b@example.org",
            b"@example.org",
            b"j\xf6rg",
        ):
            with pytest.raises(UnknownRecipient):
                await asked.find(address)

    async def test_a_user_who_cannot_be_looked_up_now_is_not_unknown(self) -> None:
        users = People(["alice"])
        users.down.add("alice")
        asked = await self.asked(users=users)
        with pytest.raises(TemporaryFailure):
            await asked.find(b"alice@example.org")
        users.down.clear()
        assert await self.found(asked, b"alice@example.org") == ["alice"]

    async def test_a_user_who_may_not_log_in_gets_mail(self) -> None:
        asked = await self.asked(users=People(alice=User("alice", denied="disabled in the database")))
        assert await self.found(asked, b"alice@example.org") == ["alice"]

    async def test_mail_for_a_user_without_a_maildrop_that_can_be_served_waits(self) -> None:
        asked = await self.asked(users=People(alice=User("alice", unserved="mbox: is no store")))
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await asked.find(b"alice@example.org")
        assert [(each["event"], each["reason"]) for each in events] == [("delivery.unserved", "mbox: is no store")]

    async def test_an_address_in_utf_8_is_found_in_any_spelling(self) -> None:
        asked = await self.asked(users=People(["j\u00f6rg"]))
        assert await self.found(asked, "jo\u0308rg@example.org".encode()) == ["j\u00f6rg"]

    async def test_a_domain_that_is_no_local_one_is_part_of_the_name(self) -> None:
        asked = await self.asked(users=People(["alice@example.net"]))
        assert await self.found(asked, b"alice@example.net", b"Alice@Example.Net") == ["alice@example.net"] * 2


class AccountTests(RecipientCase):
    async def test_each_address_of_an_account_is_its_user_s(self) -> None:
        naming = Names(accounts={"vision25": "vision25.example.org"})
        asked = await self.asked(users=Hosts(naming), naming=naming)
        for address, user in {
            b"john@vision25.example.org": "john",
            b"John@vision25": "john",
            b"john+vision25": "john",
            b"vision25": None,
        }.items():
            (reached,) = await asked.find(address)
            assert reached.user.account is not None
            assert (reached.user.name, reached.user.account.user) == ("vision25", user)


class AliasTests(RecipientCase):
    async def test_an_alias_comes_before_a_user(self) -> None:
        asked = await self.asked("root: alice\n")
        assert await self.found(asked, b"root", b"ROOT@example.org") == ["alice", "alice"]

    async def test_an_alias_may_name_itself_and_means_its_user_then(self) -> None:
        asked = await self.asked("root: root, alice\n")
        assert await self.found(asked, b"root@example.org") == ["root alice"]

    async def test_a_local_name_is_no_alias_in_other_domains(self) -> None:
        asked = await self.asked("info: alice\n")
        with pytest.raises(UnknownRecipient):
            await asked.find(b"info@example.net")

    async def test_a_whole_address_comes_before_a_local_name(self) -> None:
        asked = await self.asked("info: alice\ninfo@example.com: bob\ninfo@example.net: carol\n")
        found = await self.found(asked, b"info@example.org", b"info@example.com", b"INFO@example.net")
        assert found == ["alice", "bob", "carol"]

    async def test_an_address_with_its_tag_comes_before_the_one_without(self) -> None:
        asked = await self.asked("bob+news: alice\nbob: carol\n")
        assert await self.found(asked, b"bob+news@example.org", b"bob+other@example.org") == ["alice", "carol"]

    async def test_aliases_lead_to_aliases_and_each_user_gets_it_once(self) -> None:
        asked = await self.asked("all: team, bob, lead\nteam: lead, carol\nlead: alice\n")
        assert await self.found(asked, b"all") == ["bob carol alice"]

    async def test_a_loop_is_cut(self) -> None:
        asked = await self.asked("a: b, alice\nb: c\nc: a, bob\n")
        assert await self.found(asked, b"a", b"b") == ["alice bob", "bob alice"]

    async def test_a_loop_with_nobody_in_it_is_refused(self) -> None:
        asked = await self.asked("a: b\nb: a\nself: self\n")
        for address in (b"a", b"self@example.org"):
            with pytest.raises(AliasLoop):
                await asked.find(address)

    async def test_a_user_whom_two_addresses_mean_is_found_once(self) -> None:
        asked = await self.asked("all: alice, alice@example.com, ALICE+x\n")
        assert await self.found(asked, b"all") == ["alice"]

    async def test_others_have_their_turns_while_an_alias_of_many_is_looked_up(self) -> None:
        asked = await self.asked(
            "all: " + ", ".join(f"u{number}" for number in range(10 * recipients.AT_A_TIME)) + ", bob\n"
        )
        turns = 0

        def turn() -> Deferred[None]:
            nonlocal turns
            turns += 1
            return succeed(None)

        self.patch(asked.aliases, "turn", turn)
        with capturedLogs():
            assert await self.found(asked, b"all") == ["bob"]
        assert turns == 10

    async def test_two_ways_into_a_loop_lose_nobody(self) -> None:
        asked = await self.asked("both: alice, bob\nalice: bob\nbob: alice\nall: both, carol\nno: x, y\nx: y\ny: x\n")
        assert await self.found(asked, b"alice", b"both", b"all") == ["alice", "bob alice", "carol bob alice"]
        with pytest.raises(AliasLoop):
            await asked.find(b"no")

    async def test_two_ways_to_an_alias_are_no_loop_and_do_not_mean_its_user(self) -> None:
        asked = await self.asked("all: a, b\na: alice\nb: alice\nalice: carol\n")
        assert await self.found(asked, b"all") == ["carol"]

    async def test_a_target_with_a_backslash_is_a_user_at_once(self) -> None:
        asked = await self.asked("bob: \\alice\nalice: carol\n")
        assert await self.found(asked, b"bob") == ["alice"]

    async def test_a_target_elsewhere_is_told_once_and_the_others_get_it(self) -> None:
        asked = await self.asked("all: alice@elsewhere.example,\n  bob\n")
        with capturedLogs() as events:
            assert await self.found(asked, b"all", b"all") == ["bob", "bob"]
        (event,) = events
        assert event["event"] == "delivery.aliases.target"
        assert formatEvent(event).partition(":")[2].startswith("1: nobody here is alice@elsewhere.example")

    async def test_it_is_told_again_when_the_file_was_read_again(self) -> None:
        asked = await self.asked("all: x@elsewhere.example, bob\n")
        with capturedLogs() as events:
            await asked.find(b"all")
            self.changed(asked, "all: x@elsewhere.example, bob\nothers: carol\n")
            await asked.find(b"all")
            await asked.find(b"all")
        assert [each["line"] for each in events] == [1, 1]

    async def test_an_alias_of_nobody_is_unknown_though_a_user_has_its_name(self) -> None:
        asked = await self.asked("bob: |program\ncarol: x@elsewhere.example\n")
        for address in (b"bob", b"carol"):
            with pytest.raises(UnknownRecipient):
                await asked.find(address)

    async def test_one_target_that_cannot_be_looked_up_delays_all(self) -> None:
        users = People(["alice", "bob"])
        users.down.add("bob")
        asked = await self.asked("all: alice, bob\n", users=users)
        with pytest.raises(TemporaryFailure):
            await asked.find(b"all")

    async def test_too_many_targets_wait_for_the_operator(self) -> None:
        self.patch(recipients, "MAX_TARGETS", 3)
        asked = await self.asked("few: alice, bob, carol\nmany: few, root\n")
        assert await self.found(asked, b"few") == ["alice bob carol"]
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await asked.find(b"many")
        assert [(each["event"], each["log_level"]) for each in events] == [
            ("delivery.aliases.too_many", LogLevel.error)
        ]

    async def test_an_alias_of_thousands_leaves_the_reactor_to_others_meanwhile(self) -> None:
        names = [f"user{number}" for number in range(recipients.MAX_TARGETS)]
        asked = await self.asked(f"all: {', '.join(names)}\n", users=People(names))
        found, turns = asked.find(b"all"), 0
        while not found.called:
            turns += 1
            await deferLater(reactor, 0, lambda: None)  # type: ignore[arg-type]
        assert turns > 50
        assert len(await found) == len(names)

    async def test_aliases_that_meet_again_and_again_are_gone_through_once(self) -> None:
        pairs = "".join(f"a{at}: b{at}, c{at}\nb{at}: a{at + 1}\nc{at}: a{at + 1}\n" for at in range(30))
        asked = await self.asked(pairs + "a30: alice\n")
        assert await self.found(asked, b"a0") == ["alice"]

    async def test_so_do_aliases_of_aliases_without_end(self) -> None:
        chain = "".join(f"a{number}: a{number + 1}\n" for number in range(recipients.MAX_DEPTH + 1))
        asked = await self.asked(chain + f"a{recipients.MAX_DEPTH + 1}: alice\n")
        assert await self.found(asked, b"a2") == ["alice"]
        with pytest.raises(TemporaryFailure):
            await asked.find(b"a0")


class DefaultDomainTests(RecipientCase):
    naming = Names(default_domain="example.org")

    async def test_local_aliases_are_those_of_the_default_domain(self) -> None:
        asked = await self.asked("postmaster: alice\n", users=People(["alice@example.org"]))
        found = await self.found(asked, b"postmaster", b"Postmaster@example.org", b"alice")
        assert found == ["alice@example.org"] * 3
        with pytest.raises(UnknownRecipient):
            await asked.find(b"postmaster@example.net")


class CatchAllTests(RecipientCase):
    async def test_unknown_addresses_of_a_domain_are_caught(self) -> None:
        asked = await self.asked(catch_all={"example.org": "alice", "example.net": "bob@example.com"})
        found = await self.found(asked, b"x@example.org", b"bob@example.org", b"x@EXAMPLE.net", b"bob@example.net")
        assert found == ["alice", "bob", "bob", "bob"]
        with pytest.raises(UnknownRecipient):
            await asked.find(b"x@example.com")

    async def test_postmaster_without_a_domain_is_caught_in_the_first_local_one(self) -> None:
        asked = await self.asked(catch_all={"example.org": "alice"})
        assert await self.found(asked, b"postmaster") == ["alice"]

    async def test_an_alias_of_a_domain_s_rest_comes_first(self) -> None:
        asked = await self.asked("@example.org: bob, carol\n", catch_all={"example.org": "alice"})
        assert await self.found(asked, b"x@example.org", b"alice@example.org") == ["bob carol", "alice"]

    async def test_an_alias_of_a_domain_s_rest_may_lead_into_the_domain(self) -> None:
        asked = await self.asked("@example.org: x@example.org, bob@example.org\n")
        with capturedLogs() as events:
            assert await self.found(asked, b"y@example.org") == ["bob"]
        assert [(each["event"], each["target"]) for each in events] == [("delivery.aliases.target", "x@example.org")]
        asked = await self.asked("@example.org: x@example.org\n")
        with pytest.raises(UnknownRecipient):
            await asked.find(b"y@example.org")

    async def test_nobody_is_caught_whose_database_is_down(self) -> None:
        users = People(["alice"])
        users.down.add("bob")
        asked = await self.asked(users=users, catch_all={"example.org": "alice"})
        with pytest.raises(TemporaryFailure):
            await asked.find(b"bob@example.org")

    async def test_postmaster_without_a_domain_is_caught_in_the_default_one(self) -> None:
        asked = await self.asked(
            users=People(["alice"]), naming=Names(default_domain="example.net"), catch_all={"example.net": "bob"}
        )
        with pytest.raises(TemporaryFailure):  # bob@example.net is nobody
            await asked.find(b"postmaster")
        users = People(["alice@example.net"])
        asked = await self.asked(
            users=users, naming=Names(default_domain="example.net"), catch_all={"example.net": "alice"}
        )
        assert await self.found(asked, b"postmaster") == ["alice@example.net"]

    async def test_a_catch_all_can_be_an_alias_with_a_target_of_nobody(self) -> None:
        asked = await self.asked("box: alice, gone@example.org\n", catch_all={"example.org": "box"})
        with capturedLogs() as events:
            assert await self.found(asked, b"x@example.org") == ["alice"]
        assert [(each["event"], each["target"]) for each in events] == [("delivery.aliases.target", "gone@example.org")]

    async def test_a_catch_all_of_nobody_keeps_the_mail_waiting_and_tells_the_operator(self) -> None:
        asked = await self.asked(catch_all={"example.org": "nobody@example.org"})
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await asked.find(b"x@example.org")
        assert [each["event"] for each in events] == ["delivery.catch_all"]
