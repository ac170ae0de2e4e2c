from __future__ import annotations

import pytest

from mailserver.auth.ldap.ber import Malformed, element, elements, frame, integer
from mailserver.auth.ldap.filters import FilterError, check_template, escaped, filled, given, read_filter

ALICE = given("alice@example.org")


def test_a_filter_is_encoded_as_the_rfc_has_it() -> None:
    for text, octets in {
        "(uid={user})": "a318 0403756964 0411616c696365406578616d706c652e6f7267",
        "(uid={local})": "a30c 0403756964 0405616c696365",
        "(uid=*)": "8703756964",
        "(uid=a*b*c)": "a410 0403756964 3009 800161 810162 820163",
        "(&(a=1)(b=2))": "a010 a306 040161 040131 a306 040162 040132",
        "(|(a=1))": "a108 a306 040161 040131",
        "(!(a=1))": "a208 a306 040161 040131",
        "(a>=1)": "a506 040161 040131",
        "(a<=1)": "a606 040161 040131",
        "(a~=1)": "a806 040161 040131",
        r"(a=\2a\00)": "a307 040161 04022a00",
        "(a=)": "a305 040161 0400",
        "(a:1.2:=x)": "a90b 8103312e32 820161 830178",
        "(a:=x)": "a906 820161 830178",
        "(a:dn:=x)": "a909 820161 830178 8401ff",
    }.items():
        assert read_filter(text).encode(ALICE).hex() == octets.replace(" ", ""), text


def test_what_is_no_filter_is_told_in_words() -> None:
    for text, words in {
        "": "in parentheses",
        "uid={user}": "in parentheses",
        "(uid={user}": "written as in",
        "(uid={user}))": "behind the last",
        "(&)": "no condition",
        "(!(a=1)(b=2))": "more than one",
        "(&(a=1)": "not closed",
        "(a b=1)": "is no attribute",
        "(=x)": "is no attribute",
        "(a=***)": "only asterisks",
        "(a={usr})": 'did you mean "user"',
        "(a=\\zz)": r"written as \\5c",
        "(a=x\0)": r"written as \\00",
        "(a:b:c:=x)": "matching rule",
        "(a:b=x)": "matching rule",
        "(&" * 30 + ")" * 30: "too many parentheses|in parentheses|no condition",
        "(!" * 30 + "(a=b)" + ")" * 30: "too many parentheses",
    }.items():
        with pytest.raises(FilterError, match=words):
            read_filter(text)


def test_names_are_escaped_in_a_dn_and_only_there() -> None:
    for value, text in {
        'a,b+c"d\\e<f>g;h=i': '\\a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h\\=i'[1:],
        " a ": "\\ a\\ ",
        "#a#": "\\#a#",
        "a\0": "a\\00",
        " ": "\\ ",
        "jörg": "jörg",
    }.items():
        assert escaped(value) == text
        assert filled("uid={user},dc=x", given(value)) == f"uid={text},dc=x"
    assert filled("{user}@ad.example.org", given("a,b")) == "a,b@ad.example.org"
    assert filled("uid={local},dc={domain}", ALICE) == "uid=alice,dc=example.org"
    assert filled("uid={user},dc=x", given("{local}")) == "uid={local},dc=x"


def test_a_template_needs_the_user() -> None:
    check_template("uid={user},dc=x")
    for text in ("uid=alice", "{domain}", "uid={usr}"):
        with pytest.raises(FilterError):
            check_template(text)


def test_lengths_are_read_as_they_are_written() -> None:
    for size in (0, 1, 127, 128, 255, 256, 65536):
        octets = element(0x30, b"x" * size)
        assert frame(octets, 100_000) == len(octets)
        assert list(elements(octets)) == [(0x30, b"x" * size)]
        assert frame(octets[:1], 100_000) is None
    for value, text in ((0, "020100"), (127, "02017f"), (128, "02020080"), (65536, "0203010000")):
        assert integer(value).hex() == text


def test_what_is_no_ber_is_malformed() -> None:
    for octets in (b"\x30\x05abc", b"\x30\x80", b"\x30\x84\1\1\1\1", b"\x30", b"\x30\x82\1"):
        with pytest.raises(Malformed):
            list(elements(octets))
    with pytest.raises(Malformed):
        frame(element(0x30, b"x" * 100), 100)
