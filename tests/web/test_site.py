"""The pages over HTTP: who sees them, what every answer says, and what one client can cost."""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mailserver.net.places import Dropped
from mailserver.web import site as module
from mailserver.web.pages import Answer, Asked, Page
from mailserver.web.site import ALWAYS, CONNECTIONS, LONGEST_LINE, MOST_HEADERS, SECONDS, Site
from tests.web.conftest import Logs

TOKEN = b"MTIzNDU2Nzg5MDEyMzQ1Njc4"
HERE = IPv4Address("TCP", "127.0.0.1", 8110)
ELSEWHERE = IPv4Address("TCP", "192.0.2.1", 8110)


class Pages:
    """Some pages, and a site of them."""

    def __init__(self, token: bytes = b"") -> None:
        self.clock = Clock()
        self.asked: list[Asked] = []
        self.given_up: list[object] = []
        self.pending: Deferred[Answer] = Deferred(self.given_up.append)
        pages = {
            "/public": Page(lambda _: Answer(body=b"for all\n"), public=True),
            "/private": Page(self._private),
            "/faulty": Page(lambda _: 1 / 0),  # type: ignore[arg-type,return-value]
            "/later": Page(lambda _: self.pending),
            "/slow": Page(self._slow),
        }
        self.slow: list[Deferred[Answer]] = []
        self.site = Site(pages, clock=self.clock, token=lambda: token)

    def _private(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return Answer(body=b"for operators\n", type="text/html", policy="style-src 'sha256-x'")

    def _slow(self, _: Asked) -> Deferred[Answer]:
        self.slow.append(Deferred())
        return self.slow[-1]

    def connect(self, host: Any = HERE, peer: Any = None) -> tuple[Any, StringTransport]:
        transport = StringTransport(hostAddress=host, peerAddress=peer or HERE)
        transport.abortConnection = lambda: setattr(transport, "disconnecting", True)  # type: ignore[method-assign]
        protocol = self.site.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(
        self,
        path: str,
        *headers: str,
        method: str = "GET",
        host: Any = HERE,
        peer: Any = None,
        name: str = "127.0.0.1:8110",
    ) -> Heard:
        return self.ask_raw(f"{method} {path} HTTP/1.1", f"Host: {name}", *headers, host=host, peer=peer)

    def ask_raw(self, *lines: str, host: Any = HERE, peer: Any = None) -> Heard:
        """Send these lines of a request, and no others."""
        protocol, transport = self.connect(host, peer)
        protocol.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1"))
        heard = Heard(transport.value())
        assert transport.disconnecting
        protocol.connectionLost(module.connectionDone)
        return heard


class Heard:
    """An answer."""

    def __init__(self, octets: bytes) -> None:
        head, _, self.body = octets.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        _, code, self.phrase = status.split(" ", 2)
        self.code = int(code)
        self.headers = dict(line.split(": ", 1) for line in lines)


def bearer(token: bytes) -> str:
    return f"Authorization: Bearer {token.decode()}"


def basic(token: bytes) -> str:
    return f"Authorization: Basic {base64.b64encode(b'whoever:' + token).decode()}"


def test_a_page_is_shown_with_its_type_and_its_length() -> None:
    pages = Pages()
    heard = pages.ask("/private?a=%ff&b", "Accept: text/html")
    assert (heard.code, heard.body) == (200, b"for operators\n")
    assert heard.headers["Content-Type"] == "text/html"
    assert heard.headers["Content-Length"] == "14"
    assert pages.asked == [Asked(accept="text/html")]


def test_head_has_the_same_headers_and_no_body() -> None:
    pages = Pages()
    got, head = pages.ask("/private"), pages.ask("/private", method="HEAD")
    assert (head.code, head.body) == (200, b"")
    assert {**head.headers, "Date": ""} == {**got.headers, "Date": ""}


@pytest.mark.parametrize("path", ["/private", "/public", "/none", "/faulty"])
def test_every_answer_has_the_headers_of_caution(path: str, logs: Logs) -> None:
    heard = Pages().ask(path)
    assert {name: heard.headers.get(name) for name in ALWAYS} == dict(ALWAYS)
    assert heard.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert "Server" not in heard.headers
    logs.take("fault")


def test_what_a_page_may_load_stands_in_its_policy() -> None:
    assert Pages().ask("/private").headers["Content-Security-Policy"].endswith("; style-src 'sha256-x'")


@pytest.mark.parametrize(
    "path",
    ["/", "/private/", "//private", "/../private", "/private/../private", "/%70rivate", "*", "ftp://127.0.0.1/private"],
)
def test_there_are_no_other_paths(path: str) -> None:
    heard = Pages().ask(path)
    assert (heard.code, heard.body) == (404, b"there is no such page\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_nothing_but_get_and_head_is_served(method: str) -> None:
    pages = Pages()
    heard = pages.ask("/private", method=method)
    assert (heard.code, heard.headers["Allow"], pages.asked) == (405, "GET, HEAD", [])


def test_a_body_goes_nowhere() -> None:
    pages = Pages()
    protocol, transport = pages.connect()
    protocol.dataReceived(b"POST /private HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
    request = protocol.requests[-1]
    for _ in range(100):
        protocol.dataReceived(b"x" * 10_000)
    assert Heard(transport.value()).code == 405
    assert request.finished
    assert pages.asked == []


def test_a_fault_is_for_the_log_alone(logs: Logs) -> None:
    heard = Pages().ask("/faulty")
    assert (heard.code, heard.body) == (500, b"the server has a fault, which its log tells\n")
    assert len(logs.take("fault")) == 1


def test_a_page_may_take_its_time() -> None:
    pages = Pages()
    protocol, transport = pages.connect()
    protocol.dataReceived(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert transport.value() == b""
    pages.pending.callback(Answer(body=b"now"))
    assert Heard(transport.value()).body == b"now"


def test_who_leaves_waits_no_more() -> None:
    pages = Pages()
    protocol, transport = pages.connect()
    protocol.dataReceived(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    protocol.connectionLost(module.connectionDone)
    assert pages.given_up == [pages.pending]
    assert transport.value() == b""


@pytest.mark.parametrize("name", ["Host", "Authorization", "Accept"])
@pytest.mark.parametrize("token", [b"", TOKEN])
def test_a_header_in_no_encoding_is_no_fault(name: str, token: bytes, logs: Logs) -> None:
    host = "Host: localhost" if name != "Host" else ""
    heard = Pages(token).ask_raw("GET /private HTTP/1.1", *filter(None, [host]), f"{name}: \xff\xfe")
    assert heard.code == (401 if token else 421 if name == "Host" else 200)
    assert logs.take("fault") == []


@pytest.mark.parametrize(("header", "code"), [(bearer(TOKEN), 200), (basic(TOKEN), 200), ("Accept: */*", 401)])
def test_the_token_lets_in(header: str, code: int, logs: Logs) -> None:
    heard = Pages(TOKEN).ask("/private", header, host=ELSEWHERE, name="mail.example.org")
    assert heard.code == code
    assert ("WWW-Authenticate" in heard.headers) == (code == 401)
    assert logs.take("web.refused") == [], "a browser begins without"


@pytest.mark.parametrize(
    "header",
    [
        bearer(TOKEN[:-1]),
        bearer(TOKEN + b"x"),
        bearer(b""),
        basic(b""),
        "Authorization: Basic !",
        f"Authorization: Digest {TOKEN.decode()}",
    ],
)
@pytest.mark.parametrize("path", ["/private", "/none"])
def test_nothing_else_lets_in_and_nobody_learns_what_there_is(header: str, path: str, logs: Logs) -> None:
    pages = Pages(TOKEN)
    heard = pages.ask(path, header)
    assert (heard.code, pages.asked) == (401, [])
    (told,) = logs.take("web.refused")
    assert TOKEN.decode()[:8] not in repr(told)


def test_a_flood_of_wrong_tokens_writes_one_line_a_second(logs: Logs) -> None:
    pages = Pages(TOKEN)
    pages.clock.advance(100)
    for _ in range(5):
        pages.ask("/private", bearer(b"x" * 24))
    pages.clock.advance(1)
    pages.ask("/private", bearer(b"x" * 24))
    assert [each["others"] for each in logs.take("web.refused")] == [0, 4]


def test_without_a_token_only_this_machine_sees_the_pages() -> None:
    pages = Pages()
    assert pages.ask("/private", host=ELSEWHERE).code == 403
    assert pages.ask("/public", host=ELSEWHERE).code == 200
    assert pages.ask("/private", host=UNIXAddress(b"/run/x"), name="whatever").code == 200
    assert Pages(TOKEN).ask("/private", host=UNIXAddress(b"/run/x")).code == 200


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[(name, 200) for name in ("127.0.0.1", "localhost:8110", "[::1]:8110", "LOCALHOST", "10.0.0.1:1")],
        *[
            (name, 421)
            for name in ("attacker.example", "127.0.0.1.example", "localhost.example:8110", "127.0.0.1:x", "[::1")
        ],
    ],
)
def test_a_name_that_points_here_shows_no_pages_without_a_token(name: str, code: int) -> None:
    heard = Pages().ask("/private", name=name)
    assert (heard.code, heard.phrase) == (code, HTTPStatus(code).phrase)
    assert Pages().ask("/public", name=name).code == 200


def test_no_client_keeps_its_place_by_being_slow() -> None:
    pages = Pages()
    _silent, silent = pages.connect()
    slow, trickle = pages.connect()
    for octet in b"GET /private HTT":
        slow.dataReceived(bytes([octet]))
        pages.clock.advance(SECONDS / 17)
    assert not silent.disconnecting
    pages.clock.advance(SECONDS / 16)
    assert silent.disconnecting
    assert trickle.disconnecting


def test_the_time_is_over_with_the_connection() -> None:
    pages = Pages()
    pages.ask("/private")
    assert pages.clock.getDelayedCalls() == []


def peer(number: int) -> IPv4Address:
    return IPv4Address("TCP", f"198.51.100.{number}", 50_000)


def cut(connections: list[tuple[Any, StringTransport]]) -> list[int]:
    """Which of them were cut."""
    return [number for number, (_, transport) in enumerate(connections) if transport.disconnecting]


def test_one_address_that_holds_all_places_keeps_nobody_out(logs: Logs) -> None:
    pages = Pages()
    silent = [pages.connect(peer=peer(1)) for _ in range(CONNECTIONS)]
    assert cut(silent) == []
    assert pages.ask("/private", peer=peer(2)).code == 200
    assert pages.ask("/private", peer=peer(2)).code == 200, "there is room now"
    assert cut(silent) == [0], "the oldest"
    assert pages.ask("/private", peer=peer(1)).code == 200, "a proxy in front of all is one address"
    (told,) = logs.take("web.turned_away")
    assert (told["peer"], told["reason"]) == ("198.51.100.1", f"all {CONNECTIONS} places are taken")


def test_an_address_with_many_connections_pushes_out_its_own_alone() -> None:
    pages = Pages()
    others = [pages.connect(peer=peer(2)) for _ in range(2)]
    flood = [pages.connect(peer=peer(1)) for _ in range(2 * CONNECTIONS)]
    assert cut(others) == []
    assert cut(flood) == list(range(CONNECTIONS + 2))
    scraper, said = pages.connect(peer=peer(3))
    scraper.dataReceived(b"GET /private HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert Heard(said.value()).code == 200


def test_many_addresses_keep_nobody_out_either() -> None:
    pages = Pages()
    silent = [pages.connect(peer=peer(number)) for number in range(CONNECTIONS)]
    assert pages.ask("/private", peer=peer(100)).code == 200
    assert cut(silent) == [0]


def test_a_page_that_is_being_made_is_waited_for(logs: Logs) -> None:
    pages = Pages()
    asking = [pages.connect() for _ in range(CONNECTIONS)]
    for protocol, _ in asking[1:]:
        protocol.dataReceived(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
    silent = pages.connect()
    assert cut(asking) == [0]
    silent[0].dataReceived(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
    dropped, transport = pages.connect(peer=peer(1))
    assert isinstance(dropped, Dropped)
    assert transport.disconnecting
    assert [each["peer"] for each in logs.take("web.turned_away")] == ["127.0.0.1"]
    for each in pages.slow:
        each.callback(Answer(body=b"now"))
    assert all(Heard(said.value()).body == b"now" for _, said in [*asking[1:], silent])
    assert pages.ask("/public", peer=peer(1)).code == 200, "who has its answer, and does not go, goes now"


def test_the_end_of_who_was_pushed_out_gives_no_place_back_twice() -> None:
    pages = Pages()
    silent = [pages.connect(peer=peer(1)) for _ in range(CONNECTIONS + 3)]
    for protocol, transport in silent:
        if transport.disconnecting:
            protocol.connectionLost(module.connectionDone)
    for protocol, _ in silent[3:]:
        protocol.connectionLost(module.connectionDone)
    again = [pages.connect(peer=peer(2)) for _ in range(CONNECTIONS)]
    assert cut(again) == []
    assert cut([*again, pages.connect(peer=peer(2))]) == [0]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        *[
            (each, 200)
            for each in ("http://127.0.0.1:8110/private", "HTTPS://localhost/private?a", "http://[::1]/private")
        ],
        *[(each, 404) for each in ("http://localhost", "http://localhost?/private", "http://localhost/%70rivate")],
        *[(each, 421) for each in ("http://attacker.example/private", "http://127.0.0.1@attacker.example/private")],
        *[(each, 400) for each in ("http:///private", "https://?")],
    ],
)
def test_a_whole_uri_may_be_asked_for_and_its_host_counts(target: str, code: int) -> None:
    assert Pages().ask(target).code == code
    assert Pages().ask(target, name="attacker.example").code == code, "not that of the header"


@pytest.mark.parametrize("path", ["/private", "/public"])
def test_a_request_has_one_host(path: str) -> None:
    pages = Pages()
    for hosts in ([], ["Host: localhost", "Host: attacker.example"], ["Host: localhost"] * 2):
        heard = pages.ask_raw(f"GET {path} HTTP/1.1", *hosts)
        assert (heard.code, heard.body) == (400, b"a request has one Host\n")
    assert pages.ask_raw(f"GET {path} HTTP/1.0").code == 200
    assert pages.ask_raw(f"GET {path} HTTP/1.0", "Host: attacker.example").code == (200 if path == "/public" else 421)
    assert len(pages.asked) == (path == "/private")


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"GET /private" + b"x" * LONGEST_LINE + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /private HTTP/1.1\r\nX: " + b"y" * LONGEST_LINE + b"\r\n\r\n", b"431"),
        (
            b"GET /private HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(MOST_HEADERS + 1)) + b"\r\n",
            b"400",
        ),
        (
            b"GET /private HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(10)) + b"\r\n",
            b"400",
        ),
        (b"x" * 2 * LONGEST_LINE, b"414"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b"400"),
    ],
    ids=["path", "header", "headers", "octets", "no line", "TLS"],
)
def test_what_is_too_much_or_no_http_ends_the_connection(octets: bytes, code: bytes) -> None:
    pages = Pages()
    protocol, transport = pages.connect()
    protocol.dataReceived(octets)
    assert transport.disconnecting
    assert pages.asked == []
    assert transport.value().startswith(b"HTTP/1.1 " + code)
    assert transport.value().endswith(b"\r\n\r\n")


def test_a_second_request_on_a_connection_is_not_served() -> None:
    pages = Pages()
    protocol, transport = pages.connect()
    protocol.dataReceived(b"GET /private HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
    assert len(pages.asked) == 1
    assert transport.value().count(b"HTTP/1.1 200") == 1


def test_the_end_of_the_site_is_the_end_of_its_connections() -> None:
    pages = Pages()
    _, transport = pages.connect()
    pages.site.abort()
    assert transport.disconnecting
