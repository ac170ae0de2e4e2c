"""An endpoint that is none is refused in words that name no function of Twisted's."""

from __future__ import annotations

import re

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.service.binding import bind
from mailserver.service.endpoints import unfit

WRONG = {
    "tcp": "its port is missing",
    "tcp:": '"" is no number',
    "tcp:x": '"x" is no number',
    "tcp:0:backlog=x": '"x" is no number',
    "tcp:0:foo=1": 'it has no option "foo"',
    "tcp:0:port=1": "its port is given twice",
    "tcp:0:a:b:c": "it has too many parts between colons",
    "udp:1": 'there is no kind "udp"',
    "110": 'there is no kind "110"',
    "127.0.0.1:110": 'there is no kind "127.0.0.1"',
    "": 'there is no kind ""',
    "unix": "its address is missing",
    "unix:/x:mode=9": '"9" is no number',
    "systemd:foo": "Specify exactly one of descriptor index or name",
    "haproxy:tcp:x": '"x" is no number',
}


def test_a_port_that_no_socket_takes_is_told_as_one() -> None:
    assert unfit("tcp6:65536", OverflowError("bind(): port must be 0-65535.")).endswith("ports go from 0 to 65535")


def test_what_twisted_may_say_one_day_names_no_function_either() -> None:
    told = unfit("tcp:1", TypeError("_parseTCP() is unhappy"))
    assert told == '"tcp:1" is not an endpoint such as tcp:110 or tcp:110:interface=192.0.2.1: its parts do not fit'


class EndpointTests(TestCase):
    async def test_each_is_told_with_an_example(self) -> None:
        limits = {"proxies": ["127.0.0.0/8"]}
        auth = {"checkers": ["memory:a:b"]}
        config = decode({"listen": {"pop3": list(WRONG)}, "auth": auth, "limits": limits, "store": {"url": "memory:"}})
        with pytest.raises(ConfigError) as caught:
            await bind(config.listen, reactor)
        told = caught.value.problems
        assert [problem.rpartition(": ")[2] for problem in told] == list(WRONG.values())
        for problem, endpoint in zip(told, WRONG, strict=True):
            assert problem.startswith(f'listen.pop3: "{endpoint}" is not an endpoint such as ')
            assert not re.search(r"_parse|int\(\)|argument|Error", problem)
