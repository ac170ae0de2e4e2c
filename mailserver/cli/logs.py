"""The log of a process under twist and twistd: where their flags say, in their form or ours, and it never makes us wait.

Both choose an observer, and it would write to a pipe or a terminal that nobody reads until that stops the server; and
neither opens a file again that logrotate has renamed. So their file is replaced, where they let us: twist by its own
options, which it reads only after the service was made, twistd by an observer on the application, as its manual has it.
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
from mailserver.service.reporting import line_of

log = Logger()


class Reopened:
    """A file of text that goes on under its name when somebody has renamed it."""

    def __init__(self, file: IO[str], path: str) -> None:
        self._file = file
        self._path = Path(path).absolute()
        self._lock = RLock()  # threads and signal handlers log, too

    def write(self, text: str) -> None:
        """As a file does."""
        with self._lock:
            self._file.write(text)

    def flush(self) -> None:
        """As a file does."""
        with self._lock:
            self._file.flush()

    def reopen(self) -> None:
        """Close the file, whatever it is called now, and go on in the one of the old name. Errors: OSError, and nothing changes."""
        new = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        with self._lock:
            old, self._file = self._file, new
            old.close()


class DaemonsFile(LogFile):
    """twistd's own, which it rotates itself: by size, and at SIGUSR1 unless somebody else has renamed the file."""

    def reopen(self) -> None:
        """Errors: OSError, and nothing changes."""
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
    """Whether somebody asks twistd for an observer of his own."""
    return bool(options.get("syslog") or options.get("logger") or ILogObserver(application, None))


class Logs:
    """The places of the log that were replaced."""

    def __init__(self, form: str, reactor: Any) -> None:
        self._form = form
        self._reactor = reactor
        self._pipes: list[LogPipe] = []
        self._files: list[Reopened | DaemonsFile] = []

    def replace(self, options: object, application: object) -> None:
        """Do so, if `options` are those of twist or twistd; other programs' logs are their own."""
        if not isinstance(options, MutableMapping | dict):
            return
        if "logFile" in options:
            options["logFile"] = self._place(options["logFile"])
            if self._form == "json":
                options["fileLogObserverFactory"] = lambda file: FileLogObserver(file, line_of)
        elif "logfile" in options and isinstance(application, Componentized) and not _chosen(options, application):
            application.setComponent(ILogObserver, self._observer(self._daemon_s(options)))

    def _observer(self, file: IO[str]) -> FileLogObserver:
        return FileLogObserver(file, line_of) if self._form == "json" else textFileLogObserver(file)

    def _daemon_s(self, options: Mapping[str, Any]) -> IO[str]:
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
        """What stands for `file`: it goes on in a new one of its name, if it has one, or else waits for no reader."""
        try:
            mode = os.fstat(file.fileno()).st_mode
        except (OSError, ValueError, AttributeError):  # no file of the system
            return file
        if not stat.S_ISREG(mode):
            self._pipes.append(pipe := LogPipe(file.fileno(), self._reactor))
            return cast(IO[str], pipe)
        if file in (sys.stdout, sys.stderr):
            return file  # a shell has opened it, and knows its name
        self._files.append(reopened := Reopened(file, file.name))
        return cast(IO[str], reopened)

    def reopen(self) -> None:
        """SIGUSR1: go on in new files, where the old ones were renamed."""
        for file in self._files:
            try:
                file.reopen()
            except OSError as error:
                log.warn(
                    "the log goes on in the old file, for {path} cannot be opened: {reason}",
                    event="log.not_reopened",
                    path=error.filename,
                    reason=error.strerror,
                )
            else:
                log.info("the log was opened again", event="log.reopened")

    def finish(self) -> None:
        """The process ends: give slow readers a moment."""
        for pipe in self._pipes:
            pipe.finish()
