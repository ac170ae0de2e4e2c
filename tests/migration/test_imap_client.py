"""Our IMAP client, with servers that are right, wrong and bad. What is the same as in POP3 is tested there."""

import ssl
import tracemalloc
from base64 import b64encode
from contextlib import suppress

import pytest

from mailserver.migration import imap_client
from mailserver.migration.imap_client import Client, Item
from mailserver.migration.likeness import ENOUGH
from mailserver.migration.logins import Denied
from mailserver.migration.server import Address, Trust
from mailserver.migration.source import SourceError
from mailserver.migration.wire import Patience, Refused, TryAgain
from mailserver.tls.certificates import self_signed
from tests.migration.scripted import Scripted

CAPABILITY = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2\r\na1 OK done\r\n"
CLIENTS = []


@pytest.fixture(autouse=True)
def _closed():
    yield
    while CLIENTS:
        CLIENTS.pop().close()


def client_of(server, trust=None, protocol="imap", patience=None):
    CLIENTS.append(
        Client.connect(Address(protocol, "127.0.0.1", server.port), trust or Trust(), patience or Patience(silence=30))
    )
    return CLIENTS[-1]


def scripted(*steps, capability=CAPABILITY):
    def session(talk):
        talk.send(b"* OK [CAPABILITY IMAP4] ready\r\n")
        talk.expect(b"a1 CAPABILITY", capability, *steps)
        talk.hang()

    return Scripted(session)


def plain(*parts):
    return b64encode("\0".join(parts).encode())


@pytest.mark.parametrize(
    ("login", "response"),
    [(("jörg", "grün"), plain("", "jörg", "grün")), (("alice", "sesame", "root"), plain("alice", "root", "sesame"))],
)
def test_users_and_masters_authenticate_by_plain(login, response):
    with scripted(b"a2 AUTHENTICATE PLAIN", b"+ \r\n", response, b"* CAPABILITY x\r\na2 OK in\r\n") as server:
        client_of(server).login(*login)


def test_a_server_without_plain_has_login_with_quotation():
    line = rb'a2 LOGIN "a\"b" "c\\d e"'
    with scripted(line, b"a2 OK\r\n", capability=b"a1 OK\r\n") as server:
        client_of(server).login('a"b', "c\\d e")
    with scripted(b'a2 LOGIN "a*root" "x"', b"a2 OK\r\n", capability=b"a1 OK\r\n") as server:
        client_of(server).login("a", "x", "root")


def test_a_token_is_a_secret_too():
    response = b64encode(b"user=alice\1auth=Bearer sesame\1\1")
    steps = [
        b"a2 AUTHENTICATE XOAUTH2",
        b"+\r\n",
        response,
        b"+ eyJ9\r\n",
        b"",
        b"a2 NO [AUTHENTICATIONFAILED] expired\r\n",
    ]
    with (
        scripted(*steps) as server,
        pytest.raises(SourceError, match=r"login of alice: \[AUTHENTICATIONFAILED\] expired"),
    ):
        client_of(server).login("alice", "sesame", token=True)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (b"NO wrong", Denied, "wrong"),
        (b"BAD sesame", Denied, "not shown"),
        (b"NO [UNAVAILABLE] wait", TryAgain, "wait"),
    ],
)
def test_a_refused_login_is_told_without_the_secret(said, kind, words):
    steps = [b'a2 LOGIN "alice" "sesame"', b"a2 " + said + b"\r\n"]
    with scripted(*steps, capability=b"a1 OK\r\n") as server, pytest.raises(SourceError, match=words) as caught:
        client_of(server).login("alice", "sesame")
    assert type(caught.value) is kind
    assert "sesame" not in str(caught.value)


def test_a_secret_with_quotation_marks_is_not_shown_as_it_was_sent():
    steps = [b'a2 LOGIN "alice" "sesa\\"me"', b'a2 BAD "sesa\\"me"?\r\n']
    with scripted(*steps, capability=b"a1 OK\r\n") as server, pytest.raises(SourceError, match="not shown") as caught:
        client_of(server).login("alice", 'sesa"me')
    assert "sesa" not in str(caught.value)


def test_a_name_that_would_be_two_commands_is_not_sent():
    with scripted() as server, pytest.raises(SourceError, match="octet"):
        client_of(server).login("a\r\na2 DELETE INBOX", "x")


def test_messages_are_listed_by_their_uids_whatever_else_is_said():
    answer = (
        b"* 2 EXISTS\r\n* OK still here\r\n"
        b'* 2 FETCH (INTERNALDATE "01-Jan-2026 00:00:00 +0000" FLAGS (\\sEEN) RFC822.SIZE 7 UID 9 X NIL)\r\n'
        b"* 1 FETCH (FLAGS (\\Deleted))\r\n"
        b"* 1 FETCH (UID 5 FLAGS () INTERNALDATE {3}\r\nxyz RFC822.SIZE 1)\r\n"
        b"* 4 FETCH (UID 6 FLAGS NIL RFC822.SIZE 1)\r\n* 4 FETCH (UID 6 FLAGS () RFC822.SIZE x)\r\n"
        b"* 3 EXPUNGE\r\n* VANISHED 1\r\n*  \r\na3 OK done\r\n"
    )
    steps = [b"a2 EXAMINE INBOX", b"* 2 EXISTS\r\na2 OK [READ-ONLY]\r\n"]
    with scripted(*steps, b"a3 UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)", answer) as server:
        assert client_of(server).listing() == [Item(5, 1, None, False), Item(9, 7, 1767225600.0, True)]


def test_an_empty_mailbox_is_asked_for_nothing():
    with scripted(b"a2 EXAMINE INBOX", b"* 0 EXISTS\r\na2 OK\r\n") as server:
        assert client_of(server).listing() == []


def test_headers_come_in_the_order_in_which_they_were_asked_for():
    command = b"a2 UID FETCH 3,1,2 (UID BODY.PEEK[HEADER]<0.%d>)" % ENOUGH
    answer = b'* 1 FETCH (UID 1 BODY[HEADER]<0> {4}\r\nA: 1)\r\n* 3 FETCH (BODY[HEADER] "A: 3" UID 3)\r\na2 OK\r\n'
    with scripted(command, answer) as server:
        assert list(client_of(server).headers([3, 1, 2])) == [b"A: 3", b"A: 1", None]


def test_headers_that_nobody_has_asked_for_are_not_kept():
    header = b"* 1 FETCH (UID %d BODY[HEADER]<0> {200000}\r\n" + b"x" * 200_000 + b")\r\n"

    def session(talk):
        talk.send(b"* OK\r\n")
        talk.expect(b"a1 CAPABILITY", CAPABILITY)
        talk.line()
        for uid in range(2, 202):
            talk.send(header % uid)
        talk.send(b"a2 OK\r\n")
        talk.hang()

    with Scripted(session) as server:
        client = client_of(server)
        tracemalloc.start()
        try:
            assert list(client.headers([1])) == [None]
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


def test_many_headers_are_asked_for_in_parts():
    def session(talk):
        talk.send(b"* OK\r\n")
        talk.expect(b"a1 CAPABILITY", CAPABILITY)
        for tag, count in ((b"a2", 50), (b"a3", 50), (b"a4", 20)):
            assert talk.line().split(b" ")[3].count(b",") == count - 1
            talk.send(tag + b" OK\r\n")
        talk.hang()

    with Scripted(session) as server:
        assert list(client_of(server).headers(range(1, 121))) == [None] * 120


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"* 1 FETCH (UID 1\r\n", "list without an end"),
        (b"* 1 FETCH (UID {999999999}\r\n", "literal of 999999999 octets"),
        (b"* 1 FETCH ({1}\r\nx" + b" {1}\r\nx" * 200 + b")\r\n", "literal"),
        (b"* " + b"x" * 20_000 + b"\r\n", "line of more than"),
        (b"hello\r\n", "has no tag"),
        (b"a1 OK late\r\n", "has no tag"),
        (b"* BYE shutting down\r\n", "ends the session: shutting down"),
        (b"a2 NO not now\r\n", "refuses FETCH: not now"),
        (b"* 1 FETCH (UID {5}\r\nx", "silent"),
    ],
)
def test_an_answer_that_is_none_is_an_error(answer, what):
    with scripted(b"a2 UID FETCH 1 (UID BODY.PEEK[HEADER]<0.%d>)" % ENOUGH, answer) as server:
        client = client_of(server, patience=Patience(silence=0.1))
        with pytest.raises(SourceError, match=what):
            list(client.headers([1]))


def test_a_list_without_an_end_is_not_believed(monkeypatch):
    monkeypatch.setattr(imap_client, "LISTED", 100)
    lines = b"".join(b"* 1 FETCH (UID %d FLAGS () RFC822.SIZE 1)\r\n" % uid for uid in range(1, 1000))
    steps = [
        b"a2 EXAMINE INBOX",
        b"* 1 EXISTS\r\na2 OK\r\n",
        b"a3 UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)",
        lines,
    ]
    with scripted(*steps) as server, pytest.raises(SourceError, match="more than 100 messages"):
        client_of(server).listing()


@pytest.mark.parametrize(
    ("greeting", "kind"),
    [
        (b"* PREAUTH somebody\r\n", SourceError),
        (b"+OK POP3\r\n", SourceError),
        (b"* BYE too many\r\n", TryAgain),
        (b"", TryAgain),
    ],
)
def test_a_greeting_that_is_none_is_an_error(greeting, kind):
    def session(talk):
        talk.send(greeting)
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError) as caught:
        client_of(server, patience=Patience(connect=0.05))
    assert type(caught.value) is kind


def test_a_session_ends():
    with scripted(b"a2 LOGOUT", b"* BYE see you\r\na2 OK\r\n") as server:
        client = client_of(server)
        client.logout()
        with pytest.raises(TryAgain):
            client.examine()


def test_a_mailbox_that_cannot_be_opened_is_refused():
    with scripted(b"a2 EXAMINE INBOX", b"a2 NO gone\r\n") as server, pytest.raises(Refused, match="gone"):
        client_of(server).listing()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for name, data in zip(("certificate", "key"), self_signed(["127.0.0.1"]), strict=True):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context, str(folder / "certificate")


def upgraded(context):
    def session(talk):
        talk.send(b"* OK\r\n")
        talk.expect(b"a1 CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK\r\n", b"a2 STARTTLS", b"a2 OK\r\n")
        talk.tls(context)
        talk.expect(b"a3 CAPABILITY", b"a3 OK\r\n", b'a4 LOGIN "a" "x"', b"a4 OK\r\n")
        talk.hang()

    return session


def secure(context):
    def session(talk):
        talk.tls(context)
        talk.send(b"* OK\r\n")
        talk.expect(b"a1 CAPABILITY", b"a1 OK\r\n", b'a2 LOGIN "a" "x"', b"a2 OK\r\n")
        talk.hang()

    return session


@pytest.mark.parametrize("session", [secure, upgraded])
def test_tls_comes_first_or_by_starttls(session, certificate):
    with Scripted(session(certificate[0])) as server:
        protocol = "imaps" if session is secure else "imap"
        client_of(server, Trust("verify", certificate[1]), protocol).login("a", "x")


@pytest.mark.parametrize("session", [secure, upgraded])
def test_a_certificate_of_an_unknown_authority_is_refused_before_the_login(session, certificate):
    def quietly(talk):
        with suppress(OSError):
            session(certificate[0])(talk)
            raise AssertionError("it went on")

    with Scripted(quietly) as server, pytest.raises(SourceError, match="ca=FILE"):
        client_of(server, protocol="imaps" if session is secure else "imap").login("a", "x")


def test_a_server_elsewhere_without_tls_gets_no_password_unless_told(monkeypatch):
    monkeypatch.setattr(Address, "here", property(lambda _: False))
    with scripted() as server, pytest.raises(SourceError, match="imaps://"):
        client_of(server)
    with scripted() as server:
        client_of(server, Trust("none"))
