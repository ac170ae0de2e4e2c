"""The exchanges of a session, without one."""

import pytest

from mailserver.errors import Refusal
from mailserver.exchange import SaslContext
from mailserver.protocol.exchanges import Exchanges
from mailserver.sasl.external import ExternalMechanism
from mailserver.sasl.plain import PlainMechanism

PLAIN, EXTERNAL = PlainMechanism(), ExternalMechanism()
NOBODY = SaslContext(b"host", tls=True)


def test_a_mechanism_that_does_not_fit_the_connection_is_refused_and_none_is_under_way():
    exchanges = Exchanges((PLAIN, EXTERNAL), lambda: NOBODY)
    assert exchanges.fitting(secure=True) == [PLAIN]
    with pytest.raises(Refusal) as refused:
        exchanges.begin(EXTERNAL, b"=", secure=True)
    assert refused.value.line == b"this mechanism cannot be used over this connection"
    assert not exchanges.under_way


def test_an_answer_that_no_exchange_has_asked_for_is_a_bug():
    exchanges = Exchanges((PLAIN,), lambda: NOBODY)
    exchanges.begin(PLAIN, None, secure=True)
    exchanges.end()
    with pytest.raises(RuntimeError):
        exchanges.answer(b"")
