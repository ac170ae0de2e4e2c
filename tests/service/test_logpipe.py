"""A log that waits for no reader: pipes, sockets, terminals and files."""

import os
import pty
import socket
import threading
from contextlib import contextmanager

import pytest
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from mailserver.service import logpipe
from mailserver.service.logpipe import LIMIT, LogPipe

LINE = "x" * 99 + "\n"


class Writers:
    """Who is told when there is something left to write."""

    def __init__(self):
        self.watched = []

    def callFromThread(self, function, *arguments):
        function(*arguments)

    def addWriter(self, writer):
        self.watched.append(writer)

    def removeWriter(self, writer):
        self.watched.remove(writer)


def piped():
    reading, writing = os.pipe()
    return reading, writing


def paired():
    return tuple(end.detach() for end in socket.socketpair())


def terminal():
    return pty.openpty()


@contextmanager
def logged_to(pipe):
    """The count of what was dropped is logged, too, and so comes through the pipe again."""

    def observer(event):
        if event.get("event") == "log.dropped":
            pipe.write(f"dropped {event['count']}\n")

    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)


@pytest.fixture(params=[piped, paired, terminal])
def ends(request):
    reading, writing = request.param()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_all(reading, pipe, reactor):
    """Read, and let the pipe write on, until it has no more."""
    data = bytearray()
    while True:
        os.set_blocking(reading, False)
        try:
            data += os.read(reading, 65_536)
        except BlockingIOError:
            if not reactor.watched:
                return data.replace(b"\r\n", b"\n").decode()
            pipe.doWrite()


def test_what_nobody_reads_is_dropped_counted_and_told_where_it_is_missing(ends):
    reactor = Writers()
    pipe = LogPipe(ends[1], reactor)
    total = 20_000
    with logged_to(pipe):
        for number in range(total):
            pipe.write(f"{number:99}\n")
        assert reactor.watched == [pipe]
        assert pipe._waiting <= LIMIT
        lines = read_all(ends[0], pipe, reactor).splitlines()
        pipe.write("and on\n")
        lines += read_all(ends[0], pipe, reactor).splitlines()
    pipe.close()
    kept = len(lines) - 2
    assert lines == [f"{number:99}" for number in range(kept)] + [f"dropped {total - kept}", "and on"]


def test_the_file_that_others_share_stays_as_it_was(ends):
    pipe = LogPipe(ends[1], Writers())
    pipe.write(LINE)
    pipe.close()
    assert os.get_blocking(ends[1])


def test_a_pipe_that_may_not_be_opened_again_does_not_wait_either(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(logpipe.os, "open", lambda *_: (_ for _ in ()).throw(PermissionError()))
    reactor = Writers()
    pipe = LogPipe(writing, reactor)
    monkeypatch.undo()
    for _ in range(5000):
        pipe.write(LINE)
    assert reactor.watched == [pipe]
    assert set(read_all(reading, pipe, reactor).splitlines()) == {LINE.strip()}
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_a_reader_that_has_gone_ends_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    pipe = LogPipe(writing, Writers())
    pipe.write(LINE)
    pipe.write(LINE)
    pipe.finish()
    assert pipe._waiting == 0
    os.close(writing)


def test_a_file_is_written_at_once(tmp_path):
    with (tmp_path / "log").open("ab", buffering=0) as file:
        pipe = LogPipe(file.fileno(), Writers())
        pipe.write("\ud800\n")
        pipe.flush()
    assert (tmp_path / "log").read_text() == "\\ud800\n"


def test_the_end_of_the_process_waits_for_a_reader_that_is_merely_slow(monkeypatch):
    monkeypatch.setattr(logpipe, "FINISH_SECONDS", 30)  # the reader is a thread, which may get its turn late
    reading, writing = os.pipe()
    pipe = LogPipe(writing, Writers())
    for _ in range(1000):
        pipe.write(LINE)
    data = bytearray()

    def read():
        while len(data) < 1000 * len(LINE):
            data.extend(os.read(reading, 4096))

    thread = threading.Thread(target=read)
    thread.start()
    pipe.finish()
    thread.join()
    assert data.decode() == LINE * 1000


def test_the_end_of_the_process_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(logpipe, "FINISH_SECONDS", 0.01)
    _reading, writing = os.pipe()
    pipe = LogPipe(writing, Writers())
    for _ in range(1000):
        pipe.write(LINE)
    pipe.finish()
    assert pipe._waiting > 0


def test_the_reactor_may_let_go_of_it():
    _reading, writing = os.pipe()
    pipe = LogPipe(writing, Writers())
    pipe.connectionLost(Failure(CONNECTION_DONE))
    assert (pipe.logPrefix(), pipe.fileno() >= 0) == ("log", True)
