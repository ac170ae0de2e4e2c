"""What holds for every mechanism that can be announced."""

import re

import pytest
from zope.interface.verify import verifyObject

from mailserver.errors import Refusal
from mailserver.exchange import Ask, Challenge, Done, IExchange, IMechanism, SaslContext
from mailserver.sasl import BY_NAME, MECHANISMS

ALL = (*MECHANISMS, *BY_NAME)
every_mechanism = pytest.mark.parametrize("mechanism", ALL, ids=lambda mechanism: mechanism.name.decode())
CONTEXT = SaslContext(
    b"mail.example.org", tls=True, nonce=b"abc", bindings={b"tls-exporter": b"x" * 32}, identities=(b"alice",)
)


def test_no_name_is_used_twice():
    names = [mechanism.name for mechanism in ALL]
    assert len(set(names)) == len(names)


def test_plain_is_there_as_rfc_5034_demands():
    assert b"PLAIN" in [mechanism.name for mechanism in MECHANISMS]


def test_what_fetchmail_can_use_stands_within_the_63_octets_that_it_reads_at_once():
    line = b"SASL " + b" ".join(mechanism.name for mechanism in MECHANISMS)
    assert re.match(rb"SASL GSSAPI CRAM-MD5 SCRAM-SHA-256-PLUS SCRAM-SHA-256 ", line)
    assert all(re.search(rb"%b\b" % name, line[:63]) for name in (b"GSSAPI", b"CRAM-MD5"))


def test_digest_md5_is_announced_by_name_alone():
    assert [mechanism.name for mechanism in BY_NAME] == [b"DIGEST-MD5"]


@every_mechanism
def test_it_fits_a_connection_that_has_everything(mechanism):
    assert mechanism.fits(CONTEXT)


@every_mechanism
def test_what_it_asks_is_what_the_oracle_lists(mechanism):
    assert mechanism.asks == b"" or mechanism.name.startswith(mechanism.asks)


@every_mechanism
def test_it_keeps_to_the_interfaces(mechanism):
    assert verifyObject(IMechanism, mechanism)
    assert verifyObject(IExchange, mechanism.begin(CONTEXT))


@every_mechanism
def test_its_name_is_one_of_rfc_4422_section_3_1(mechanism):
    assert re.fullmatch(rb"[A-Z0-9_-]{1,20}", mechanism.name)


@every_mechanism
def test_exchanges_do_not_share_what_they_hear(mechanism):
    one, other = mechanism.begin(CONTEXT), mechanism.begin(CONTEXT)
    assert one is not other
    assert type(other.step(None)) is type(mechanism.begin(CONTEXT).step(None))


@every_mechanism
@pytest.mark.parametrize("response", [None, b"", b"\0", b"\xff" * 100, b"x" * 50_000, b"n,,n=,r=", b"=" * 10])
def test_any_first_response_gets_a_step_or_a_refusal(mechanism, response):
    try:
        step = mechanism.begin(CONTEXT).step(response)
    except Refusal:
        return
    assert isinstance(step, Challenge | Ask | Done)
