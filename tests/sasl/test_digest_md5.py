"""SASL DIGEST-MD5: the example of RFC 2831 section 4, and a client of the same."""

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.credentials import ActingFor, Unproven, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Ask, Challenge, Done, SaslContext, VerifierOf
from mailserver.sasl.digest_md5 import DigestMd5Mechanism
from tests.sasl.clients import digest_md5

CONTEXT = SaslContext(b"elwood.innosoft.com", tls=False, nonce=b"OA6MG9tEQGm2hh")
KEY = md5(b"chris:elwood.innosoft.com:secret").digest()
RESPONSE = (
    b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
    b'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth'
)


def begun(service=b"pop"):
    exchange = DigestMd5Mechanism(service).begin(CONTEXT)
    return exchange, exchange.step(None).data


def test_the_example_of_the_rfc():
    exchange, challenge = begun(b"imap")
    assert challenge == (
        b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",charset=utf-8,algorithm=md5-sess'
    )
    assert exchange.step(RESPONSE) == Ask(VerifierOf(b"chris", b"DIGEST-MD5", b"elwood.innosoft.com"))
    assert exchange.answer(KEY) == Challenge(b"rspauth=ea40f60335c427b5527b84dbabcdfffd")
    assert exchange.step(b"") == Done(VerifiedIdentity(b"chris"))


def test_a_wrong_password_is_no_proof():
    exchange, challenge = begun()
    exchange.step(digest_md5(b"chris", b"guess", challenge)[0])
    assert exchange.answer(KEY) == Done(Unproven(b"chris"))


@pytest.mark.parametrize(
    ("authzid", "credentials"),
    [(b"chris", VerifiedIdentity(b"chris")), (b"other", ActingFor(VerifiedIdentity(b"chris"), b"other"))],
)
def test_an_authorization_identity_is_for_whom_he_acts(authzid, credentials):
    exchange, challenge = begun()
    response, last = digest_md5(b"chris", b"secret", challenge, authzid=authzid)
    exchange.step(response)
    assert exchange.answer(KEY) == Challenge(last)
    assert exchange.step(b"") == Done(credentials)


def test_an_empty_authorization_identity_is_none():
    exchange, challenge = begun()
    exchange.step(digest_md5(b"chris", b"secret", challenge)[0] + b',authzid=""')
    exchange.answer(KEY)
    assert exchange.step(b"") == Done(VerifiedIdentity(b"chris"))


def test_without_a_charset_a_name_is_iso_8859_1():
    exchange, _ = begun(b"imap")
    response = RESPONSE.replace(b"charset=utf-8,", b"").replace(b"chris", "jörg".encode("latin-1"))
    assert exchange.step(response).request.username == "jörg".encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"nc=00000001", b"nc=00000002"),
        (b'nonce="OA6MG9tEQGm2hh"', b'nonce="OA6MG9tEQGm2hi"'),
        (b'realm="elwood', b'realm="jake'),
        (b"imap/", b"pop/"),
    ],
)
def test_what_was_said_in_another_exchange_is_no_proof(old, new):
    assert begun(b"imap")[0].step(RESPONSE.replace(old, new)) == Done(Unproven(b"chris"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"qop=auth", b"qop=auth-conf"),
        (b'cnonce="OA6MHXh6VqTrRk"', b'cnonce=""'),
        (b'username="chris",', b""),
        (b"qop=auth", b"nc=00000001"),
        (b"qop=auth", b"qop"),
        (b'"chris"', b'"chris'),
        (b"charset", b"char set"),
    ],
)
def test_a_malformed_response_is_refused(old, new):
    with pytest.raises(BadCommand):
        begun(b"imap")[0].step(RESPONSE.replace(old, new))


def test_quotes_are_taken_off_and_spaces_and_empty_elements_skipped():
    exchange, _ = begun(b"imap")
    step = exchange.step(RESPONSE.replace(b'username="chris"', b', username = "ch\\ri\\\\s"\t ,,'))
    assert step.request.username == b"chri\\s"


def test_it_has_no_memory_of_earlier_sessions():
    with pytest.raises(BadCommand):
        DigestMd5Mechanism().begin(CONTEXT).step(RESPONSE)


def test_an_empty_initial_response_is_none():
    assert isinstance(DigestMd5Mechanism().begin(CONTEXT).step(b""), Challenge)


def test_the_server_s_proof_is_answered_with_nothing():
    exchange, _ = begun(b"imap")
    exchange.step(RESPONSE)
    exchange.answer(KEY)
    with pytest.raises(BadCommand):
        exchange.step(b"?")


def test_an_answer_of_another_kind_is_a_fault():
    with pytest.raises(TypeError):
        begun()[0].answer("secret")


def test_without_a_nonce_it_is_not_to_be_had():
    assert DigestMd5Mechanism().fits(CONTEXT)
    assert not DigestMd5Mechanism().fits(SaslContext(b"h", tls=True))


PIECES = st.sampled_from(RESPONSE.split(b",")) | st.binary(max_size=12)


@given(st.lists(PIECES, max_size=10).map(b",".join))
def test_any_response_is_taken_or_refused(response):
    exchange, _ = begun(b"imap")
    try:
        step = exchange.step(response)
    except BadCommand:
        return
    assert isinstance(step, Ask | Done)
