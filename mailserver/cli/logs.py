"""The log under twist and twistd: at the place of their flags, in their form or in JSON, and it never blocks the server.

The observer that both choose blocks when it writes to a pipe or a terminal that nobody reads; and neither opens a file again
that logrotate has renamed. So this module replaces their file. For twist it changes the options, which twist reads only after
the service was made. For twistd it sets an observer on the application, as twistd's manual describes.
"""

from __future__ import annotations

import atexit
import os
import stat
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from twisted.logger import FileLogObserver, ILogObserver, Logger, textFileLogObserver
from twisted.python import logfile
from twisted.python.components import Componentized

from mailserver.service.logpipe import LineObserver, LogFile, LogPipe
from mailserver.service.reporting import line_of, text_of

log = Logger()


class DaemonsFile(logfile.LogFile):
    """twistd's log file, which rotates itself: by size, and at SIGUSR1 unless logrotate has renamed the file."""

    def reopen(self) -> None:
        """Open the renamed file again, or rotate it. Errors: OSError; nothing changes then."""
        try:
            same = os.path.samestat(Path(self.path).stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            same = False
        if same:
            self.rotate()  # type: ignore[no-untyped-call]  # Twisted's
            return
        old = self._file
        self._openFile()  # type: ignore[no-untyped-call]  # Twisted's
        old.close()


def _chosen(options: Mapping[str, Any], application: Componentized) -> bool:
    """Whether twistd's options, or the application, choose another observer."""
    return bool(options.get("syslog") or options.get("logger") or ILogObserver(application, None))


class Logs:
    """The files and pipes that replace those of twist and twistd."""

    def __init__(self, form: str, reactor: Any) -> None:
        self._form = form
        self._reactor = reactor
        self._pipes: list[LogPipe] = []
        self._files: list[LogFile | DaemonsFile] = []
        self._file: IO[str] | LogPipe = sys.stdout  # what `_observer` writes to
        self.form = "event"
        """What worker processes write: this log's own form, unless a foreign observer makes the lines."""

    def replace(self, options: object, application: object) -> None:
        """Replace the log's file if `options` are those of twist or twistd; other programs keep theirs."""
        if not isinstance(options, MutableMapping | dict):
            return
        if "logFile" in options:
            options["logFile"] = self._place(options["logFile"])
            atexit.register(self.finish)  # for an end without the reactor's shutdown
            if self._form == "json" or options["fileLogObserverFactory"] is textFileLogObserver:
                options["fileLogObserverFactory"] = self._observer
        elif "logfile" in options and isinstance(application, Componentized) and not _chosen(options, application):
            application.setComponent(ILogObserver, self._observer(self._daemon_file(options)))

    def _observer(self, file: IO[str] | LogPipe) -> ILogObserver:
        form = line_of if self._form == "json" else text_of
        self._file = file
        self.form = "json" if self._form == "json" else "text"
        return LineObserver(file, form) if isinstance(file, LogPipe) else FileLogObserver(file, form)

    def _daemon_file(self, options: Mapping[str, Any]) -> IO[str] | LogPipe:
        """The file that twistd would choose."""
        name = options["logfile"]
        if options["nodaemon"] and name in (None, "", "-"):
            return self._place(sys.stdout)
        if name == "-":
            sys.exit("Daemons cannot log to stdout, exiting!")
        file: DaemonsFile = DaemonsFile.fromFullPath(name or "twistd.log")  # type: ignore[no-untyped-call]  # Twisted's
        self._files.append(file)
        return cast(IO[str], file)

    def _place(self, file: IO[str]) -> IO[str] | LogPipe:
        """The replacement for `file`: one that can be opened again by name, or else a pipe that waits for no reader."""
        try:
            descriptor = file.fileno()
            mode = os.fstat(descriptor).st_mode
        except (OSError, ValueError, AttributeError):  # not a file of the system
            return file
        if not stat.S_ISREG(mode):
            self._pipes.append(pipe := LogPipe(descriptor, self._reactor))
            return pipe
        if file in (sys.stdout, sys.stderr):
            return file  # opened by a shell; its name is unknown here
        named = LogFile(descriptor, file.name, self._reactor)
        file.close()
        self._pipes.append(named)
        self._files.append(named)
        return named

    def write(self, text: str) -> None:
        """Take a finished line of a worker process. A full disk may lose it, as it may this process's own."""
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Write what was taken."""
        with suppress(OSError):
            self._file.flush()

    def reopen(self) -> None:
        """At SIGUSR1: open new files where the old ones were renamed."""
        for file in self._files:
            try:
                file.reopen()
            except OSError as error:
                log.warn(
                    "the log stays in the old file, because {path} cannot be opened: {reason}",
                    event="log.not_reopened",
                    path=error.filename,
                    reason=error.strerror,
                )
            else:
                log.info("the log was opened again", event="log.reopened")

    def finish(self) -> None:
        """At the end of the process: write what waits, and give slow readers of pipes a moment."""
        for pipe in self._pipes:
            pipe.finish()
