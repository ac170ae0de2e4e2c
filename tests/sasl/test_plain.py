"""SASL PLAIN: the examples of RFC 4616 section 4, and what is no message of its grammar."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailserver.credentials import Password
from mailserver.errors import AuthenticationFailed, BadCommand
from mailserver.interfaces import Challenge, Done, SaslContext
from mailserver.sasl.plain import PlainMechanism

CONTEXT = SaslContext(b"mail.example.org", tls=True)


def step(response):
    return PlainMechanism().begin(CONTEXT).step(response)


def test_without_an_initial_response_an_empty_challenge_asks_for_it():
    exchange = PlainMechanism().begin(CONTEXT)
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(b"\0tim\0tanstaaftanstaaf") == Done(Password(b"tim", b"tanstaaftanstaaf"))


def test_the_message_of_the_rfc_s_first_example():
    assert step(b"\0tim\0tanstaaftanstaaf") == Done(Password(b"tim", b"tanstaaftanstaaf"))


def test_the_rfc_s_second_example_acts_for_another_and_is_refused():
    with pytest.raises(AuthenticationFailed):
        step(b"Ursel\0Kurt\0xipj3plmq")


def test_one_may_act_for_oneself():
    assert step(b"tim\0tim\0secret") == Done(Password(b"tim", b"secret"))


@pytest.mark.parametrize(
    "message",
    [b"", b"\0", b"\0\0", b"tim", b"tim\0secret", b"\0tim\0", b"\0\0secret", b"tim\0\0", b"\0tim\0se\0cret", b"\0\0\0"],
)
def test_a_malformed_message_is_refused(message):
    with pytest.raises(BadCommand):
        step(message)


@given(st.binary(min_size=1), st.binary(min_size=1), st.booleans())
def test_name_and_password_come_through_verbatim(name, password, authzid):
    assume(b"\0" not in name + password)
    message = b"\0".join((name if authzid else b"", name, password))
    assert step(message) == Done(Password(name, password))


@given(st.binary())
def test_any_message_is_taken_or_refused(message):
    try:
        done = step(message)
    except (AuthenticationFailed, BadCommand):
        return
    assert isinstance(done, Done)
    assert message.endswith(b"\0".join((b"", done.credentials.username, done.credentials.password)))


def test_it_never_asks_the_oracle():
    with pytest.raises(RuntimeError):
        PlainMechanism().begin(CONTEXT).answer(b"x")
