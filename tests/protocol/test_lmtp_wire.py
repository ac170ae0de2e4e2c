"""Replies and xtext, and the paths of MAIL and RCPT, by properties."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.errors import NoRoom, TemporaryFailure
from mailserver.protocol.lmtp_paths import forward_path, reverse_path
from mailserver.protocol.lmtp_wire import farewell, from_xtext, has_controls, multiline, refusal_reply
from mailserver.smtp_errors import BadAddress
from tests.protocol.oracle import thorough

PRINTABLE = st.binary().map(lambda octets: octets.translate(None, bytes([*range(32), 127])))


def xtext(octets):
    """RFC 3461 section 4: what is no visible ASCII, and + and =, in hexadecimal digits."""
    return b"".join(bytes([o]) if 33 <= o <= 126 and o not in b"+=" else b"+%02X" % o for o in octets)


@thorough
@given(PRINTABLE)
def test_xtext_is_read_as_it_was_written(octets):
    assert from_xtext(xtext(octets)) == octets


@thorough
@given(st.binary(min_size=1))
def test_nothing_comes_out_of_xtext_that_could_break_a_line(text):
    try:
        decoded = from_xtext(text)
    except ValueError:
        return
    assert not re.search(rb"[\x00-\x1f\x7f]", decoded)


@pytest.mark.parametrize(
    "text", [b"+", b"a+", b"+2", b"+2b", b"+ZZ", b"=", b"a=20", b"+0A", b"+7F", b"+00", b"a\nb", b"=\n"]
)
def test_what_is_no_xtext_is_refused(text):
    with pytest.raises(ValueError, match="xtext"):
        from_xtext(text)


@given(st.binary())
def test_a_control_character_is_seen_wherever_it_stands(text):
    assert has_controls(text) is bool(re.search(rb"[\x00-\x1f\x7f]", text))


def test_a_reply_of_many_lines_has_its_code_in_each():
    assert multiline(b"250", [b"a", b"b", b"c"]) == b"250-a\r\n250-b\r\n250 c\r\n"
    assert multiline(b"250", [b"a"]) == b"250 a\r\n"


def test_a_refusal_is_told_with_both_its_codes_and_as_a_farewell_by_421():
    assert refusal_reply(TemporaryFailure(b"%d wait", 3)) == b"451 4.3.0 3 wait\r\n"
    assert farewell(TemporaryFailure()) == b"421 4.3.0 temporary failure, please try again later\r\n"
    assert farewell(NoRoom()).startswith(b"421 4.3.1 ")


def quoted(local):
    return b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", local)


LOCAL = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.encode)
DOMAIN = st.sampled_from(
    [
        b"example.org",
        b"EXAMPLE.org",
        b"a",
        b"[192.0.2.1]",
        b"[IPv6:2001:db8::1]",
        b"xn--nxasmq6b.example",
        "bücher.example".encode(),
    ]
)


@thorough
@given(local=LOCAL, domain=DOMAIN, every=st.booleans())
def test_a_quoted_local_part_is_that_which_it_names(local, domain, every):
    """RFC 5321 section 4.1.2: with backslashes where they must be or before every character, it is the same address."""
    written = b'"%b"' % re.sub(rb"(.)", rb"\\\1", local) if every else quoted(local)
    path, rest = forward_path(b"<%b@%b> SIZE=1" % (written, domain))
    assert rest == b"SIZE=1"
    read, _, host = path.rpartition(b"@")
    assert host == domain
    plain = (
        re.fullmatch(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+", local) and b".." not in local and local.strip(b".") == local
    )
    assert read == (local if plain else quoted(local))
    assert reverse_path(b"<%b>" % path) == (path, b""), "and once read, it is read the same again"


@thorough
@given(
    st.lists(
        st.sampled_from([b"<", b">", b"@", b'"', b"\\", b".", b",", b":", b" ", b"a", b"[", b"]", b"b.c", b"\xc3\xb6"])
    ).map(b"".join)
)
def test_a_path_is_read_in_one_way_or_refused(text):
    try:
        path, rest = forward_path(text)
    except BadAddress:
        return
    assert 0 < len(path) <= 512
    assert text.endswith(rest)
    local, at, domain = path.rpartition(b"@")
    assert not at or (local and domain)
    assert not set(domain) & set(b'<>"\\@ ')
    assert forward_path(b"<%b>" % path) == (path, b"")
