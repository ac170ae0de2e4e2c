"""SASL CRAM-MD5: the example of RFC 2195."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.credentials import IUsernameHashedPassword
from zope.interface.verify import verifyObject

from mailserver.credentials import CramMd5
from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, Done, SaslContext
from mailserver.sasl.cram_md5 import CramMd5Mechanism

CONTEXT = SaslContext(b"postoffice.reston.mci.net", tls=False, nonce=b"1896.697170952")
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"


def begun():
    exchange = CramMd5Mechanism().begin(CONTEXT)
    assert exchange.step(None) == Challenge(CHALLENGE)
    return exchange


def end(response):
    step = begun().step(response)
    assert isinstance(step, Done)
    assert verifyObject(IUsernameHashedPassword, step.credentials)
    return step.credentials


def test_the_example_of_the_rfc():
    credentials = end(b"tim b913a602c7eda7a495b4e6e7334d3890")
    assert credentials.username == b"tim"
    assert credentials.checkPassword(b"tanstaaftanstaaf")
    assert not credentials.checkPassword(b"tanstaaftanstaa")


def test_a_name_may_hold_spaces_and_a_digest_capitals():
    credentials = end(b"tim the enchanter B913A602C7EDA7A495B4E6E7334D3890")
    assert credentials.username == b"tim the enchanter"
    assert credentials.checkPassword(b"tanstaaftanstaaf")


def test_a_name_is_prepared():
    assert end("jo\u0308rg ".encode() + b"0" * 32).username == "jörg".encode()


@pytest.mark.parametrize("response", [b"", b" ", b"tim", b"tim b913", b" b913a602c7eda7a495b4e6e7334d3890", b"b" * 32])
def test_a_malformed_response_is_refused(response):
    with pytest.raises(BadCommand):
        begun().step(response)


def test_an_initial_response_cannot_answer_a_challenge_that_was_not_made():
    with pytest.raises(BadCommand):
        CramMd5Mechanism().begin(CONTEXT).step(b"tim b913a602c7eda7a495b4e6e7334d3890")


def test_without_a_nonce_it_is_not_to_be_had():
    assert CramMd5Mechanism().fits(CONTEXT)
    assert not CramMd5Mechanism().fits(SaslContext(b"h", tls=True))


def test_it_never_asks_the_oracle():
    with pytest.raises(RuntimeError):
        begun().answer(b"x")


@given(st.binary())
def test_any_response_is_taken_or_refused_and_its_digest_is_not_shown(response):
    try:
        credentials = end(response)
    except BadCommand:
        return
    assert isinstance(credentials, CramMd5)
    assert repr(credentials.response) not in repr(credentials)
    assert credentials.checkPassword(b"x") is (
        credentials.response == hmac.digest(b"x", CHALLENGE, "md5").hex().encode()
    )
