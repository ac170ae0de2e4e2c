"""SASL LOGIN: the dialog that every client of it speaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.credentials import Password
from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, Done, SaslContext
from mailserver.sasl.login import LoginMechanism
from mailserver.sasl.plain import typed


def begin():
    return LoginMechanism().begin(SaslContext(b"mail.example.org", tls=True))


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_name_and_password_are_asked_for_and_taken_as_plain_s(name, password):
    exchange = begin()
    assert exchange.step(None) == Challenge(b"Username:")
    assert exchange.step(name) == Challenge(b"Password:")
    assert exchange.step(password) == Done(typed(name, password))


def test_the_name_may_be_the_initial_response():
    exchange = begin()
    assert exchange.step(b"alice") == Challenge(b"Password:")
    assert exchange.step(b"secret") == Done(Password(b"alice", b"secret"))


def test_neither_may_be_empty():
    with pytest.raises(BadCommand):
        begin().step(b"")
    exchange = begin()
    exchange.step(b"alice")
    with pytest.raises(BadCommand):
        exchange.step(b"")


def test_it_never_asks_the_oracle():
    with pytest.raises(RuntimeError):
        begin().answer(b"x")
