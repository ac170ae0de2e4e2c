"""SASL PLAIN: the examples of RFC 4616 section 4, and what is no message of its grammar."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailserver.credentials import ActingFor, Password
from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, Done, SaslContext
from mailserver.sasl.plain import PlainMechanism
from mailserver.saslprep import prepared

CONTEXT = SaslContext(b"mail.example.org", tls=True)


def step(response):
    return PlainMechanism().begin(CONTEXT).step(response)


def test_without_an_initial_response_an_empty_challenge_asks_for_it():
    exchange = PlainMechanism().begin(CONTEXT)
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(b"\0tim\0tanstaaftanstaaf") == Done(Password(b"tim", b"tanstaaftanstaaf"))


def test_the_message_of_the_rfc_s_first_example():
    assert step(b"\0tim\0tanstaaftanstaaf") == Done(Password(b"tim", b"tanstaaftanstaaf"))


def test_the_rfc_s_second_example_acts_for_another():
    assert step(b"Ursel\0Kurt\0xipj3plmq") == Done(ActingFor(Password(b"Kurt", b"xipj3plmq"), b"Ursel"))


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
def test_the_password_comes_through_verbatim_and_the_name_prepared(name, password, authzid):
    assume(b"\0" not in name + password)
    credentials = step(b"\0".join((name if authzid else b"", name, password))).credentials
    assert (credentials.username, credentials.password) == (prepared(name), password)
    assert credentials.second in (b"", prepared(password))


def test_where_saslprep_knows_another_spelling_it_is_the_second():
    assert step("\0jo\u0308rg\0I\u00adX".encode()) == Done(Password("jörg".encode(), "I\u00adX".encode(), b"IX"))


@given(st.binary())
def test_any_message_is_taken_or_refused(message):
    try:
        done = step(message)
    except BadCommand:
        return
    assert isinstance(done, Done)
    assert done.credentials.username == prepared(message.split(b"\0")[1])


def test_it_never_asks_the_oracle():
    with pytest.raises(RuntimeError):
        PlainMechanism().begin(CONTEXT).answer(b"x")
