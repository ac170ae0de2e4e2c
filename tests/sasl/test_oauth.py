"""SASL OAUTHBEARER: the examples of RFC 7628; and XOAUTH2."""

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.credentials import ActingFor, BearerToken, Unproven, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Ask, Challenge, Done, SaslContext
from mailserver.sasl.oauth import OAUTHBEARER, XOAUTH2

CONTEXT = SaslContext(b"mail.example.org", tls=True)
TOKEN = b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
EXAMPLE = b64decode(  # section 4.1
    b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRj"
    b"Mk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
XEXAMPLE = b"user=user@example.com\1auth=Bearer " + TOKEN + b"\1\1"
both = pytest.mark.parametrize(("mechanism", "message"), [(OAUTHBEARER, EXAMPLE), (XOAUTH2, XEXAMPLE)])


def begun(mechanism):
    exchange = mechanism.begin(CONTEXT)
    assert exchange.step(None) == Challenge(b"")
    return exchange


@both
def test_the_example_of_the_rfc_asks_whose_token_it_is(mechanism, message):
    exchange = begun(mechanism)
    step = exchange.step(message)
    assert step == Ask(BearerToken(TOKEN))
    assert TOKEN.decode() not in repr(step)
    assert exchange.answer(b"user@example.com") == Done(VerifiedIdentity(b"user@example.com"))


@both
def test_another_s_token_is_for_acting_for_the_user(mechanism, message):
    exchange = begun(mechanism)
    exchange.step(message)
    assert exchange.answer(b"boss") == Done(ActingFor(VerifiedIdentity(b"boss"), b"user@example.com"))


@both
def test_a_token_that_is_not_good_is_told_in_json_and_then_refused(mechanism, message):
    exchange = begun(mechanism)
    exchange.step(message)
    step = exchange.answer(None)
    assert json.loads(step.data)["status"] in ("invalid_token", "401")
    assert exchange.step(b"\1") == Done(Unproven(b"user@example.com"))


def test_the_user_may_be_left_out():
    for mechanism, message in ((OAUTHBEARER, b"n,,\1auth=bearer t\1\1"), (XOAUTH2, b"user=\1auth=Bearer t\1\1")):
        exchange = begun(mechanism)
        assert exchange.step(message) == Ask(BearerToken(b"t"))
        assert exchange.answer(b"alice") == Done(VerifiedIdentity(b"alice"))


def test_a_gs2_name_is_escaped_and_the_other_is_not():
    exchange = begun(OAUTHBEARER)
    exchange.step(b"y,a=a=2Cb=3D,\1auth=Bearer t\1\1")
    assert exchange.answer(b"a,b=") == Done(VerifiedIdentity(b"a,b="))
    exchange = begun(XOAUTH2)
    exchange.step(b"user=a=2Cb\1auth=Bearer t\1\1")
    assert exchange.answer(b"a=2Cb") == Done(VerifiedIdentity(b"a=2Cb"))


@pytest.mark.parametrize(
    "auth", [b"", b"auth=\1", b"auth=Basic dTpw\1", b"auth=Bearer \1", b"auth=Bearer a b\1", b"auth=Bearer =\1"]
)
def test_without_a_bearer_token_the_client_hears_what_is_expected(auth):
    exchange = begun(OAUTHBEARER)
    assert isinstance(exchange.step(b"n,a=user,\1host=h\1" + auth + b"\1"), Challenge)
    assert exchange.step(b"\1") == Done(Unproven(b"user"))


@pytest.mark.parametrize(
    ("mechanism", "message"),
    [
        (OAUTHBEARER, b""),
        (OAUTHBEARER, b"n,,"),
        (OAUTHBEARER, b"n,,\1auth=Bearer t\1"),
        (OAUTHBEARER, b"p=tls-exporter,,\1auth=Bearer t\1\1"),
        (OAUTHBEARER, b"n,a=x=y,\1auth=Bearer t\1\1"),
        (OAUTHBEARER, b"n,,\1auth Bearer t\1\1"),
        (OAUTHBEARER, b"n,,\1auth=Bearer \xff\1\1"),
        (OAUTHBEARER, XEXAMPLE),
        (XOAUTH2, b""),
        (XOAUTH2, EXAMPLE),
        (XOAUTH2, b"user=a\0\1auth=Bearer t\1\1"),
    ],
)
def test_a_malformed_message_is_refused(mechanism, message):
    with pytest.raises(BadCommand):
        begun(mechanism).step(message)


def test_an_answer_of_another_kind_is_a_fault():
    with pytest.raises(TypeError):
        begun(XOAUTH2).answer("alice")


def test_it_works_wherever_a_password_may_cross_the_line():
    for mechanism in (OAUTHBEARER, XOAUTH2):
        assert mechanism.fits(CONTEXT)
        assert mechanism.cleartext


PIECES = st.sampled_from([b"n,", b"a=user,", b",", b"user=", b"\1", b"auth=", b"Bearer ", b"tok"]) | st.binary(
    max_size=5
)


@given(st.sampled_from([OAUTHBEARER, XOAUTH2]), st.lists(PIECES, max_size=12).map(b"".join))
def test_any_message_is_taken_or_refused(mechanism, message):
    try:
        step = begun(mechanism).step(message)
    except BadCommand:
        return
    assert isinstance(step, Ask | Challenge)
