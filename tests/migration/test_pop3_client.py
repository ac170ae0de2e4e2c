"""Our POP3 client, with servers that are right, wrong and bad."""

import ssl
from base64 import b64encode
from contextlib import suppress
from itertools import count

import pytest

from mailserver.migration import pop3_client, wire
from mailserver.migration.likeness import ENOUGH
from mailserver.migration.logins import Denied
from mailserver.migration.pop3_client import Client
from mailserver.migration.server import Address, Trust
from mailserver.migration.source import SourceError, Unreadable
from mailserver.migration.wire import Patience, TryAgain, Wire
from mailserver.tls.certificates import self_signed
from tests.corpus import SMALL, canonical
from tests.migration.scripted import Scripted

GREETING = b"+OK ready\r\n"
CAPA = b"+OK\r\nTOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\nSASL PLAIN XOAUTH2\r\n.\r\n"
SECRET = "sesame: of alice"
IMPATIENT = Patience(connect=0.05, silence=0.05, command=0.05)


CLIENTS = []


@pytest.fixture(autouse=True)
def _closed():
    yield
    while CLIENTS:
        CLIENTS.pop().close()


def begun(talk, capa=CAPA):
    talk.send(GREETING)
    talk.expect(b"CAPA", capa)


def logged_in(talk):
    begun(talk)
    talk.expect(b"USER alice", b"+OK\r\n", b"PASS sesame: of alice", b"+OK\r\n", b"CAPA", CAPA)


def scripted(*steps, start=logged_in):
    def session(talk):
        start(talk)
        talk.expect(*steps)
        talk.hang()

    return Scripted(session)


def client_of(server, trust=None, patience=wire.PATIENCE, host="127.0.0.1", protocol="pop3"):
    CLIENTS.append(Client.connect(Address(protocol, host, server.port), trust or Trust(), patience))
    return CLIENTS[-1]


def alice(server, **more):
    client = client_of(server, **more)
    client.login("alice", SECRET)
    return client


def stuffed(message):
    lines = canonical(message)
    return (b"." if lines.startswith(b".") else b"") + lines.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def test_a_session_lists_reads_and_ends():
    steps = [b"UIDL", b"+OK\r\n1 one\r\n3 a\x80 \r\n.\r\n", b"LIST", b"+OK 2 messages\r\n1 120\r\n3 7 more\r\n.\r\n"]
    steps += [b"RETR 3", b"+OK 7 octets\r\nhi\r\n..\r\n.\r\n", b"TOP 1 0", b"+OK\r\n\r\n.\r\n", b"QUIT", b"+OK\r\n"]
    with scripted(*steps) as server:
        client = alice(server)
        assert client.uidl() == [(1, b"one"), (3, b"a\x80")]
        assert client.listing() == [(1, 120), (3, 7)]
        assert b"".join(client.retr(3)) == b"hi\r\n.\r\n"
        assert b"".join(client.top(1, 0)) == b"\r\n"
        client.quit()
        client.close()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("piece", [1 << 20, 7])
def test_messages_come_as_they_are_however_they_are_split(name, piece, monkeypatch):
    monkeypatch.setattr(wire, "CHUNK", piece)
    message = SMALL[name] if piece == 1 << 20 else SMALL[name][:2000]
    with scripted(b"RETR 1", b"+OK\r\n" + stuffed(message) + b"+OK next\r\n") as server:
        client = alice(server)
        assert b"".join(client.retr(1)) == canonical(message)
        assert client._wire.line() == b"+OK next"


def test_only_a_line_of_its_own_with_crlf_ends_a_message():
    forged = b"a\n.\r\nb\r\n.\nc\r.\r\n"
    with scripted(b"RETR 1", b"+OK\r\n" + forged + b".\r\n") as server:
        client = alice(server)
        assert b"".join(client.retr(1)) == b"a\n.\r\nb\r\n\nc\r.\r\n"


def test_a_large_message_is_streamed():
    line = b"x" * 998 + b"\r\n"

    def session(talk):
        logged_in(talk)
        assert talk.line() == b"RETR 1"
        talk.send(b"+OK\r\n")
        for _ in range(120):
            talk.send(line * 1000)
        talk.send(b".\r\n")
        talk.hang()

    with Scripted(session) as server:
        client = alice(server)
        sizes = [len(piece) for piece in client.retr(1)]
        assert sum(sizes) == 120_000_000
        assert max(sizes) <= wire.CHUNK + 4


def test_headers_of_many_messages_are_asked_for_at_once_and_cut_where_nobody_reads_them():
    numbers = list(range(1, 121))
    long = b"X: " + b"y" * ENOUGH + b"\r\n\r\n"

    def session(talk):
        logged_in(talk)
        for begin in range(0, 120, 50):
            window = numbers[begin : begin + 50]
            assert [talk.line() for _ in window] == [b"TOP %d 0" % number for number in window]
            for number in window:
                talk.send(
                    {2: b"-ERR gone\r\n", 3: b"+OK\r\n" + long + b".\r\n"}.get(
                        number, b"+OK\r\nX: %d\r\n\r\n.\r\n" % number
                    )
                )
        talk.hang()

    with Scripted(session) as server:
        client = alice(server)
        found = list(client.tops(numbers))
        assert found[0] == b"X: 1\r\n\r\n"
        assert found[1] is None
        assert found[2] == long[:ENOUGH]
        assert found[119] == b"X: 120\r\n\r\n"


def test_a_server_without_pipelining_is_asked_one_by_one():
    def session(talk):
        begun(talk, b"-ERR unknown\r\n")
        talk.expect(b"USER alice", b"+OK\r\n", b"PASS sesame: of alice", b"+OK\r\n", b"CAPA", b"-ERR unknown\r\n")
        assert talk.line() == b"TOP 1 0"
        assert talk.unread == b""
        talk.send(b"+OK\r\n\r\n.\r\n")
        talk.expect(b"TOP 2 0", b"+OK\r\n\r\n.\r\n")
        talk.hang()

    with Scripted(session) as server:
        client = alice(server)
        assert list(client.tops([1, 2])) == [b"\r\n", b"\r\n"]


def test_a_message_that_the_server_refuses_is_unreadable_and_the_session_goes_on():
    with scripted(b"RETR 1", b"-ERR \x1b[31mgone\r\n", b"RETR 2", b"+OK\r\n.\r\n") as server:
        client = alice(server)
        with pytest.raises(Unreadable, match=r"refuses RETR 1: \?\[31mgone"):
            list(client.retr(1))
        assert list(client.retr(2)) == []


def test_a_message_that_is_not_read_to_its_end_ends_the_session():
    with scripted(b"RETR 1", b"+OK\r\n" + b"x\r\n" * 100_000 + b".\r\n") as server:
        client = alice(server)
        message = client.retr(1)
        next(message)
        message.close()
        with pytest.raises(TryAgain):
            client.listing()


def plain(*parts):
    return b64encode("\0".join(parts).encode())


@pytest.mark.parametrize(
    ("capa", "login", "steps"),
    [
        (CAPA, ("alice", SECRET, "root"), [b"AUTH PLAIN", b"+ \r\n", plain("alice", "root", SECRET), b"+OK\r\n"]),
        (b"-ERR\r\n", ("alice", "x", "root"), [b"USER alice*root", b"+OK\r\n", b"PASS x", b"+OK\r\n"]),
        (
            b"+OK\r\nSASL PLAIN\r\n.\r\n",
            ("jörg", "grün", ""),
            [b"AUTH PLAIN", b"+\r\n", plain("", "jörg", "grün"), b"+OK\r\n"],
        ),
        (b"-ERR\r\n", ("jörg", "grün", ""), ["USER jörg".encode(), b"+OK\r\n", "PASS grün".encode(), b"+OK\r\n"]),
    ],
)
def test_users_log_in_by_their_passwords_and_a_master_user_by_his(capa, login, steps):
    def session(talk):
        begun(talk, capa)
        talk.expect(*steps, b"CAPA", capa)
        talk.hang()

    with Scripted(session) as server:
        client = client_of(server)
        client.login(*login)


def test_a_token_is_a_secret_too():
    response = b64encode(b"user=alice\1auth=Bearer sesame\1\1")

    def session(talk):
        begun(talk)
        talk.expect(b"AUTH XOAUTH2", b"+ \r\n", response, b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n", b"", b"-ERR expired\r\n")
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError, match="refuses the login of alice: expired"):
        client_of(server).login("alice", "sesame", token=True)


@pytest.mark.parametrize(
    ("said", "kind"),
    [(b"-ERR wrong", Denied), (b"-ERR [AUTH] no", Denied), (b"-ERR [IN-USE] wait", TryAgain)],
)
def test_a_refused_login_says_whether_it_may_go_well_later(said, kind):
    def session(talk):
        begun(talk)
        talk.expect(b"USER alice", b"+OK\r\n", b"PASS sesame: of alice", said + b"\r\n")
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError, match="refuses the login of alice") as caught:
        alice(server)
    assert type(caught.value) is kind


@pytest.mark.parametrize("before", [b"PASS %b", b"(%b)"])
def test_a_server_that_repeats_the_secret_is_not_quoted(before):
    def session(talk):
        begun(talk)
        talk.expect(b"USER alice", b"+OK\r\n", b"PASS sesame: of alice", b"-ERR " + before % SECRET.encode() + b"\r\n")
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError) as caught:
        alice(server)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("master", ["r", "ro", "roo"])
def test_a_server_that_repeats_the_secret_in_base64_is_not_quoted(master):
    response = plain("alice", master, SECRET)

    def session(talk):
        begun(talk)
        talk.expect(b"AUTH PLAIN", b"+ \r\n", response, b"-ERR bad " + response + b"\r\n")
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError, match="not shown") as caught:
        client_of(server).login("alice", SECRET, master)
    assert response.decode() not in str(caught.value)


@pytest.mark.parametrize(
    "login", [("a\nb", "x"), ("a", "x\r\nDELE 1"), ("a", "x\0"), ("a", "x", "m\r"), ("\udce4", "x")]
)
def test_a_name_or_secret_that_would_be_two_commands_is_not_sent(login):
    with scripted(start=begun) as server:
        client = client_of(server)
        with pytest.raises(SourceError, match="octet") as caught:
            client.login(*login)
        assert "DELE" not in str(caught.value)


def test_a_login_without_a_secret_is_not_tried():
    with scripted(start=begun) as server, pytest.raises(SourceError, match="no password for alice"):
        client_of(server).login("alice", "")


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (b"", "silent"),
        (b"+OK no line end", "silent"),
        (b"x" * 20_000, "line of more than"),
        (b"+OK " + b"x" * 20_000 + b"\r\n", "line of more than"),
        (b"HTTP/1.1 400\r\n", "does not speak POP3"),
        (b"-ERR too many\r\n", "refuses the connection: too many"),
    ],
)
def test_a_greeting_that_is_none_ends_the_wait(sent, what):
    def session(talk):
        talk.send(sent)
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError, match=what):
        client_of(server, patience=IMPATIENT)


def test_a_greeting_that_refuses_may_be_another_one_later():
    with Scripted(lambda talk: talk.send(b"-ERR too many\r\n")) as server, pytest.raises(TryAgain, match="too many"):
        client_of(server)


def test_a_server_that_cannot_be_reached_is_told():
    with Scripted() as server:
        pass
    with pytest.raises(TryAgain, match="cannot be reached: Connection refused"):
        client_of(server)
    with pytest.raises(TryAgain, match="cannot be reached"):
        Client.connect(Address("pop3", "a." * 200, 1), Trust())


@pytest.mark.parametrize("command", ["uidl", "listing"])
@pytest.mark.parametrize(
    "lines", [b"1 2\r\n1 3\r\n", b"2 2\r\n1 2\r\n", b"x 1\r\n", b"-1 1\r\n", b"9999999999999999999 1\r\n", b"\r\n"]
)
def test_a_list_with_numbers_that_are_none_is_refused(command, lines):
    word = {"uidl": b"UIDL", "listing": b"LIST"}[command]
    with scripted(word, b"+OK\r\n" + lines + b".\r\n") as server:
        client = alice(server)
        with pytest.raises(SourceError, match="what is none"):
            getattr(client, command)()


@pytest.mark.parametrize("octets", [b"", b"x", b"-1", b"9" * 19])
def test_a_size_that_is_none_is_refused(octets):
    with scripted(b"LIST", b"+OK\r\n1 " + octets + b"\r\n.\r\n") as server:
        client = alice(server)
        with pytest.raises(SourceError, match="what is none"):
            client.listing()


def test_a_list_without_an_end_is_not_believed(monkeypatch):
    monkeypatch.setattr(pop3_client, "LISTED", 1000)
    lines = b"".join(b"%d x\r\n" % number for number in range(1, 2000))
    with scripted(b"UIDL", b"+OK\r\n" + lines) as server:
        client = alice(server)
        with pytest.raises(SourceError, match="more than 1000 lines"):
            client.uidl()


def test_a_list_of_endless_unique_ids_is_not_kept_in_memory(monkeypatch):
    monkeypatch.setattr(pop3_client, "LISTED", 1000)
    lines = b"".join(b"%d %b\r\n" % (number, b"x" * 2000) for number in range(1, 60))
    with scripted(b"UIDL", b"+OK\r\n" + lines) as server:
        client = alice(server)
        with pytest.raises(SourceError, match="or 100000 octets"):
            client.uidl()


def test_an_answer_without_an_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(wire, "MOST", 1_000_000)

    def endless(talk):
        logged_in(talk)
        assert talk.line() == b"TOP 1 0"
        while True:
            talk.send(b"+OK\r\n" + b"x" * 998 + b"\r\n")

    with Scripted(endless) as server:
        client = alice(server)
        with pytest.raises(SourceError, match="more than 1000000 octets as one answer"):
            list(client.tops([1]))


def test_a_server_that_falls_silent_in_the_middle_is_given_up():
    with scripted(b"RETR 1", b"+OK\r\nthe beg") as server:
        client = alice(server, patience=Patience(silence=0.05))
        with pytest.raises(TryAgain, match=r"silent for 0\.05 seconds"):
            list(client.retr(1))


def test_a_server_that_closes_in_the_middle_is_told():
    def session(talk):
        logged_in(talk)
        talk.expect(b"RETR 1", b"+OK\r\nthe beg")

    with Scripted(session) as server:
        client = alice(server)
        with pytest.raises(TryAgain, match="closed the connection"):
            list(client.retr(1))


def opened(*arguments):
    CLIENTS.append(Wire(*arguments))
    return CLIENTS[-1]


def test_an_answer_that_drips_is_given_up_whatever_comes_in_time():
    def session(talk):
        talk.send(GREETING)
        for number in count():
            talk.send(b"+OK %d\r\n" % number)

    ticks = count(0, 30)
    with Scripted(session) as server:
        connection = opened(
            Address("pop3", "127.0.0.1", server.port), Patience(command=100, rate=1 << 20), ticks.__next__
        )
        with pytest.raises(TryAgain, match="more than 120 seconds for one answer"):
            for _ in connection.dotted():
                pass


def test_a_long_answer_may_take_as_long_as_its_octets_allow():
    ticks = count(0, 30)
    with scripted(b"RETR 1", b"+OK\r\n" + b"x" * 3_000_000 + b"\r\n.\r\n", start=lambda talk: None) as server:
        connection = opened(Address("pop3", "127.0.0.1", server.port), Patience(command=100, rate=100), ticks.__next__)
        connection.send(b"RETR 1\r\n")
        assert sum(map(len, connection.dotted())) == 3_000_007


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = self_signed(["127.0.0.1"])
    (folder / "certificate").write_bytes(certificate)
    (folder / "key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context, str(folder / "certificate")


def secure(context):
    def session(talk):
        talk.tls(context)
        logged_in(talk)
        talk.hang()

    return session


def upgraded(context, extra=b""):
    def session(talk):
        begun(talk, b"+OK\r\nSTLS\r\n.\r\n")
        talk.expect(b"STLS", b"+OK\r\n" + extra)
        talk.tls(context)
        talk.expect(b"CAPA", CAPA)
        talk.expect(b"USER alice", b"+OK\r\n", b"PASS sesame: of alice", b"+OK\r\n", b"CAPA", CAPA)
        talk.hang()

    return session


@pytest.mark.parametrize("tls", ["verify", "unverified"])
@pytest.mark.parametrize("session", [secure, upgraded])
def test_tls_comes_first_or_by_stls(session, tls, certificate):
    context, file = certificate
    with Scripted(session(context)) as server:
        trust = Trust(tls, file if tls == "verify" else "")
        alice(server, trust=trust, protocol="pop3s" if session is secure else "pop3")


@pytest.mark.parametrize("session", [secure, upgraded])
def test_a_certificate_of_an_unknown_authority_is_refused_before_the_login(session, certificate):
    def quietly(talk):
        with suppress(OSError):
            session(certificate[0])(talk)
            raise AssertionError("it went on")

    with Scripted(quietly) as server, pytest.raises(SourceError, match="ca=FILE"):
        alice(server, protocol="pop3s" if session is secure else "pop3")


def test_a_certificate_for_another_name_is_refused(certificate):
    def quietly(talk):
        with suppress(OSError):
            talk.tls(certificate[0])
            assert not talk.line()

    with Scripted(quietly) as server, pytest.raises(SourceError, match="not valid"):
        Client.connect(Address("pop3s", "localhost", server.port), Trust("verify", certificate[1]))


def test_octets_before_tls_are_not_taken_for_what_came_inside(certificate):
    def session(talk):
        begun(talk, b"+OK\r\nSTLS\r\n.\r\n")
        talk.expect(b"STLS", b"+OK\r\n+OK forged\r\n")
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError, match="between"):
        client_of(server, trust=Trust("verify", certificate[1]))


def test_a_server_elsewhere_without_tls_gets_no_password_unless_told(monkeypatch):
    monkeypatch.setattr(Address, "here", property(lambda _: False))
    with scripted(start=begun) as server, pytest.raises(SourceError, match="tls=none"):
        client_of(server)
    with scripted() as server:
        alice(server, trust=Trust("none"))


def test_a_missing_file_of_authorities_is_told(tmp_path):
    def session(talk):
        talk.hang()

    with Scripted(session) as server, pytest.raises(SourceError, match="nowhere"):
        client_of(server, trust=Trust("verify", str(tmp_path / "nowhere")), protocol="pop3s")


def test_tls_that_never_answers_ends_the_wait():
    def session(talk):
        talk.hang()

    with Scripted(session) as server, pytest.raises(TryAgain, match="TLS"):
        client_of(server, protocol="pop3s", patience=IMPATIENT)
