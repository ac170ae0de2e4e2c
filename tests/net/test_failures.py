"""What a failure means to the operator."""

from OpenSSL import SSL

from mailserver.net.failures import tls_reason
from mailserver.net.tls import NoApplicationProtocol


def test_a_tls_error_is_told_in_openssls_words() -> None:
    assert tls_reason(SSL.Error([("SSL routines", "", "wrong version number")])) == "wrong version number"


def test_a_tls_error_without_words_is_told_by_its_kind() -> None:
    assert tls_reason(NoApplicationProtocol()) == "NoApplicationProtocol"
    assert tls_reason(SSL.Error("odd")) == "Error"
