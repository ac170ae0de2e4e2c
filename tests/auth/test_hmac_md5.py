from __future__ import annotations

import hmac
from binascii import b2a_base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.hmac_md5 import contexts, hmac_md5, read_contexts


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_it_is_hmac_md5(key: bytes, message: bytes) -> None:
    assert hmac_md5(contexts(key), message) == hmac.digest(key, message, "md5")


@pytest.mark.parametrize("length", [54, 55, 56, 63, 64, 65, 119, 120])
def test_it_is_so_round_the_ends_of_blocks(length: int) -> None:
    assert hmac_md5(contexts(b"k" * length), b"m" * length) == hmac.digest(b"k" * length, b"m" * length, "md5")


def test_contexts_are_read_in_hexadecimal_and_base64() -> None:
    stored = contexts(b"tanstaaf")
    assert read_contexts(stored.hex().encode()) == stored
    assert read_contexts(b2a_base64(stored, newline=False)) == stored
    with pytest.raises(ValueError):  # noqa: PT011 - a reader of secrets has no more to say
        read_contexts(b"AAAA")
