"""The one function of OpenSSL that has no name in Python: it is found for sure, or not at all."""

from __future__ import annotations

import platform
import struct

import pytest
from OpenSSL import SSL

from mailserver.tls import context_control
from mailserver.tls.context_control import KEY_OCTETS, can_set_ticket_keys, set_ticket_keys

CODE = {
    "SSL_CTX_set_mode": (1000, "4889f2 31c9 be 21000000 e9", 5000),
    "SSL_CTX_set_session_cache_mode": (2000, "4889f2 31c9 be 2c000000 e9", 5000),
    "SSL_CTX_clear_mode": (9000, "4889f2 31c9 be 4e000000 e9", 5000),
}
"""Where each function is, its octets up to the jump, and where it jumps to."""


def found(**other: tuple[int, str, int]) -> int | None:
    def code(name: str) -> tuple[int, bytes]:
        begin, octets, target = {**CODE, **other}[name]
        return begin, bytes.fromhex(octets) + struct.pack("<i", target - begin - 15)

    return context_control._jumped_to(code)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere only with the system's OpenSSL")
def test_keys_can_be_set_here() -> None:
    assert can_set_ticket_keys(), "else this build of cryptography is new to us: see context_control"


def test_what_three_functions_jump_to_is_it() -> None:
    assert found() == 5000


@pytest.mark.parametrize(
    "other",
    [
        (9000, "4889f2 31c9 be 4e000000 e9", 5001),
        (9000, "4889f2 31c9 be 4f000000 e9", 5000),
        (9000, "4889f2 31c9 be 4e000000 e8", 5000),
        (9000, "4889f1 31c9 be 4e000000 e9", 5000),
        (9000, "9090909090 be 4e000000 e9", 5000),
    ],
)
def test_one_that_differs_in_anything_means_that_it_is_not_found(other: tuple[int, str, int]) -> None:
    assert found(SSL_CTX_clear_mode=other) is None


def test_a_function_that_is_no_function_of_c_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        SSL_CTX_new = context_control._openssl.lib.SSL_CTX_new

        @staticmethod
        def SSL_CTX_set_mode() -> None:
            raise AssertionError

    monkeypatch.setattr(context_control._openssl, "lib", Library)
    assert context_control._code("SSL_CTX_set_mode") == (0, b"")
    assert context_control._jumped_to(context_control._code) is None


@pytest.mark.skipif(not can_set_ticket_keys(), reason="this OpenSSL takes no keys")
def test_too_few_keys_never_reach_openssl() -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    with pytest.raises(RuntimeError, match="no keys"):
        set_ticket_keys(context, bytes(KEY_OCTETS - 1))
    set_ticket_keys(context, bytes(KEY_OCTETS))
