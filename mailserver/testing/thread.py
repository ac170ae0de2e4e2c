"""A reactor of its own in a thread of its own, beside whatever reactor or loop the process runs.

Twisted's installed reactor cannot be stopped and started again, and a test-suite may need it for itself. A reactor that is only
made, and never installed, disturbs nobody: nothing that serves a connection here asks for the installed one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.pollreactor import PollReactor
from twisted.python.failure import Failure

from mailserver.clock import steady


class ReactorThread:
    """The thread; `reactor` may be used from this one until `start`, and from the thread after it."""

    def __init__(self) -> None:
        self.reactor: Any = PollReactor()  # it is on every POSIX system, and has no descriptor of its own
        # Twisted believes in one reactor's thread per process: that of the installed reactor, if it is used, stays it.
        self.reactor._registerAsIOThread = False  # noqa: SLF001 - as Twisted's own reactor in a thread does
        steady(self.reactor)
        # A daemon: a test that forgets to stop its server must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="mailserver.testing", daemon=True)

    def start(self) -> None:
        """Run the reactor, which serves what was begun with it before."""
        self._thread.start()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call it in the thread, and wait for its answer or its error. Errors: RuntimeError where the thread does not run."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("the server's own thread cannot wait for itself")
        if not self._thread.is_alive():  # as in a process that was forked meanwhile
            raise RuntimeError("the server does not run in this process")
        answer: Future[Any] = Future()

        def asked() -> None:
            deferred: Deferred[Any] = maybeDeferred(function, *args)
            deferred.addCallbacks(answer.set_result, lambda failure: answer.set_exception(failure.value))

        self.reactor.callFromThread(asked)
        return answer.result()

    def stop(self) -> None:
        """End the reactor and the thread; idempotent."""
        if self._thread.is_alive():
            self.reactor.callFromThread(self.reactor.stop)
            self._thread.join()

    def _run(self) -> None:
        self.reactor.run(installSignalHandlers=False)
        for each in self.reactor.removeAll():
            each.connectionLost(Failure(ConnectionDone()))
        self.reactor.waker.connectionLost(Failure(ConnectionDone()))  # the pipe that wakes it would stay open
