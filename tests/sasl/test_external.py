"""SASL EXTERNAL (RFC 4422 appendix A)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.credentials import ActingFor, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, Done, SaslContext
from mailserver.sasl.external import ExternalMechanism

CONTEXT = SaslContext(b"mail.example.org", tls=True, identities=(b"fred@example.com", b"fred"))


def step(response):
    return ExternalMechanism().begin(CONTEXT).step(response)


def test_it_needs_a_certificate_that_names_somebody():
    assert ExternalMechanism().fits(CONTEXT)
    assert not ExternalMechanism().fits(SaslContext(b"mail.example.org", tls=True))


def test_an_empty_response_is_the_certificate_s_first_name():
    exchange = ExternalMechanism().begin(CONTEXT)
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(b"") == Done(VerifiedIdentity(b"fred@example.com"))


@pytest.mark.parametrize("name", CONTEXT.identities)
def test_the_response_may_choose_among_the_certificate_s_names(name):
    assert step(name) == Done(VerifiedIdentity(name))


def test_another_name_is_for_whom_he_wants_to_act():
    assert step(b"ginger") == Done(ActingFor(VerifiedIdentity(b"fred@example.com"), b"ginger"))


def test_a_malformed_response_is_refused():
    with pytest.raises(BadCommand):
        step(b"fred\0")


@given(st.binary())
def test_whatever_is_asked_for_the_proof_is_the_certificate_s(response):
    try:
        done = step(response)
    except BadCommand:
        return
    assert isinstance(done, Done)
    assert done.credentials.username in CONTEXT.identities


def test_it_never_asks_the_oracle():
    with pytest.raises(RuntimeError):
        ExternalMechanism().begin(CONTEXT).answer(b"x")
