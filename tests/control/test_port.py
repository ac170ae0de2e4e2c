"""The answering side, a connection at a time: who may ask, what is no question, faults, and peers that waste its time."""

import gc
import json
import os
import socket
import stat
import subprocess
import sys

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from mailserver.control.lines import LONGEST, SILENT_SECONDS, line
from mailserver.control.port import PEER_SECONDS, ControlFactory, Impossible, Peer, Question
from mailserver.control.relay import AGAIN_SECONDS
from tests.cli.running import environment

STRANGER = Peer(4711, 12_345, frozenset({12_345, 54_321}))


class Transport(StringTransport):
    """Of a Unix socket, whose other end is this process."""

    def __init__(self, connected):
        super().__init__()
        self.socket = connected
        self.aborted = False

    def abortConnection(self):
        self.aborted = True

    def said(self):
        return [json.loads(each) for each in self.value().splitlines()]


@pytest.fixture
def connected():
    ours, other = socket.socketpair(socket.AF_UNIX)
    with ours, other:
        yield ours


@pytest.fixture
def events():
    found = []
    globalLogPublisher.addObserver(found.append)
    yield found
    globalLogPublisher.removeObserver(found.append)


@pytest.fixture
def reactor():
    return MemoryReactorClock()


@pytest.fixture
def call(connected, reactor, tmp_path):
    """Connect to a server of these questions."""

    def made(questions, **more):
        port = ControlFactory(questions, str(tmp_path / "control"), reactor, **more).buildProtocol(None)
        port.makeConnection(Transport(connected))
        return port

    return made


def named(events, name):
    return [each for each in events if each.get("event") == name]


def test_the_groups_of_a_peer_are_all_that_it_has(connected):
    assert Peer.of(connected) == (os.getpid(), os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process other groups")
def test_a_peer_s_second_group_counts():
    program = (
        "import socket; from mailserver.control.port import Peer; "
        "print(sorted(Peer.of(socket.socketpair(socket.AF_UNIX)[0]).groups))"
    )
    command = [sys.executable, "-P", "-c", program]
    told = subprocess.run(command, env=environment(), extra_groups=[54_321, 54_322], stdout=subprocess.PIPE, check=True)
    assert json.loads(told.stdout) == sorted({os.getegid(), 54_321, 54_322})


@pytest.mark.parametrize(
    ("mode", "gid", "let_in"),
    [(0o600, 54_321, False), (0o660, 54_321, True), (0o660, 54_322, False), (0o640, 54_321, False), (0o666, 1, True)],
)
def test_the_mode_of_the_socket_says_who_may_ask(tmp_path, monkeypatch, mode, gid, let_in):
    path = tmp_path / "control"
    path.touch()
    real = path.stat()
    status = os.stat_result((stat.S_IFSOCK | mode, *real[1:4], 1, gid, *real[6:10]))
    monkeypatch.setattr("mailserver.control.port.Path.stat", lambda _self: status)
    assert STRANGER.may_ask(str(path)) is let_in
    assert Peer(1, 0, frozenset()).may_ask(str(path))
    assert Peer(1, os.geteuid(), frozenset()).may_ask(str(path))
    assert Peer(1, 1, frozenset()).may_ask(str(path)), "the file's owner"


def test_of_a_socket_that_was_removed_nobody_knows_the_mode(tmp_path):
    assert not STRANGER.may_ask(str(tmp_path / "control"))


def test_a_peer_that_may_not_ask_is_told_so_and_gets_no_answer(call, monkeypatch, events):
    monkeypatch.setattr(Peer, "of", lambda _: STRANGER)
    asked = []
    port = call({"who": Question(asked.append)})
    port.dataReceived(line({"question": "who"}))
    assert [each["status"] for each in port.transport.said()] == [os.EX_NOPERM]
    assert port.transport.disconnecting
    assert not asked
    assert [(each["uid"], each["pid"]) for each in named(events, "control.refused")] == [(12_345, 4711)]


@pytest.mark.parametrize(
    "octets",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'"who"\n',
        b'{"question": ["who"]}\n',
        b'{"question": "no"}\n',
        b"[" * 60_000 + b"\n",
    ],
)
def test_what_is_no_question_is_declined(call, octets):
    port = call({"who": Question(lambda _: None)})
    port.dataReceived(octets)
    assert [each["status"] for each in port.transport.said()] == [os.EX_UNAVAILABLE]
    assert port.transport.disconnecting


def test_a_line_without_an_end_is_not_gathered(call):
    port = call({})
    port.dataReceived(b"x" * (LONGEST + 1))
    assert port.transport.disconnecting
    assert port.transport.value() == b""


def test_one_question_a_connection(call):
    asked = []
    port = call({"who": Question(asked.append)})
    port.dataReceived(line({"question": "who"}) * 2)
    assert len(asked) == 1
    assert port.transport.said() == [{"end": {}}]


def test_a_fault_is_told_and_logged_and_ends_the_answer(call, events):
    def broken(asking):
        asking.say({"first": 1})
        raise ZeroDivisionError

    port = call({"who": Question(broken)})
    port.dataReceived(line({"question": "who"}))
    assert [list(each) for each in port.transport.said()] == [["row"], ["error", "status"]]
    assert port.transport.said()[-1]["status"] == os.EX_SOFTWARE
    assert [each["log_failure"].type for each in named(events, "fault")] == [ZeroDivisionError]
    assert port.transport.disconnecting


def test_an_answer_may_wait_for_what_it_says(call):
    found: Deferred[str] = Deferred()

    async def answer(asking):
        asking.say({"found": await found})

    port = call({"who": Question(answer)})
    port.dataReceived(line({"question": "who"}))
    assert port.transport.said() == []
    found.callback("alice")
    assert port.transport.said() == [{"row": {"found": "alice"}}, {"end": {}}]


def test_a_text_that_is_none_is_declined(call):
    port = call({"who": Question(lambda asking: asking.say({"user": asking.text("user")}))})
    port.dataReceived(line({"question": "who", "user": 5}))
    assert port.transport.said() == [{"error": "user must be a text", "status": os.EX_USAGE}]


@pytest.mark.parametrize(
    "asked", [b"", line({"question": "who"}), b"{"], ids=["silent", "reads no answer", "half a line"]
)
def test_a_peer_that_keeps_its_connection_loses_it(call, reactor, asked):
    port = call({"who": Question(lambda _: None)})
    port.dataReceived(asked)
    reactor.advance(PEER_SECONDS - 1)
    assert not port.transport.aborted
    reactor.advance(1)
    assert port.transport.aborted


def test_no_timer_outlives_its_connection(call, reactor):
    port = call({"who": Question(lambda _: None)})
    port.dataReceived(line({"question": "who"}))
    port.connectionLost(Failure(ConnectionDone()))
    assert not reactor.getDelayedCalls()


def test_who_asks_for_a_change_is_logged_with_its_name_whatever_he_adds(call, events):
    port = call({"kick": Question(lambda _: None, changes=True)})
    port.dataReceived(line({"question": "kick", "name": "alice", "own": True}))
    (event,) = named(events, "control.asked")
    assert (event["question"], event["name"], event["uid"]) == ("kick", "alice", os.geteuid())
    assert formatEvent(event) == f"user {os.geteuid()} asks for kick alice"


def test_a_change_of_nothing_by_a_name_is_logged_without_a_blank_in_its_place(call, events):
    call({"reload": Question(lambda _: None, changes=True)}).dataReceived(line({"question": "reload"}))
    (event,) = named(events, "control.asked")
    assert formatEvent(event) == f"user {os.geteuid()} asks for reload"


def test_a_change_is_logged_once_by_the_process_that_was_asked(call, events):
    call({"kick": Question(lambda _: None, changes=True)}, private=True).dataReceived(line({"question": "kick"}))
    assert not named(events, "control.asked")


def test_what_is_impossible_here_leaves_no_other_process_asked_and_no_fault(call, reactor, events):
    def impossible(_asking):
        raise Impossible("name a user", os.EX_USAGE)

    port = call({"kick": Question(impossible, everywhere=True)}, others={2: "/nowhere/control.2"})
    port.dataReceived(line({"question": "kick"}))
    assert port.transport.said() == [{"error": "name a user", "status": os.EX_USAGE}]
    assert not reactor.unixClients
    assert not [each for each in events if "log_failure" in each]


# An answer that goes on.


class Lasting:
    """A question whose answer goes on, and what became of it."""

    def __init__(self, **more):
        self.asking = None
        self.ended = 0
        self.question = Question(self.answer, lasting=True, **more)

    async def answer(self, asking):
        self.asking = asking
        try:
            await Deferred()
        finally:
            self.ended += 1


def test_an_answer_goes_on_beyond_the_time_of_others_until_the_peer_goes(call, reactor, events):
    trace = Lasting()
    port = call({"trace": trace.question})
    port.dataReceived(line({"question": "trace"}))
    trace.asking.say({"a": 1})
    reactor.advance(10 * PEER_SECONDS)
    trace.asking.say({"a": 2})
    assert port.transport.said() == [{"row": {"a": 1}}, {"row": {"a": 2}}]
    assert (port.transport.aborted, port.transport.disconnecting, trace.ended) == (False, False, 0)
    port.connectionLost(Failure(ConnectionDone()))
    assert trace.ended == 1
    assert len(port.transport.said()) == 2
    assert not reactor.getDelayedCalls()
    assert not [each for each in events if "log_failure" in each]


def test_a_peer_that_reads_too_slowly_gets_no_more_and_hears_how_much_that_was(call):
    trace = Lasting()
    port = call({"trace": trace.question})
    port.dataReceived(line({"question": "trace"}))
    port.transport.producer.pauseProducing()
    for number in range(1000):
        trace.asking.say({"a": number})
    assert port.transport.value() == b""
    port.transport.producer.resumeProducing()
    trace.asking.say({"a": "last"})
    assert port.transport.said() == [{"left_out": 1000}, {"row": {"a": "last"}}]
    port.transport.producer.pauseProducing()
    port.transport.producer.resumeProducing()
    assert len(port.transport.said()) == 2


def test_what_another_process_has_left_out_counts_too_where_the_peer_reads_too_slowly(call):
    trace = Lasting()
    port = call({"trace": trace.question})
    port.dataReceived(line({"question": "trace"}))
    port.transport.producer.pauseProducing()
    trace.asking.say({"a": 1})
    trace.asking.send({"left_out": 500})
    for _ in range(2):
        trace.asking.send({"silent": 3})
        trace.asking.send({"lost": 2})
        trace.asking.alive(1)
    port.transport.producer.resumeProducing()
    assert port.transport.said() == [{"silent": 3}, {"lost": 2}, {"left_out": 501}]


def test_an_answer_that_goes_on_may_end_by_itself(call):
    async def impossible(asking):
        asking.say({"a": 1})
        raise Impossible("no")

    port = call({"trace": Question(impossible, lasting=True, everywhere=True)}, others={2: "/nowhere/control.2"})
    port.dataReceived(line({"question": "trace"}))
    assert [list(each) for each in port.transport.said()] == [["row"], ["error", "status"]]
    assert port.transport.disconnecting
    assert port.transport.producer is None


def test_what_other_processes_say_comes_as_they_say_it_and_their_successors_are_asked(call, reactor):
    trace = Lasting(everywhere=True)
    port = call({"trace": trace.question}, others={2: "/nowhere/control.2"})
    port.dataReceived(line({"question": "trace", "name": "alice"}))
    path, factory, *_ = reactor.unixClients.pop()
    assert path == "/nowhere/control.2"
    relay = factory.buildProtocol(None)
    relay.makeConnection(StringTransport())
    assert json.loads(relay.transport.value()) == {"question": "trace", "name": "alice"}
    relay.dataReceived(line({"row": {"worker": 2}}) + line({"left_out": 3}))
    trace.asking.say({"worker": 1})
    assert port.transport.said() == [{"row": {"worker": 2}}, {"left_out": 3}, {"row": {"worker": 1}}]
    port.transport.clear()
    relay.connectionLost(Failure(ConnectionDone()))
    assert port.transport.said() == [{"lost": 2}]
    reactor.advance(AGAIN_SECONDS)
    successor = reactor.unixClients.pop()[1].buildProtocol(None)
    successor.makeConnection(StringTransport())
    successor.dataReceived(line({"row": {"worker": 2}}))
    assert port.transport.said()[-1] == {"row": {"worker": 2}}
    port.connectionLost(Failure(ConnectionDone()))
    assert trace.ended == 1
    assert successor.transport.disconnected
    assert not reactor.getDelayedCalls()


def asked_on(call, reactor):
    """A question whose answer goes on, and the connection to the other process that is asked."""
    port = call({"trace": Lasting(everywhere=True).question}, others={2: "/nowhere/control.2"})
    port.dataReceived(line({"question": "trace"}))
    relay = reactor.unixClients.pop()[1].buildProtocol(None)
    relay.makeConnection(StringTransport())
    return port, relay


def test_a_process_that_hangs_in_its_answer_is_named_each_time_while_it_is_asked_on(call, reactor):
    port, relay = asked_on(call, reactor)
    reactor.advance(SILENT_SECONDS - 1)
    relay.dataReceived(line({"alive": 2}))
    reactor.advance(SILENT_SECONDS - 1)
    assert port.transport.said() == []
    for _ in range(2):
        reactor.advance(10 * SILENT_SECONDS)
        relay.dataReceived(line({"alive": 2}))
    assert port.transport.said() == [{"silent": 2}] * 2
    assert not reactor.unixClients
    port.connectionLost(Failure(ConnectionDone()))
    assert not reactor.getDelayedCalls()


def test_a_process_is_not_silent_whose_words_this_one_has_only_to_read(call, reactor):
    port, relay = asked_on(call, reactor)
    reactor.callLater(SILENT_SECONDS, relay.dataReceived, line({"alive": 2}))  # this one reads after its timers
    reactor.advance(SILENT_SECONDS + 1)
    assert port.transport.said() == []
    port.connectionLost(Failure(ConnectionDone()))
    assert not reactor.getDelayedCalls()


def test_a_process_where_nobody_serves_is_told_and_asked_again(call, reactor):
    trace = Lasting(everywhere=True)
    port = call({"trace": trace.question}, others={2: "/nowhere/control.2"})
    port.dataReceived(line({"question": "trace"}))
    for _ in range(2):
        factory = reactor.unixClients.pop()[1]
        factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        assert port.transport.said()[-1] == {"lost": 2}
        reactor.advance(AGAIN_SECONDS)
    port.connectionLost(Failure(ConnectionDone()))


def test_a_peer_that_goes_while_another_process_is_asked_leaves_no_fault(call, reactor, events):
    port = call({"trace": Lasting(everywhere=True).question}, others={2: "/nowhere/control.2"})
    port.dataReceived(line({"question": "trace"}))
    reactor.unixClients.clear()
    port.connectionLost(Failure(ConnectionDone()))
    del port
    gc.collect()  # which tells of failures that nobody heard
    assert not [each for each in events if "log_failure" in each]


def test_another_process_that_is_silent_is_named(call, reactor):
    port = call({"who": Question(lambda _: None, everywhere=True)}, others={2: "/nowhere/control.2"})
    port.dataReceived(line({"question": "who"}))
    assert port.transport.value() == b""
    reactor.advance(SILENT_SECONDS)
    assert port.transport.said() == [{"end": {"silent": [2]}}]
