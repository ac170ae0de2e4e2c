"""Workers, as real processes: they share the ports, are replaced when they die, and end with their parent."""

import json
import os
import pwd
import re
import select
import signal
import time
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailserver.config.problems import Problems
from mailserver.config.reading import decode, plain
from mailserver.errors import ConfigError
from mailserver.service.channel import CHANNEL
from mailserver.service.employee import RELOAD_SECONDS
from mailserver.service.listeners import DRAIN_SECONDS
from mailserver.service.worker import Lifeline
from mailserver.service.workers import LONGEST_DELAY, STEADY_SECONDS, WorkerFault, Workers
from tests.rawpop3 import RawPOP3
from tests.servers import START_SECONDS, TWIST, TWISTD, Server, Site
from tests.waiting import eventually

PROGRAMS = pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
SESSIONS_OVER_A_PIPE = 2000
"""Two lines each are more than a pipe's 64 KiB and what is kept beside it, in both workers."""
TEXT = (*TWIST[:-2], "--log-format=text", "mailserver")
MESSAGE = b"Subject: hello\r\n\r\nworld\r\n"


@pytest.fixture
def site():
    with Site() as made:
        made.account("alice", "wonderland", messages=[MESSAGE])
        yield made


def pids(server, count):
    """The workers that said that they serve, in the order of their doing so."""

    def told():
        return re.findall(r"worker \d+ serves \(pid (\d+)\)", server.log())

    server._wait(lambda: len(told()) >= count, START_SECONDS, f"{count} workers")
    return [int(pid) for pid in told()]


def fetch(server):
    with RawPOP3(server.pop3_port) as client:
        assert client.login("alice", "wonderland").fetch(b"RETR 1") == MESSAGE
        client.quit()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return state(pid) in ("", "Z")


def state(pid):
    """The letter of /proc for what a process does; none for one that has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def halt(pid):
    """SIGSTOP, and wait until it counts: the signal only asks for it."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: state(pid) == "T", lambda: f"process {pid} goes on")


@PROGRAMS
def test_all_workers_serve_and_sigterm_ends_all(site, program):
    with Server(site, workers=2, program=program) as server:
        fetch(server)
        assert len(workers := pids(server, 2)) == 2
        assert server.stop() == -signal.SIGTERM
        assert all(map(gone, workers))


def test_a_worker_that_is_killed_is_replaced_and_the_port_stays_open(site):
    server = Server(site, workers=2)
    server.start()
    first, second = pids(server, 2)
    os.kill(first, signal.SIGKILL)
    third = pids(server, 3)[2]
    assert third not in (first, second)
    halt(second)  # so that it is the new one who answers
    fetch(server)
    os.kill(second, signal.SIGCONT)
    assert server.stop() == -signal.SIGTERM
    assert gone(second)
    assert gone(third)


def test_sighup_reaches_all_workers(site):
    with Server(site, workers=2) as server:
        pids(server, 2)
        site.renew()
        server.reload()
        server.wait_for("tls.loaded", 2)
        assert {event["worker"] for event in server.told("tls.loaded")} == {1, 2}


def test_the_log_of_a_worker_is_in_the_log_of_the_parent(site):
    with Server(site, workers=2) as server:
        fetch(server)
        server.stop()
        (session,) = [event for event in server.events if "octets_in" in event]
        assert session["worker"] in (1, 2)
        assert session["user"] == "alice"


@pytest.mark.parametrize("program", [TEXT, TWISTD], ids=["twist", "twistd"])
@pytest.mark.parametrize("form", ["twisted", "json"])
def test_the_parent_s_log_has_the_lines_of_the_workers_in_its_own_form(site, program, form):
    server = Server(site, workers=2, program=program, log=form)
    server.start()
    fetch(server)
    server.stop()
    (line,) = [line for line in server.raw.decode().splitlines() if "ended by QUIT" in line]
    if form == "json":
        told = json.loads(line)
        assert (told["user"], told["level"], told["worker"] in (1, 2)) == ("alice", "info", True)
    else:
        assert re.match(r"[-T:\d]{19}[-+]\d{4} \[mailserver\.net\.story#info\] session \S+ of 'alice' from 127", line)
    assert "worker.output" not in server.log()


def test_workers_do_not_outlive_a_parent_that_was_killed(site):
    server = Server(site, workers=2)
    server.start()
    workers = pids(server, 2)
    watched = [os.pidfd_open(pid) for pid in workers]
    server.process.kill()
    for descriptor in watched:
        ended(descriptor)
    server.wait()
    assert all(map(gone, workers))


def test_a_parent_that_is_stopped_halts_no_session_and_the_log_says_what_is_missing(site):
    with Server(site, workers=2) as server:
        pids(server, 2)
        halt(server.pid)
        try:
            for _ in range(SESSIONS_OVER_A_PIPE):
                with RawPOP3(server.pop3_port) as client:
                    client.login("alice", "wonderland")
                    client.quit()
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert server.wait_for("log.dropped")["count"] > 0

        def told_or_counted():
            dropped = server.told("log.dropped")
            if any("worker" not in event for event in dropped):
                return SESSIONS_OVER_A_PIPE  # we read more slowly than the parent writes: a worker's count is among what it dropped
            return len(server.told("pop3.session")) + sum(event["count"] for event in dropped)

        # The other worker may be behind: at its end it would wait a second for the parent, and then lose its count.
        server._wait(
            lambda: told_or_counted() >= SESSIONS_OVER_A_PIPE, START_SECONDS, "each session or its lines' count"
        )


def test_a_hangup_before_a_worker_s_first_line_is_kept_for_it(site, monkeypatch):
    monkeypatch.setattr("tests.servers.STARTS", "real")  # Python's start is what it is about
    with Server(site, workers=2) as server:
        first, _ = pids(server, 2)
        os.kill(first, signal.SIGKILL)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        until = time.monotonic() + START_SECONDS
        while not (new := {int(pid) for pid in children.read_text().split()} - set(pids(server, 2))):
            assert time.monotonic() < until, "there is no new worker, or it said that it serves before we saw it"
        (child,) = new
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
            os.kill(child, number)
        assert pids(server, 3)[2] == child
        assert server.wait_for("service.reload")["worker"] in (1, 2)
        server.events[:] = [event for event in server.events if event.get("event") != "worker.ended"]


def ended(descriptor):
    """Wait for the end of the process behind a pidfd."""
    with os.fdopen(descriptor):
        assert select.select([descriptor], [], [], START_SECONDS)[0], "the worker lives on"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_workers_become_the_user_and_the_parent_can_still_replace_them(site):
    nobody = pwd.getpwnam("nobody")
    for path in (site.folder, *site.folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    server = Server(site, workers=2, user="nobody")
    server.start()
    os.kill(pids(server, 2)[0], signal.SIGKILL)
    for pid in pids(server, 3)[1:]:
        assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}" in Path(f"/proc/{pid}/status").read_text()
    fetch(server)
    server.stop()


class ReactorOfProcesses(Clock):
    """A clock that remembers what was to be spawned."""

    def __init__(self):
        super().__init__()
        self.spawned = []

    def callWhenRunning(self, function, *arguments):
        function(*arguments)

    def spawnProcess(self, protocol, *_arguments, **_options):
        protocol.makeConnection(ProcessOfNobody())
        self.spawned.append(protocol)


class ProcessOfNobody:
    """A process that takes note of its signals; `gone`: one that has ended already."""

    pid = 1
    gone = False

    def __init__(self):
        self.signals = []
        self.written = b""

    def write(self, data):
        self.written += data

    def orders(self):
        """What the parent has told, after the settings."""
        return [json.loads(line)["order"] for line in self.written.splitlines()[1:]]

    def signalProcess(self, name):
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)


def dies(worker):
    worker.processEnded(Failure(ProcessTerminated(9)))


class JournalOf:
    """A log that takes finished lines of a form."""

    def __init__(self, form):
        self.form = form
        self.taken = []

    def write(self, text):
        self.taken.append(text)

    def flush(self):
        self.taken.append("flushed")


def end(workers, reactor):
    """Stop, and let the processes end that there are."""
    workers.stop()
    for each in [each for each in reactor.spawned if each in workers._workers]:
        dies(each)


def pass_on(form, data):
    """A journal to which a worker's output was passed, and what was logged meanwhile."""
    config = decode({"workers": 2, "listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["unix"]}})
    reactor, journal = ReactorOfProcesses(), JournalOf(form)
    workers = Workers(config, reactor, [], journal=journal)
    workers.start()
    with capturedLogs() as events:
        reactor.spawned[0].outReceived(data)
    end(workers, reactor)
    return journal, events, json.loads(reactor.spawned[0].transport.written)


def test_a_worker_s_lines_go_into_the_log_as_they_are_and_at_once():
    lines = [f"2026-11-26T02:19:44+0000 [x#info] {number}\n" for number in range(3)]
    journal, events, spec = pass_on("text", "".join(lines).encode())
    assert spec["log_form"] == "text"
    assert journal.taken == [*lines, "flushed"]
    assert events == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_worker_may_not_write_is_logged_as_the_output_of_a_library(form):
    journal, events, _spec = pass_on(form, b"\x1b[2J trace\n")
    assert journal.taken == ["flushed"]
    assert [event["event"] for event in events] == ["worker.output"]
    assert r"\x1b[2J trace" in formatEvent(events[0])


def test_a_log_of_foreign_lines_gets_events():
    journal, events, spec = pass_on("event", b'{"text": "x", "event": "y"}\n')
    assert spec["log_form"] == "event"
    assert [event["event"] for event in events] == ["y"]
    assert journal.taken == ["flushed"]


class ReplacementTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = ReactorOfProcesses()
        config = decode({"workers": 2, "listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["unix"]}})
        self.workers = Workers(config, self.reactor, [])
        self.addCleanup(end, self.workers, self.reactor)
        self.started = self.workers.start()

    def serve(self):
        self.workers.worker_serves(self.reactor.spawned[0])
        self.successResultOf(self.started)

    def test_the_others_start_when_the_first_serves(self):
        assert len(self.reactor.spawned) == 1
        self.serve()
        self.workers.worker_serves(self.reactor.spawned[0])
        assert len(self.reactor.spawned) == 2

    def test_a_first_that_cannot_serve_ends_the_start(self):
        dies(self.reactor.spawned[0])
        assert "exit code 9" in str(self.failureResultOf(self.started, WorkerFault).value)

    def test_a_first_that_told_its_reasons_needs_no_further_words(self):
        self.reactor.spawned[0].processEnded(Failure(ProcessTerminated(os.EX_CONFIG)))
        assert self.failureResultOf(self.started, ConfigError).value.problems == ()

    def test_who_dies_young_is_replaced_later_and_later(self):
        self.serve()
        delays = []
        for _ in range(8):
            dies(self.reactor.spawned[-1])
            (call,) = self.reactor.getDelayedCalls()
            delays.append(call.getTime() - self.reactor.seconds())
            self.reactor.advance(delays[-1])
        assert delays == [0, 1, 2, 4, 8, 16, LONGEST_DELAY, LONGEST_DELAY]
        self.flushLoggedErrors()

    def test_the_delay_of_one_is_not_that_of_another(self):
        self.serve()
        for _ in range(3):
            dies(self.reactor.spawned[-1])
            self.reactor.advance(LONGEST_DELAY)
        dies(self.reactor.spawned[0])
        assert [call.getTime() for call in self.reactor.getDelayedCalls()] == [self.reactor.seconds()]
        self.flushLoggedErrors()

    def test_who_dies_old_is_replaced_at_once(self):
        self.serve()
        for _ in range(3):
            self.reactor.advance(STEADY_SECONDS)
            dies(self.reactor.spawned[-1])
            self.reactor.advance(0)
        assert len(self.reactor.spawned) == 5

    def test_who_does_not_stop_in_time_is_killed(self):
        self.serve()
        stopped = self.workers.stop()
        self.reactor.advance(DRAIN_SECONDS + 7)
        assert [worker.transport.signals for worker in self.reactor.spawned] == [["TERM", "KILL"]] * 2
        for worker in self.reactor.spawned:
            dies(worker)
        self.successResultOf(stopped)

    def test_who_was_to_be_replaced_is_not_when_all_stop(self):
        self.serve()
        for worker in list(self.reactor.spawned):
            dies(worker)
        self.successResultOf(self.workers.stop())
        assert self.reactor.getDelayedCalls() == []

    def test_who_replaced_another_is_waited_for_too(self):
        self.serve()
        dies(self.reactor.spawned[0])
        self.reactor.advance(0)
        self.flushLoggedErrors()
        stopped = self.workers.stop()
        dies(self.reactor.spawned[1])
        self.assertNoResult(stopped)
        assert self.reactor.spawned[2].transport.signals == ["TERM"]
        dies(self.reactor.spawned[2])
        self.successResultOf(stopped)

    def test_a_first_that_serves_when_all_are_to_stop_starts_no_others(self):
        self.started.addErrback(lambda _: None)
        self.started.cancel()
        stopped = self.workers.stop()
        self.workers.worker_serves(self.reactor.spawned[0])
        assert len(self.reactor.spawned) == 1
        dies(self.reactor.spawned[0])
        self.successResultOf(stopped)

    def test_what_a_library_prints_in_a_worker_is_logged_and_harms_nothing(self):
        with capturedLogs() as events:
            self.reactor.spawned[0].outReceived(b"[7] 1.5: \xff trace\n")
        assert "1.5: \\xff trace" in formatEvent(events[0])

    def test_no_line_of_the_log_says_that_a_worker_serves(self):
        for line in (
            b'{"event": "serving"}',
            b'{"event": "worker.serving", "text": "worker 1 serves", "level": "info"}',
        ):
            self.reactor.spawned[0].childDataReceived(1, line + b"\n")
        self.assertNoResult(self.started)
        assert len(self.reactor.spawned) == 1

    def test_what_a_worker_logs_is_formatted_by_nobody_else(self):
        told = {"text": "{user.__class__} {log_logger()}", "event": "x", "user": "{0}", "log_format": "{log_logger}"}
        told |= {
            "log_failure": 1,
            "log_flattened": {"user!s:": "forged"},
            "items": {"nested": [1]},
            "level": "nonsense",
        }
        with capturedLogs() as events:
            self.reactor.spawned[0].outReceived(json.dumps(told).encode() + b"\n")
        (event,) = events
        assert formatEvent(event) == told["text"]
        assert (event["event"], event["user"], event["worker"]) == ("x", "{0}", 1)
        assert "items" not in event
        assert "log_flattened" not in event
        assert "log_failure" not in event

    def test_a_line_without_an_end_costs_a_bounded_amount_of_memory(self):
        worker = self.reactor.spawned[0]
        with capturedLogs() as events:
            for descriptor in (1, CHANNEL):
                for _ in range(100):
                    worker.childDataReceived(descriptor, b"x" * 65_536)
            worker.childDataReceived(1, b'\n{"text": "and on", "level": "warn"}\n')
            worker.childDataReceived(CHANNEL, b'\n{"event": "serving"}\n')
        assert len(worker._log._rest) + len(worker._words._rest) == 0
        assert [event["event"] for event in events if "event" in event] == ["worker.long_line"]
        assert [formatEvent(event) for event in events][-1] == "and on"
        self.successResultOf(self.started)

    def test_a_reload_ends_when_those_who_serve_have_read_everything_again(self):
        self.serve()
        first, second = self.reactor.spawned
        for worker in (first, second):
            worker.childDataReceived(CHANNEL, b'{"event": "serving"}\n')
        reloaded = self.workers.reload()
        first.childDataReceived(CHANNEL, b'{"event": "reloaded"}\n')
        self.assertNoResult(reloaded)
        dies(second)
        self.successResultOf(reloaded)
        self.flushLoggedErrors()
        late = self.workers.reload()
        self.reactor.advance(RELOAD_SECONDS)
        self.successResultOf(late)
        first.childDataReceived(CHANNEL, b'{"event": "reloaded"}\n')

    def test_who_does_not_serve_yet_hears_of_a_reload_when_he_does(self):
        worker = self.reactor.spawned[0]
        self.workers.reload()
        assert worker.transport.signals == []
        worker.childDataReceived(CHANNEL, b'{"event": "serving"}\n')
        self.successResultOf(self.started)
        assert worker.transport.signals == ["HUP"]
        self.workers.reload()
        assert worker.transport.signals == ["HUP", "HUP"]

    def renewed(self, *words):
        """Both workers serve, other settings are sent, and the first one says these words."""
        self.serve()
        for worker in self.reactor.spawned:
            worker.childDataReceived(CHANNEL, b'{"event": "serving"}\n')
        self.other = decode(
            {"workers": 2, "listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["unix"]}, "hostname": "x"}
        )
        renewed = Deferred.fromCoroutine(self.workers.renew(self.other, Problems()))
        for word in words:
            self.reactor.spawned[0].childDataReceived(CHANNEL, word + b"\n")
        return renewed, *self.reactor.spawned

    def test_settings_are_for_all_workers_when_all_can_serve_by_them(self):
        renewed, first, second = self.renewed()
        assert (first.transport.orders(), second.transport.orders()) == (["prepare"], [])
        first.childDataReceived(CHANNEL, b'{"event": "prepared"}\n')
        assert (first.transport.orders(), second.transport.orders()) == (["prepare"], ["prepare"])
        second.childDataReceived(CHANNEL, b'{"event": "prepared"}\n')
        for worker in (first, second):
            assert worker.transport.orders() == ["prepare", "install"]
            self.assertNoResult(renewed)
            worker.childDataReceived(CHANNEL, b'{"event": "reloaded"}\n')
        self.successResultOf(renewed)

    def test_settings_that_the_first_cannot_serve_by_are_sent_to_no_other(self):
        renewed, first, second = self.renewed(b'{"event": "refused", "problems": ["store.url: \\u001b[2J no"]}')
        error = self.failureResultOf(renewed, ConfigError).value
        assert error.problems == ("store.url: \N{REPLACEMENT CHARACTER}[2J no",)
        assert (first.transport.orders(), second.transport.orders()) == (["prepare", "drop"], [])

    def test_settings_on_which_one_is_silent_are_for_none(self):
        renewed, first, second = self.renewed(b'{"event": "prepared"}')
        self.reactor.advance(RELOAD_SECONDS)
        assert "worker 2" in str(self.failureResultOf(renewed, ConfigError).value)
        assert first.transport.orders() == second.transport.orders() == ["prepare", "drop"]
        second.childDataReceived(CHANNEL, b'{"event": "prepared"}\n')
        assert second.transport.orders() == ["prepare", "drop"]

    def test_who_takes_the_place_of_one_that_died_has_the_settings_of_the_others(self):
        renewed, first, second = self.renewed(b'{"event": "prepared"}')
        dies(second)  # it is no reason against the settings
        first.childDataReceived(CHANNEL, b'{"event": "reloaded"}\n')
        self.successResultOf(renewed)
        self.reactor.advance(0)
        third = self.reactor.spawned[2]
        assert json.loads(third.transport.written.splitlines()[0])["config"] == plain(self.other)
        self.flushLoggedErrors()

    def test_who_was_begun_by_earlier_settings_and_serves_only_now_catches_up(self):
        self.serve()
        first, second = self.reactor.spawned
        first.childDataReceived(CHANNEL, b'{"event": "serving"}\n')
        other = decode({"workers": 2, "listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["unix"]}, "hostname": "x"})
        renewed = Deferred.fromCoroutine(self.workers.renew(other, Problems()))
        for word in (b"prepared", b"reloaded"):
            first.childDataReceived(CHANNEL, b'{"event": "%b"}\n' % word)
        self.successResultOf(renewed)
        assert second.transport.orders() == []
        second.childDataReceived(CHANNEL, b'{"event": "serving"}\n')
        second.childDataReceived(CHANNEL, b'{"event": "prepared"}\n')
        assert second.transport.orders() == ["prepare", "install"]

    def test_a_signal_to_a_process_that_has_just_ended_is_nothing(self):
        worker = self.reactor.spawned[0]
        worker.childDataReceived(CHANNEL, b'{"event": "serving"}\n')
        worker.transport.gone = True
        self.workers.reload()
        assert self.reactor.spawned[0].transport.signals == []

    def test_a_clean_end_without_being_asked_is_replaced_too(self):
        self.serve()
        self.reactor.spawned[0].processEnded(Failure(ProcessDone(0)))
        self.reactor.advance(0)
        assert len(self.reactor.spawned) == 3


def test_a_lifeline_tells_of_its_end_and_of_nothing_else():
    told = []
    reading, writing = os.pipe()
    try:
        line = Lifeline(reading, lambda: told.append("ended"))
        line.connectionLost(Failure(CONNECTION_LOST))
        assert told == []
        line.obey = told.append
        os.write(writing, b'{"order": "drop"}\n{"ord')
        assert line.doRead() is None
        os.write(writing, b'er": "x"}\n')
        assert line.doRead() is None
        assert told == [{"order": "drop"}, {"order": "x"}]
    finally:
        os.close(writing)
    line.connectionLost(Failure(line.doRead()))
    assert told[2:] == ["ended"]
    assert (line.fileno(), line.logPrefix(), line.doRead()) == (reading, "lifeline", CONNECTION_DONE)
    os.close(reading)
