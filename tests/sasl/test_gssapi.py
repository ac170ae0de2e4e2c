"""RFC 4752 as an exchange: what it asks the oracle, and what it makes of the answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from mailserver.credentials import KerberosIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import (
    Ask,
    Challenge,
    Done,
    GssProgress,
    GssToken,
    GssUnwrap,
    GssWrap,
    IExchange,
    IMechanism,
    SaslContext,
)
from mailserver.sasl.gssapi import GssapiMechanism

PRINCIPAL = "alice@KPOP.TEST"
CONTEXT = object()
OFFER = b"\1\0\0\0"


def begin(**context):
    return GssapiMechanism().begin(SaslContext(b"mail.example.org", bool(context), **context))


def offered(token=b"AP-REP"):
    """An exchange whose client knows the layers."""
    exchange = begin()
    exchange.step(b"AP-REQ")
    answer = exchange.answer(GssProgress(CONTEXT, token, PRINCIPAL))
    if token:
        assert answer == Challenge(token)
        answer = exchange.step(b"")
    assert answer == Ask(GssWrap(OFFER, CONTEXT))
    assert exchange.answer(b"wrapped") == Challenge(b"wrapped")
    return exchange


def chosen(message):
    exchange = offered()
    assert exchange.step(b"choice") == Ask(GssUnwrap(b"choice", CONTEXT))
    return exchange.answer(message)


def test_the_mechanism_and_its_exchange_are_what_they_say():
    assert verifyObject(IMechanism, GssapiMechanism())
    assert verifyObject(IExchange, begin())
    assert GssapiMechanism().fits(SaslContext(b"mail.example.org", tls=False))


def test_without_an_initial_response_the_client_is_asked_for_its_token():
    exchange = begin()
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(b"AP-REQ") == Ask(GssToken(b"AP-REQ"))


def test_a_client_that_authenticates_the_server_too_answers_its_token_with_nothing():
    assert offered(b"AP-REP")


def test_a_client_that_does_not_is_told_the_layers_at_once():
    assert offered(b"")


def test_a_context_may_take_several_tokens():
    exchange = begin()
    exchange.step(b"one")
    assert exchange.answer(GssProgress(CONTEXT, b"more, please")) == Challenge(b"more, please")
    assert exchange.step(b"two") == Ask(GssToken(b"two", CONTEXT))


def test_what_follows_the_server_s_last_token_must_be_empty():
    exchange = begin()
    exchange.step(b"AP-REQ")
    exchange.answer(GssProgress(CONTEXT, b"AP-REP", PRINCIPAL))
    with pytest.raises(BadCommand):
        exchange.step(b"a layer that nobody offered yet")


@pytest.mark.parametrize(
    ("identity", "username"),
    [
        (b"", b""),
        (b"\0", b""),
        (b"alice", b"alice"),
        (b"alice\0", b"alice"),
        (b"alice\0\0", b"alice\0"),
        (b"al\0ice", b"al\0ice"),
        ("grüße".encode(), "grüße".encode()),
    ],
)
def test_the_identity_is_what_follows_the_choice_less_one_nul_at_its_end(identity, username):
    assert chosen(OFFER + identity) == Done(KerberosIdentity(PRINCIPAL, username))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\1",
        b"\1\0\0",
        b"\0\0\0\0alice",
        b"\2\0\0\0alice",
        b"\3\0\0\0alice",
        b"\4\0\xff\xffalice",
        b"\1\0\0\1alice",
        b"\1\1\0\0alice",
    ],
)
def test_any_choice_but_the_one_layer_and_no_buffer_is_refused(message):
    with pytest.raises(BadCommand):
        chosen(message)


def test_the_channel_binding_of_tls_goes_with_every_token():
    exchange = begin(bindings={b"tls-exporter": b"no", b"tls-server-end-point": b"hash"})
    bound = b"tls-server-end-point:hash"
    assert exchange.step(b"one") == Ask(GssToken(b"one", None, bound))
    exchange.answer(GssProgress(CONTEXT, b""))
    assert exchange.step(b"two") == Ask(GssToken(b"two", CONTEXT, bound))


def test_an_answer_to_nothing_that_was_asked_is_a_bug():
    exchange = begin()
    exchange.step(b"AP-REQ")
    with pytest.raises(TypeError):
        exchange.answer(None)


@pytest.mark.parametrize("request_", [GssToken(b"secret"), GssUnwrap(b"secret", None), GssProgress(None, b"secret")])
def test_no_token_shows_in_a_log(request_):
    assert "secret" not in repr(request_)


@given(message=st.binary(max_size=300))
def test_any_choice_ends_in_an_identity_or_a_refusal(message):
    try:
        step = chosen(message)
    except BadCommand:
        assert message[:4] != OFFER
    else:
        assert isinstance(step, Done)
        assert step.credentials.principal == PRINCIPAL
