"""What holds for every mechanism that can be announced."""

import re

import pytest
from zope.interface.verify import verifyObject

from mailserver.errors import Refusal
from mailserver.interfaces import Ask, Challenge, IExchange, IMechanism, SaslContext
from mailserver.sasl import MECHANISMS

every_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.name.decode())
CONTEXT = SaslContext(b"mail.example.org", tls=True)


def test_no_name_is_used_twice():
    names = [mechanism.name for mechanism in MECHANISMS]
    assert len(set(names)) == len(names)


def test_plain_comes_first_and_is_there_as_rfc_5034_demands():
    assert MECHANISMS[0].name == b"PLAIN"


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
    assert isinstance(step, Challenge | Ask)
