"""Binding: all ports or none, and nothing is accepted before there is something to serve with."""

import socket
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailserver.config.kinds import Listen
from mailserver.errors import ConfigError
from mailserver.net.hub import Hub
from mailserver.service.binding import bind, written
from tests.tls.handshakes import write_pair


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPv4Address("TCP", "127.0.0.1", 110), "127.0.0.1:110"),
        (IPv6Address("TCP", "::1", 110), "[::1]:110"),
        (UNIXAddress(b"/run/pop3"), "/run/pop3"),
    ],
)
def test_an_address_is_written_as_people_write_it(address, text):
    assert written(address) == text


class Greeting(Protocol):
    def connectionMade(self):
        self.transport.write(b"welcome")
        self.transport.loseConnection()


def made(folder):
    folder.mkdir()
    return folder


class BindingTests(TestCase):
    async def test_one_endpoint_that_fails_leaves_none_bound(self):
        path = Path(self.mktemp())
        with pytest.raises(ConfigError) as caught:
            await bind(Listen(pop3=(f"unix:{path}", "tcp:nonsense", "unix:/nowhere/at/all")), reactor)
        assert len(caught.value.problems) == 2
        assert caught.value.problems[1].endswith(
            'cannot listen on "unix:/nowhere/at/all": its folder is not there: make it, under systemd by RuntimeDirectory='
        )
        assert path not in path.parent.glob("*")

    async def test_who_connects_before_it_accepts_waits_and_is_served_then(self):
        (bound,) = await bind(Listen(pop3=("tcp:0:interface=127.0.0.1",)), reactor)
        self.addCleanup(bound.port.stopListening)
        port = bound.port.getHost().port
        assert (bound.kind, bound.address) == ("pop3", f"127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            for _ in range(3):
                await deferLater(reactor, 0)
            with pytest.raises(BlockingIOError):
                client.recv(10)
            factory = Factory.forProtocol(Greeting)
            bound.gate.open(factory)
            bound.accept()
            heard = Deferred()
            reactor.addReader(Ear(client, heard))
            assert await heard == b"welcome"

    # Twisted's own ssl: does, up to 24.11.
    @pytest.mark.filterwarnings("ignore:Passing pyOpenSSL .* objects is deprecated:DeprecationWarning")
    async def test_over_the_epoll_reactor_all_ports_share_a_hub_but_those_of_plugins(self):
        folder = made(Path(self.mktemp()))
        pair = write_pair(folder, "a", ["localhost"])
        foreign = f"ssl:0:interface=127.0.0.1:privateKey={pair.key}:certKey={pair.certificate}"
        endpoints = ("tcp:0:interface=127.0.0.1", f"haproxy:unix:{folder}/socket", foreign)
        tcp, unix, ssl = await bind(Listen(pop3=endpoints), reactor)
        for each in (tcp, unix, ssl):
            self.addCleanup(each.port.stopListening)
        assert isinstance(tcp.port.reactor, Hub)
        assert unix.port.reactor is tcp.port.reactor
        assert ssl.port.reactor is reactor


class Ear:
    """Hears the first that a socket brings."""

    def __init__(self, client, heard):
        self.client = client
        self.heard = heard

    def fileno(self):
        return self.client.fileno()

    def logPrefix(self):
        return "ear"

    def doRead(self):
        reactor.removeReader(self)
        self.heard.callback(self.client.recv(100))

    def connectionLost(self, reason):
        pass
