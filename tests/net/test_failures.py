"""What a failure means to the operator."""

import pytest
from OpenSSL import SSL
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure

from mailserver.errors import TicketRefused
from mailserver.net.failures import tls_reason, translate
from mailserver.tls.contexts import NoApplicationProtocol


def test_a_tls_error_is_told_in_openssls_words() -> None:
    assert tls_reason(SSL.Error([("SSL routines", "", "wrong version number")])) == "wrong version number"


def test_a_tls_error_without_words_is_told_by_its_kind() -> None:
    assert tls_reason(NoApplicationProtocol()) == "NoApplicationProtocol"
    assert tls_reason(SSL.Error("odd")) == "Error"


@pytest.mark.parametrize(("ours", "level"), [(True, LogLevel.error), (False, LogLevel.info)])
def test_a_refused_ticket_is_told_once_and_louder_when_the_fault_is_ours(ours: bool, level: object) -> None:
    with capturedLogs() as events:
        refusal = translate(
            Failure(TicketRefused(45, "no keytab at /etc/pop.keytab", ours=ours)), {"peer": "192.0.2.1", "user": ""}
        )
    assert b"keytab" not in refusal.line
    assert refusal.code == (b"SYS/TEMP" if ours else b"AUTH")
    (event,) = events
    assert (event["event"], event["code"], event["peer"]) == ("kerberos.refused", 45, "192.0.2.1")
    assert event["log_level"] == level
