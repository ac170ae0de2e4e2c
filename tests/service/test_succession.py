"""A restart as the process has it that is to be left, without another one."""

import errno
import os
import sys

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailserver.service.legacy import ORDERS, WORDS, Legacy
from mailserver.service.notify import Notifier
from mailserver.service.origin import Origin
from mailserver.service.succession import Pidfile, Succession
from tests.service.test_successor import SERVES, Spawning


class Mail:
    """A service that only notes what it is told."""

    alive = True

    def __init__(self):
        self.taken = None
        self.retired = Deferred()

    def leaves(self):
        return Legacy(), []

    def leave(self, taken):
        self.taken = taken

    def remembered(self):
        return iter([{"word": "remember"}])

    async def retire(self):
        await self.retired


class SuccessionTests(SynchronousTestCase):
    def setUp(self):
        self.reactor, self.mail = Spawning(), Mail()
        notifier = Notifier({}, self.reactor, lambda: True)
        origin = Origin(("python",), "/", {})
        self.succession = Succession(origin, self.mail, notifier, Pidfile("", None), None, self.reactor)
        self.restart = self.succession.restart()

    def serves(self):
        self.reactor.child.childDataReceived(WORDS, SERVES)

    def test_who_asks_for_the_follower_waits_for_the_restart(self):
        follower = Deferred.fromCoroutine(self.succession.follower())
        self.assertNoResult(follower)
        self.serves()
        assert self.successResultOf(self.restart).pid == self.successResultOf(follower) == 17
        assert self.mail.taken == [6]
        again = self.successResultOf(self.succession.restart())
        assert (again.status, again.problems) == (os.EX_TEMPFAIL, ["process 17 has this one's place already"])

    def test_a_program_that_cannot_be_run_is_told_and_replaces_nobody(self):
        def spawn(*_arguments, **_options):
            raise PermissionError(errno.EACCES, "Permission denied")

        self.reactor.spawnProcess = spawn
        succession = Succession(
            Origin(("python",), "/", {}),
            self.mail,
            Notifier({}, self.reactor, bool),
            Pidfile("", None),
            None,
            self.reactor,
        )
        outcome = self.successResultOf(succession.restart())
        assert outcome.status == 1
        (problem,) = outcome.problems
        assert problem.startswith(f"cannot run {sys.executable}: Permission denied; ")
        assert self.mail.taken is None

    def test_it_ends_when_its_sessions_have_ended_and_all_is_told(self):
        self.serves()
        self.reactor.advance(0)
        self.mail.retired.callback(None)
        assert not self.reactor.stopped
        pipe = self.reactor.child.transport.pipes[ORDERS]
        pipe.read()
        assert not self.reactor.stopped
        pipe.read()
        assert self.reactor.stopped

    def test_a_restart_that_fails_leaves_nobody_to_follow(self):
        follower = Deferred.fromCoroutine(self.succession.follower())
        self.reactor.child.kill("it is silent")
        assert self.successResultOf(follower) == 0
        assert self.successResultOf(self.restart).problems == ["it is silent"]
        self.assertNoResult(self.succession.restart())

    def test_a_stop_in_the_middle_is_the_end_of_the_new_process_also_if_it_has_just_said_that_it_serves(self):
        self.succession.stop()
        self.serves()
        assert self.reactor.child.transport.signals == ["KILL"]
        outcome = self.successResultOf(self.restart)
        assert (outcome.status, outcome.problems) == (os.EX_TEMPFAIL, ["the server was stopped meanwhile"])
        assert self.mail.taken is None
