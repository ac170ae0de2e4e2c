"""KRB-ERROR against a message of MIT's and against a strict reader of DER."""

from __future__ import annotations

from binascii import unhexlify

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.protocol.krb_error import GENERIC, TEXTS, krb_error
from tests.protocol import der

MIT = unhexlify(
    "7e633061a003020105a10302011ea411180f32303236313132333033323431395aa505020304d85da603020122"
    "a90b1b094b504f502e54455354aa11300fa003020101a10830061b043f3f3f3f"
    "ab161b14526571756573742069732061207265706c617900"
)
"""What MIT's krb5_recvauth answered to a replay."""

SECONDS = 1_795_404_259 + 0x04D85D / 1_000_000


def test_all_but_the_text_is_mit_s_to_the_octet():
    ours = krb_error(34, SECONDS, b"KPOP.TEST", [b"????"])
    assert der.error(MIT) == {**der.error(ours), "text": b"Request is a replay\0"}
    start, end = MIT.index(b"\xa0\x03"), MIT.index(b"\xab\x16")
    assert MIT[start:end] in ours


def test_a_code_without_a_text_goes_out_as_the_generic_one():
    assert krb_error(29, 0, b"R", [b"pop"]) == krb_error(GENERIC, 0, b"R", [b"pop"])
    assert krb_error(-5, 0, b"R", [b"pop"]) == krb_error(GENERIC, 0, b"R", [b"pop"])


@pytest.mark.parametrize("code", TEXTS)
def test_every_text_is_one_printable_line_that_ends_as_a_c_string(code):
    text = der.error(krb_error(code, 0, b"R", [b"pop"]))["text"]
    assert text.endswith(b"\0")
    assert text[:-1].decode("ascii").isprintable()


@given(
    code=st.integers(-(2**31), 2**31),
    seconds=st.floats(0, 2**33),
    realm=st.binary(max_size=300),
    server=st.lists(st.binary(max_size=70_000), max_size=4),
)
def test_whatever_the_names_a_strict_reader_reads_them_back(code, seconds, realm, server):
    read = der.error(krb_error(code, seconds, realm, server))
    assert read["realm"] == realm
    assert read["server"] == server
    assert read["code"] in TEXTS
    assert 0 <= read["microseconds"] < 1_000_000
    assert len(read["time"]) == len(b"20261123032419Z")
