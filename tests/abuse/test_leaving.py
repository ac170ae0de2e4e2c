"""Clients that leave early, half or never, and clients that are too many."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import chain, repeat

import pytest

from tests.abuse.conftest import Serve
from tests.abuse.measures import KIB, Growth, reset
from tests.corpus import CORPUS, canonical
from tests.rawpop3 import SECONDS, RawPOP3, patient
from tests.servers import Server, Site
from tests.waiting import eventually

IDLE = 2000
"""Connections that do nothing."""

LOGIN_SECONDS = 3
"""Time for a login on a machine that is busy with other things. The timers are looked at every five seconds, so less ends no sooner."""

STUFFED, WIRE = CORPUS["large"], CORPUS["large-wire-form"]


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for the connections' ends in this process, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 500:
        pytest.skip(f"this machine allows a process {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_two_thousand_idle_connections_leave_room_for_a_session(site: Site, serve: Serve) -> None:
    alice = site.account("alice", messages=[CORPUS["usual"]])
    server = serve()
    growth = Growth(server.pid)
    with ExitStack() as stack:
        for number in range(IDLE):  # twenty addresses, so that none has more than the limit's default
            stack.enter_context(RawPOP3(server.pop3_port, source=f"127.0.1.{1 + number % 20}"))
        with RawPOP3(server.pop3_port) as client:
            client.login(alice.name, alice.password)
            assert client.fetch(b"RETR 1") == canonical(CORPUS["usual"])
            client.ok(b"DELE 1")
            assert client.quit().startswith(b"+OK")
    assert alice.files() == []
    assert growth.octets < IDLE * 20 * KIB


@pytest.mark.parametrize("message", [STUFFED, WIRE], ids=["stuffed", "sent-by-the-kernel"])
def test_a_client_that_half_closes_gets_all_its_answers(site: Site, serve: Serve, message: bytes) -> None:
    alice = site.account("alice", messages=[CORPUS["usual"], message])
    server = serve()
    with RawPOP3(server.pop3_port) as client:
        client.send(b"USER alice\r\nPASS %b\r\nUIDL\r\nRETR 2\r\n" % alice.password.encode())
        client.send(b"TOP 1 0\r\nDELE 1\r\nBOGUS\r\nRETR 2\r\nDELE 2\r\nSTAT\r\nQUIT\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert [client.line()[:3] for _ in range(3)] == [b"+OK"] * 3
        assert client.body().count(b"\r\n") == 2
        assert client.line().startswith(b"+OK")
        assert client.body() == canonical(message)
        assert client.line().startswith(b"+OK")
        assert client.body().startswith(b"From: ")
        assert [client.line()[:4] for _ in range(2)] == [b"+OK ", b"-ERR"]
        assert client.line().startswith(b"+OK")
        assert client.body() == canonical(message)
        assert client.line().startswith(b"+OK")
        assert client.line() == b"+OK 0 0\r\n"
        assert client.line().startswith(b"+OK")
        assert client.rest() == b""
    assert alice.files() == []


def test_a_client_that_half_closes_without_quit_gets_its_answers_and_deletes_nothing(site: Site, serve: Serve) -> None:
    alice = site.account("alice", messages=[STUFFED])
    server = serve()
    with RawPOP3(server.pop3_port).login(alice.name, alice.password) as client:
        client.send(b"RETR 1\r\nDELE 1\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.line().startswith(b"+OK")
        assert client.body() == canonical(STUFFED)
        assert client.line().startswith(b"+OK")
        assert client.rest() == b""
    assert len(alice.files()) == 1


@pytest.mark.parametrize(
    ("message", "tls"),
    [
        pytest.param(STUFFED, False, id="stuffed"),
        pytest.param(WIRE, False, id="sent-by-the-kernel"),
        pytest.param(STUFFED, True, id="tls"),
    ],
)
def test_a_reset_within_a_message_gives_the_maildrop_back(site: Site, serve: Serve, message: bytes, tls: bool) -> None:
    alice = site.account("alice", messages=[message])
    server = serve()
    port, context = (server.pop3s_port, site.client_tls()) if tls else (server.pop3_port, None)
    for _ in range(3):
        client = patient(port, alice.name, alice.password, tls=context)
        client.send(b"DELE 1\r\nRSET\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
        assert [client.line()[:3] for _ in range(3)] == [b"+OK"] * 3
        assert client.line().startswith(b"From: ")
        reset(client)
    with patient(server.pop3_port, alice.name, alice.password) as client:
        assert client.fetch(b"RETR 1") == canonical(message)
        client.quit()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_connections_over_the_limit_of_an_address_get_one_line(site: Site, serve: Serve, tls: bool) -> None:
    server = serve(limits={"connections_per_address": 3})
    port, context = (server.pop3s_port, site.client_tls()) if tls else (server.pop3_port, None)
    with ExitStack() as stack:
        first, *_ = [stack.enter_context(RawPOP3(port, tls=context, source="127.0.0.2")) for _ in range(3)]
        with RawPOP3(port, tls=context, source="127.0.0.2") as client:
            assert client.greeting == b"-ERR [SYS/TEMP] too many connections\r\n"
            assert client.rest() == b""
        with RawPOP3(port, tls=context, source="127.0.0.3") as client:
            assert client.quit().startswith(b"+OK")
        first.quit()

        def let_in() -> bool:
            with RawPOP3(port, tls=context, source="127.0.0.2") as client:
                return client.greeting.startswith(b"+OK")

        eventually(let_in, lambda: "one has left, and nobody may come")


def test_who_dribbles_does_not_stay_longer_than_who_is_silent(site: Site, serve: Serve) -> None:
    alice = site.account("alice")
    server = serve(limits={"login_seconds": LOGIN_SECONDS})
    with ExitStack() as stack:
        logged_in = stack.enter_context(RawPOP3(server.pop3_port)).login(alice.name, alice.password)
        octets, commands = (stack.enter_context(RawPOP3(server.pop3_port)) for _ in range(2))
        outlive(server, {octets.socket: repeat(b"U"), commands.socket: repeat(b"CAPA\r\n")})
        logged_in.ok(b"NOOP")
        logged_in.quit()


def test_who_dribbles_a_handshake_does_not_stay_longer_than_who_is_silent(serve: Serve) -> None:
    server = serve(limits={"login_seconds": LOGIN_SECONDS})
    with ExitStack() as stack:
        stls = stack.enter_context(RawPOP3(server.pop3_port))
        stls.ok(b"STLS")
        clients = [stls.socket, *(stack.enter_context(connect(server)) for _ in range(2))]
        data = [chain([b"\x16\x03\x01\x02\x00\x01"], repeat(b"\0")), chain([b"\x16"], repeat(b"")), repeat(b"")]
        outlive(server, dict(zip(clients, data, strict=True)))


def outlive(server: Server, dribbles: dict[socket.socket, Iterator[bytes]]) -> None:
    """Let clients dribble while one that came after them and says nothing may stay; then they must be gone, too.

    Each port looks at its timers when its own turn has come, so they go in any order. Meanwhile they dribble on: whoever
    may stay for that stays for ever.
    """
    with RawPOP3(server.pop3_port) as silent:
        while not select.select([silent.socket], [], [], 0.05)[0]:
            dribble(dribbles)
        assert silent.rest() == b""
    gone: set[socket.socket] = set()

    def all_gone() -> bool:
        dribble(dribbles)
        gone.update(client for client in dribbles.keys() - gone if drained(client))
        return gone == dribbles.keys()

    eventually(all_gone, lambda: f"{len(gone)} of {len(dribbles)} are gone:\n{server.log()}")


def dribble(dribbles: dict[socket.socket, Iterator[bytes]]) -> None:
    """Let each say one more thing, if there is still somebody to hear it."""
    for client, data in dribbles.items():
        with suppress(ConnectionError, BlockingIOError):
            client.send(next(data))


def connect(server: Server) -> socket.socket:
    """A connection to the TLS port that has sent nothing yet."""
    return socket.create_connection(("127.0.0.1", server.pop3s_port), SECONDS)


def drained(client: socket.socket) -> bool:
    """Whether the server has closed: what came until then is read, and nothing is waited for."""
    client.settimeout(0)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True
