"""The log under twist and twistd: at the place of their flags, in their form or in JSON, and it never blocks the server.

The observer that both choose blocks when it writes to a pipe or a terminal that nobody reads; and neither opens a file again
that logrotate has renamed. So this module replaces their file. For twist it changes the options, which twist reads only after
the service was made. For twistd it sets an observer on the application, as twistd's manual describes.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from threading import RLock
from typing import IO, Any, cast

from twisted.logger import FileLogObserver, ILogObserver, Logger, textFileLogObserver
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from mailserver.service.logpipe import LogPipe
from mailserver.service.reporting import line_of, text_of

log = Logger()


class Reopened:
    """A text file that can be opened again under its name after it was renamed."""

    def __init__(self, file: IO[str], path: str) -> None:
        self._file = file
        self._path = Path(path).absolute()
        self._lock = RLock()  # threads and signal handlers log, too

    def write(self, text: str) -> None:
        """As of a file."""
        with self._lock:
            self._file.write(text)

    def flush(self) -> None:
        """As of a file."""
        with self._lock:
            self._file.flush()

    def reopen(self) -> None:
        """Close the file, whatever its name is now, and open one with the old name. Errors: OSError; nothing changes then."""
        new = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        with self._lock:
            old, self._file = self._file, new
            old.close()


class DaemonsFile(LogFile):
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
        self._files: list[Reopened | DaemonsFile] = []

    def replace(self, options: object, application: object) -> None:
        """Replace the log's file if `options` are those of twist or twistd; other programs keep theirs."""
        if not isinstance(options, MutableMapping | dict):
            return
        if "logFile" in options:
            options["logFile"] = self._place(options["logFile"])
            if self._form == "json" or options["fileLogObserverFactory"] is textFileLogObserver:
                options["fileLogObserverFactory"] = self._observer
        elif "logfile" in options and isinstance(application, Componentized) and not _chosen(options, application):
            application.setComponent(ILogObserver, self._observer(self._daemon_file(options)))

    def _observer(self, file: IO[str]) -> FileLogObserver:
        return FileLogObserver(file, line_of if self._form == "json" else text_of)

    def _daemon_file(self, options: Mapping[str, Any]) -> IO[str]:
        """The file that twistd would choose."""
        name = options["logfile"]
        if options["nodaemon"] and name in (None, "", "-"):
            return self._place(sys.stdout)
        if name == "-":
            sys.exit("Daemons cannot log to stdout, exiting!")
        file: DaemonsFile = DaemonsFile.fromFullPath(name or "twistd.log")  # type: ignore[no-untyped-call]  # Twisted's
        self._files.append(file)
        return cast(IO[str], file)

    def _place(self, file: IO[str]) -> IO[str]:
        """The replacement for `file`: one that can be opened again by name, or else a pipe that waits for no reader."""
        try:
            mode = os.fstat(file.fileno()).st_mode
        except (OSError, ValueError, AttributeError):  # not a file of the system
            return file
        if not stat.S_ISREG(mode):
            self._pipes.append(pipe := LogPipe(file.fileno(), self._reactor))
            return cast(IO[str], pipe)
        if file in (sys.stdout, sys.stderr):
            return file  # opened by a shell; its name is unknown here
        self._files.append(reopened := Reopened(file, file.name))
        return cast(IO[str], reopened)

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
        """At the end of the process: give slow readers of pipes a moment."""
        for pipe in self._pipes:
            pipe.finish()
