"""The new process of a restart as the old one sees it, without one: it serves, it cannot, it is silent, or it is not to serve any more."""

import json
import os

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailserver.service.legacy import ORDERS, WORDS, Legacy
from mailserver.service.origin import Origin
from mailserver.service.successor import START_SECONDS, TELL_SECONDS, CannotServe, Successor

SERVES = b'{"word": "serves", "taken": [6]}\n'


class Pipe:
    """A pipe with room for a line; the reader reads each when the test says so."""

    def __init__(self, told):
        self._told = told
        self._producer = None

    def registerProducer(self, producer, streaming):
        assert not streaming
        self._producer = producer
        producer.resumeProducing()

    def unregisterProducer(self):
        self._producer = None

    def write(self, octets):
        self._told.append(json.loads(octets))

    def read(self):
        self._producer.resumeProducing()

    def close(self):
        self._producer.stopProducing()


class Child:
    """The transport of a process: what it was told, and the signals that it got."""

    pid = 17

    def __init__(self):
        self.told = []
        self.pipes = {ORDERS: Pipe(self.told)}
        self.signals = []
        self.ended = False

    def writeToChild(self, descriptor, octets):
        assert descriptor == ORDERS
        self.told.append(json.loads(octets))

    def signalProcess(self, name):
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)


class Spawning(Clock):
    """A reactor that starts processes, which do nothing."""

    stopped = False

    def stop(self):
        self.stopped = True

    def spawnProcess(self, protocol, program, arguments, **around):
        self.child, self.around = protocol, around
        protocol.makeConnection(Child())


class SuccessorTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = Spawning()
        environment = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "WATCHDOG_PID": "1", "LANG": "C"}
        origin = Origin(("python", "-m", "twisted"), "/srv", environment)
        self.child = Successor.start(origin, Legacy(), [], self.reactor)

    @property
    def pipe(self):
        return self.child.transport.pipes[ORDERS]

    def refused(self):
        return self.failureResultOf(self.child.serving, CannotServe).value

    def test_it_is_told_what_it_has_and_no_variable_that_was_for_another_process(self):
        assert self.child.transport.told == [{**Legacy().plain(), "tickets": []}]
        assert self.reactor.around["env"] == {"LANG": "C", "MAILSERVER_SUCCEEDS": str(os.getpid())}
        assert self.reactor.around["path"] == "/srv"

    def test_what_it_has_taken_is_its_own_when_it_is_told_so(self):
        self.child.childDataReceived(WORDS, b'no word\n["serves"]\n{"word": "serves", "taken": 1}\n' + SERVES[:9])
        self.assertNoResult(self.child.serving)
        self.child.childDataReceived(WORDS, SERVES[9:] + SERVES)
        assert self.successResultOf(self.child.serving) == [6]
        told = self.child.leave_all([{"word": "remember"}])
        assert self.child.transport.told[1:] == [{"word": "yours"}]
        self.pipe.read()
        assert self.child.transport.told[2:] == [{"word": "remember"}]
        self.assertNoResult(told)
        self.pipe.read()
        self.successResultOf(told)
        self.reactor.advance(START_SECONDS)
        assert self.child.transport.signals == []

    def test_who_reads_no_more_or_is_gone_is_told_no_more(self):
        told = self.child.leave_all([{"word": "remember"}])
        self.reactor.advance(TELL_SECONDS - 0.1)
        self.assertNoResult(told)
        self.reactor.advance(0.1)
        self.successResultOf(told)
        self.pipe.read()
        self.setUp()
        told = self.child.leave_all([{"word": "remember"}])
        self.pipe.close()
        self.successResultOf(told)
        self.child.transport.pipes.clear()
        self.successResultOf(self.child.leave_all([]))
        assert self.child.transport.told[1:] == [{"word": "yours"}]

    def test_who_is_silent_until_the_end_of_its_time_is_ended_and_serves_no_more(self):
        self.reactor.advance(START_SECONDS - 0.1)
        self.assertNoResult(self.child.serving)
        self.reactor.advance(0.1)
        assert self.child.transport.signals == ["KILL"]
        assert self.refused().problems == [f"the new process does not serve after {START_SECONDS:.0f} s, and was ended"]
        self.child.childDataReceived(WORDS, SERVES)
        self.child.processEnded(Failure(ProcessTerminated(signal=9)))

    def test_whose_word_comes_after_it_was_ended_does_not_serve(self):
        self.child.kill("the server stops")
        self.child.childDataReceived(WORDS, SERVES)
        assert self.refused().problems == ["the server stops"]
        assert self.child.transport.signals == ["KILL"]
        assert self.reactor.getDelayedCalls() == []

    def test_the_end_of_one_that_has_just_ended_is_nothing(self):
        self.child.transport.ended = True
        self.child.kill("the server stops")
        assert self.refused().problems == ["the server stops"]

    def test_why_it_cannot_serve_is_what_it_said_at_last(self):
        said = b"a warning\nmailserver: limits.idle_secs: no\nmailserver: tls.key: no\n"
        for status, problems in (
            (os.EX_CONFIG, ["limits.idle_secs: no", "tls.key: no"]),
            (9, ["process ended with exit code 9): mailserver: tls.key: no"]),
        ):
            self.setUp()
            self.child.childDataReceived(2, said)
            self.child.processEnded(Failure(ProcessTerminated(exitCode=status)))
            error = self.refused()
            assert [each.rpartition("condition: ")[2] for each in error.problems] == problems
            assert error.status == (os.EX_CONFIG if status == os.EX_CONFIG else 1)
