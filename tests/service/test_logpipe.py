"""A log that waits for no reader: pipes, sockets, terminals and files."""

import os
import pty
import resource
import socket
import threading
from contextlib import contextmanager

import pytest
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from mailserver.service import logpipe
from mailserver.service.logpipe import BATCH_OCTETS, BATCH_SECONDS, LIMIT, LineObserver, LogFile, LogPipe
from mailserver.service.reporting import text_of

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


class Running(Clock):
    """A reactor that runs, and does later what comes from threads."""

    running = True

    def __init__(self):
        super().__init__()
        self.asked = 0

    def callFromThread(self, function, *arguments):
        self.asked += 1
        self.callLater(0, function, *arguments)


class Log:
    """A file in batches, what is in it, and how often it was written."""

    def __init__(self, path):
        self.path = path
        self.reactor = Running()
        self.writes = 0
        with path.open("a") as opened:
            self.file = LogFile(opened.fileno(), str(path), self.reactor)
        self.watch()

    def watch(self):
        self.send, self.file._send = self.file._send, self.count

    def count(self, data):
        self.writes += 1
        return self.send(data)

    def lines(self):
        return self.path.read_text().splitlines()


@pytest.fixture
def batched(tmp_path):
    log = Log(tmp_path / "log")
    yield log
    log.file.close()


def test_lines_of_a_moment_are_written_together(batched):
    for number in range(100):
        batched.file.write(f"{number}\n")
    batched.reactor.advance(0)
    assert (batched.writes, batched.lines()) == (0, [])
    batched.reactor.advance(BATCH_SECONDS)
    assert (batched.writes, batched.lines()) == (1, [str(number) for number in range(100)])
    assert batched.reactor.asked == 1
    assert batched.reactor.getDelayedCalls() == [], "a quiet log wakes nobody"
    batched.file.write("and on\n")
    batched.reactor.pump([0, BATCH_SECONDS])
    assert (batched.writes, batched.lines()[-1]) == (2, "and on")


def test_many_lines_do_not_wait_for_the_moment_to_pass(batched):
    for _ in range(2 * BATCH_OCTETS // len(LINE) + 1):
        batched.file.write(LINE)
    assert batched.writes == 2
    assert batched.file._waiting < BATCH_OCTETS


def test_a_warning_is_written_at_once_with_all_before_it(batched):
    log = Logger(namespace="test", observer=LineObserver(batched.file, text_of))
    log.info("one")
    log.debug("two")
    assert batched.writes == 0
    log.warn("three")
    assert (batched.writes, [line[-4:].strip() for line in batched.lines()]) == (1, ["one", "two", "hree"])
    log.info("four")
    for level in (LogLevel.error, LogLevel.critical):
        log.emit(level, "five")
    assert batched.writes == 3
    log.info(None, event="without a text")
    assert len(batched.lines()) == 6


@pytest.mark.parametrize("moment", ["before the start", "at the end"])
def test_lines_outside_of_the_reactor_s_time_are_written_at_once(batched, moment):
    if moment == "at the end":
        batched.file.write("last\n")
        batched.file.finish()
        assert batched.lines() == ["last"]
    else:
        batched.reactor.running = False
    batched.file.write("one\n")
    assert batched.lines()[-1] == "one"


def test_a_file_that_was_renamed_keeps_what_waited_for_it(batched):
    batched.file.write("old\n")
    old = batched.path.rename(batched.path.with_suffix(".1"))
    batched.file.reopen()
    batched.file.write("new\n")
    batched.reactor.pump([0, BATCH_SECONDS])
    assert (old.read_text(), batched.path.read_text()) == ("old\n", "new\n")


def test_a_file_that_cannot_be_opened_again_stays(batched):
    folder = batched.path.parent
    batched.file._path = folder / "missing" / "log"
    with pytest.raises(FileNotFoundError):
        batched.file.reopen()
    batched.file.write("on\n")
    batched.file.flush()
    assert batched.lines() == ["on"]


def test_a_signal_during_a_write_tears_no_line_and_keeps_the_order(batched):
    """A handler runs between two system calls of a write that took only a part."""

    def halved(data):
        if batched.writes < 5:
            batched.file.write(f"signal {batched.writes}\n")
            batched.file.flush()
        return batched.count(data[: len(data) // 2 + 1])

    batched.file._send = halved
    batched.file.write("a line that is written in parts\n")
    batched.file.flush()
    assert batched.lines() == ["a line that is written in parts", *(f"signal {number}" for number in range(5))]
    assert batched.file._waiting == 0


def test_lines_of_many_threads_are_whole_and_complete(batched):
    def chatter(name):
        for number in range(500):
            batched.file.write(f"{name} {number} {'x' * 100}\n")

    threads = [threading.Thread(target=chatter, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batched.file.finish()
    lines = batched.lines()
    for name in "abcd":
        told = [line for line in lines if line.startswith(name)]
        assert told == [f"{name} {number} {'x' * 100}" for number in range(500)]
    assert len(lines) == 2000
    assert batched.file._waiting == 0


@pytest.fixture
def full():
    """Files that cannot become longer than this: for whoever writes, a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_tears_no_line_and_ends_nothing(batched, full):
    full(1050)
    for _ in range(20):
        batched.file.write(LINE)
        batched.file.flush()
    full(None)
    assert batched.path.stat().st_size == 1050
    batched.file.write("and on\n")
    batched.file.flush()
    assert batched.lines() == [LINE.strip()] * 20 + ["and on"]


def test_what_a_full_disk_costs_in_memory_is_bounded_and_told(batched, full):
    with logged_to(batched.file):
        full(0)
        for _ in range(LIMIT // len(LINE) + 10):
            batched.file.write(LINE)
        assert batched.file._waiting <= LIMIT
        full(None)
        batched.file.flush()
    assert batched.lines()[-1] == "dropped 10"
    assert batched.lines()[:-1] == [LINE.strip()] * (LIMIT // len(LINE))


def test_a_pipe_in_batches_that_nobody_reads_waits_for_its_reader():
    reading, writing = os.pipe()
    reactor = Writers()
    reactor.running = True
    reactor.callLater = lambda _seconds, due: due()
    pipe = LogPipe(writing, reactor, batched=True)
    for _ in range(1000):
        pipe.write(LINE)
    assert reactor.watched == [pipe]
    assert read_all(reading, pipe, reactor) == LINE * 1000
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_a_line_longer_than_the_limit_is_written_and_what_follows_it_too(batched):
    batched.file.write("x" * LIMIT + "\n")
    batched.file.write("and on\n")
    batched.file.flush()
    assert [len(line) for line in batched.lines()] == [LIMIT, len("and on")]
