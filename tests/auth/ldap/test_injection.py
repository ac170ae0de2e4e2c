"""No name does anything in a filter or a DN but be compared."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from mailserver.auth.ldap import questions
from mailserver.auth.ldap.filters import Filter, escaped, filled, read_filter
from mailserver.auth.ldap.filters import given as given_by
from mailserver.credentials import Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import UserId
from mailserver.names import EXAMPLES, user_name
from tests.auth.ldap.checkers import BIND, COMPARE, SEARCH, CheckerOf
from tests.auth.ldap.slapd import SUFFIX, person
from tests.auth.sql.test_injection import NAMES as OF_SQL

NAMES: Final = (
    *("*", "a*", "*e", "al*ce", "**", "*)(uid=*", "*)(uid=*))(|(uid=*", "alice)(uid=alice", "alice))(|(objectClass=*"),
    *("(", ")", "()", "(uid=alice)", "|(uid=alice)", "!(uid=x)", "&", "*)(objectClass=*)", "alice)(&", "x)(!(uid=x"),
    *("\\", "\\2a", "\\2A", "\\00", "\\61lice", "\\c3\\a9", "alice\\", "\\*", "\\5c2a", "\\zz", "alice\\2c"),
    *(
        "alice,ou=x",
        "alice,dc=example",
        "alice+cn=x",
        'alice"',
        "alice;x",
        "<alice>",
        "#alice",
        "#616c696365",
        " alice",
    ),
    *("alice ", "alice=", "uid=alice", "=", ",", "+", "alice\\,dc=x", "alice\\20", "al  ice", "CN=alice", "ALICE"),
    *("\0", "alice\0", "\0alice", "alice\r\nuid: bob", "\n", "\x7f", "alice\u200b", "\uff0a", "\uff08uid=\uff0a\uff09"),
    *("{user}", "{local}", "{}", "{0}", "%s", "user@", "@", "alice@*", "*@example.org", "alice@)(uid=*", "a" * 300),
    *OF_SQL,
)
"""What a filter, a DN or a template could take for more than a name."""

TYPED: Final = tuple(example.typed for example in EXAMPLES)


def octets(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


class InjectionTests(CheckerOf, TestCase):
    def people(self) -> str:
        base = self.slapd.people({})
        for name in ("alice", "bob"):
            self.slapd.add(person(base, name, b"sesame", dn=f"uid={name},{base}"))
        return base

    async def found(self, checker: Any, name: str | bytes) -> bytes | None:
        """Who logs in by a name and alice's password."""
        try:
            answer: bytes = await checker.requestAvatarId(Password(octets(name), b"sesame"))
        except LoginRefused:
            return None
        return bytes(answer)

    async def test_nobody_is_found_by_any_of_them(self) -> None:
        base = self.people()
        for text in (SEARCH, COMPARE, BIND.replace("employeeNumber", "uid")):
            checker = self.configured(base, settings=text)
            for name in (*NAMES, *TYPED):
                assert await self.found(checker, name) in (None, octets(name) if name in ("alice", "bob") else None), (
                    name
                )
                readable = user_name(name)
                if readable not in (None, "alice", "bob") and text is not BIND and "bind_as" not in text:
                    assert await checker.lookup(readable) is None
            assert await self.found(checker, "alice") == b"alice"

    async def test_who_has_such_a_name_is_found_by_it_alone(self) -> None:
        names = [each for each in dict.fromkeys(map(user_name, NAMES)) if each and each == each.strip()]
        folded = {"".join(unicodedata.normalize("NFKC", name).casefold().split()): name for name in names}
        base = self.slapd.people({name.encode(): f"of {name}".encode() for name in folded.values()})
        checker = self.configured(base)
        for name in folded.values():
            answer = await checker.requestAvatarId(Password(name.encode(), f"of {name}".encode()))
            assert isinstance(answer, UserId)
            assert (bytes(answer), answer.user.name) == (name.encode(), name)

    async def test_who_has_such_a_name_binds_by_it_alone(self) -> None:
        base = self.slapd.people({})
        names = ["a,b", "a+b", 'a"b', "a\\b", "a<b>c", "a;b", "#a", "a=b", "a b", "*", "a)(b", "ü,ö", "\\2a", "a#"]
        for name in names:
            self.slapd.add(person(base, name, f"of {name}".encode(), dn=f"uid={escaped(name)},{base}"))
        checker = self.configured(base, settings=BIND.replace("employeeNumber", "uid"))
        for name in names:
            assert await checker.requestAvatarId(Password(name.encode(), f"of {name}".encode())) == name.encode()

    async def test_a_filter_that_pastes_is_caught(self) -> None:
        """The mutant: the name becomes text of the filter, before it is parsed."""

        def pasting(text: str) -> Filter:
            return Filter(
                lambda values: read_filter(text.replace("{user}", values["user"])).encode(values), frozenset()
            )

        checker = self.configured(self.people())
        site: Any = checker._running._site
        object.__setattr__(site, "filter", pasting("(uid={user})"))
        for name in ("*ce", "al*ce", "\\61lice"):
            assert await checker.requestAvatarId(Password(name.encode(), b"sesame")) == b"alice"

    async def test_a_template_that_pastes_is_caught(self) -> None:
        """The mutant: the name becomes text of the DN, and another attribute of its own name."""
        base = self.people()
        name = f"alice,{base}"
        template = f"uid={{user}},{SUFFIX}"
        plain = template.replace("{user}", name.removesuffix(f",{SUFFIX}"))
        assert plain == f"uid=alice,{base}"
        assert filled(template, given_by(name.removesuffix(f",{SUFFIX}"))) != plain
        checker = self.configured(SUFFIX, settings=BIND.replace("employeeNumber", "uid"))
        typed = Password(name.removesuffix(f",{SUFFIX}").encode(), b"sesame")
        with pytest.raises(LoginRefused) as refused:
            await checker.requestAvatarId(typed)
        assert refused.value.reason == "wrong password"
        self.patch(questions, "filled", lambda text, values: text.replace("{user}", values["user"]))  # type: ignore[no-untyped-call]  # trial's
        self.patch(  # type: ignore[no-untyped-call]  # trial's
            __import__("mailserver.auth.ldap.checker", fromlist=["filled"]),
            "filled",
            lambda text, values: text.replace("{user}", values["user"]),
        )
        assert await checker.requestAvatarId(typed) == b"alice"

    def test_any_text_is_only_compared(self) -> None:
        encode = read_filter("(uid={user})").encode
        expected = encode({"user": "", "local": "", "domain": ""})

        @settings(deadline=None)
        @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
        def check(name: str) -> None:
            value = name.encode()
            whole = encode(given_by(name))
            assert whole.endswith(value)
            assert whole[: len(whole) - len(value)].replace(expected[:1], b"", 1).startswith(whole[1:2])

        check()
