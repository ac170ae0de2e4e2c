"""The command ``twist mailserver`` or ``twistd mailserver``: its flags, and the service as a process of its own."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.copyright import version as twisted_version
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger, LogLevel
from twisted.python import usage
from twisted.python.failure import Failure

from mailserver import __version__
from mailserver.cli.changes import Changes
from mailserver.cli.logs import Logs
from mailserver.cli.signals import attend
from mailserver.clock import steady
from mailserver.config.kinds import KINDS
from mailserver.config.reading import Flag, Misread, load
from mailserver.config.settings import Config
from mailserver.credentials import IBearerToken
from mailserver.errors import ConfigError
from mailserver.service.binding import written
from mailserver.service.failures import report
from mailserver.service.legacy import VARIABLE
from mailserver.service.mail import MailService
from mailserver.service.notify import Notifier
from mailserver.service.origin import Origin
from mailserver.service.predecessor import Predecessor
from mailserver.service.succession import Pidfile, Succession
from mailserver.service.whole import Outcome
from mailserver.toml_text import Key

_FLAGS: dict[str, Key] = {
    "hostname": ("hostname",),
    "workers": ("workers",),
    "user": ("user",),
    "control": ("listen", "control"),
    "tls-certificate": ("tls", "certificate"),
    "tls-key": ("tls", "key"),
    "tls-profile": ("tls", "profile"),
    "cleartext": ("auth", "cleartext"),
    "keytab": ("kerberos", "keytab"),
    "store": ("store", "url"),
    "seen": ("store", "seen"),
    "io": ("store", "io"),
    "log": ("log",),
}
_REPEATABLE: dict[str, tuple[Key, str]] = {
    **{kind.name: (("listen", kind.name), kind.help) for kind in KINDS.values()},
    "auth": (("auth", "checkers"), "Users and passwords, such as passwd-file:FILE; repeatable, asked in this order."),
}
"""Repeatable flags, with their settings and their texts for --help."""


class Options(usage.Options, AuthOptionMixin):
    """The flags. Each sets a setting of mailserver.toml, and overrides the file."""

    synopsis = "[--config FILE] [--pop3 ENDPOINT] [--auth KIND:ARGUMENT] ..."
    longdesc = "A POP3, POP3S, KPOP and LMTP server. All settings, with their reasons: etc/mailserver.toml."
    supportedInterfaces = (  # noqa: N815 - Twisted's name
        IUsernamePassword,
        IUsernameHashedPassword,
        IBearerToken,
    )
    optParameters: Sequence[Sequence[Any]] = (  # noqa: N815 - Twisted's name
        ("config", "c", None, "The settings: a TOML file."),
        ("hostname", None, None, "The name in the greeting."),
        ("workers", "w", None, "Processes that serve; 0: one per core."),
        ("user", "u", None, "Started as root: become this user after binding."),
        ("control", None, None, "The Unix socket for the operators' commands; empty: none."),
        ("tls-certificate", None, None, "PEM file: the certificate and its chain."),
        ("tls-key", None, None, "PEM file: the certificate's private key."),
        ("tls-profile", None, None, "modern, intermediate or old."),
        ("cleartext", None, None, "Passwords without TLS: tls (none), loopback or always."),
        ("keytab", None, None, "Kerberos: the server's pop/ keys, for KPOP and SASL GSSAPI."),
        ("store", None, None, "The maildrops, such as maildir:{home}/Maildir."),
        ("seen", None, None, "Whether RETR marks a message as seen: never or retr."),
        ("io", None, None, "Disk work: auto, or threads for slow file systems."),
        ("log", None, None, "The log's form: twisted, or json (one object a line)."),
    )

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self.repeated: dict[str, list[str]] = {}
        """The given values of the flags in `_REPEATABLE`."""
        self.origin = Origin.here()
        """How this process was started."""
        self.pidfile = ""
        """That of twistd."""

    def postOptions(self) -> None:
        """Note twistd's pidfile; a process that takes another's place leaves it alone until then, and is in the background already."""
        program = getattr(self, "parent", None)
        if not isinstance(program, MutableMapping | dict) or "pidfile" not in program:
            return
        self.pidfile = program["pidfile"] or ""
        if VARIABLE in os.environ:
            program["pidfile"] = ""
            if not program["nodaemon"]:
                program["nodaemon"], program["logfile"] = True, program["logfile"] or "twistd.log"

    def flags(self) -> dict[Key, Flag]:
        """The settings that the flags give."""
        flags = {key: Flag(f"--{name}", self[name]) for name, key in _FLAGS.items() if self[name] is not None}
        workers = self["workers"]
        if workers is not None and workers.isdecimal():
            flags["workers",] = Flag("--workers", int(workers))
        for name, values in self.repeated.items():
            key, _help = _REPEATABLE[name]
            flags[key] = Flag(f"--{name}", values)
        return flags

    def opt_version(self) -> None:
        """Show the versions of the server, of Twisted and of Python."""
        python = ".".join(map(str, sys.version_info[:3]))
        sys.stdout.write(f"mailserver {__version__} (Twisted {twisted_version}, Python {python})\n")
        raise SystemExit(os.EX_OK)

    def settings(self) -> Config:
        """The settings of the file and the flags. Errors: ConfigError."""
        return load(self["config"], self.flags())


def _repeatable(name: str, text: str) -> Callable[[Options, str], None]:
    """The method that twist calls for each use of a flag; --help shows its docstring."""

    def take(options: Options, value: str) -> None:
        options.repeated.setdefault(name, []).append(value)

    take.__doc__ = text
    return take


for _name, (_key, _text) in _REPEATABLE.items():
    setattr(Options, f"opt_{_name}", _repeatable(_name, _text))


def makeService(options: Options) -> Program:
    """The service that twist and twistd start. A wrong configuration ends the process here with status 78, a fault with 70."""
    from twisted.internet import reactor

    steady(reactor)
    try:
        return Program(options, reactor)
    except Exception:  # noqa: BLE001 - `report` distinguishes configuration errors and faults; neither may end with 1
        raise SystemExit(report(Failure())) from None


log = Logger()


class CannotStart(SystemExit, Exception):
    """Ends the process before its reactor runs, with the exit status in its argument.

    It is also an Exception, because only for an Exception twistd in the background informs the waiting shell and removes its
    pidfile.
    """


class Program(Service):
    """The service as a process of its own, with signals, a log, limits and an exit status. Errors: ConfigError."""

    def __init__(self, options: Options, reactor: Any) -> None:
        self._program = getattr(options, "parent", None)
        """The options of twist or twistd."""
        config, misread = _settings(options, self._program)
        self._changes = Changes(options["config"], options.flags())
        self._logs = Logs(config.log, reactor)
        self._notifier = Notifier(os.environ, reactor, lambda: self._mail.alive)
        predecessor = Predecessor.find(os.environ, reactor)
        legacy, level = predecessor.legacy if predecessor else None, _level(self._program)
        self._mail = MailService(config, reactor, level, misread, self._logs, whole=self, legacy=legacy)
        self._pidfile = Pidfile(options.pidfile, self._program)
        self._succession = Succession(options.origin, self._mail, self._notifier, self._pidfile, predecessor, reactor)
        self._reloading = DeferredLock()
        self._reactor = reactor
        self._status: int | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Install the signal handlers and the log: twist and twistd call this before they open their log or bind a port."""
        Service.setServiceParent(self, parent)
        self._logs.replace(self._program, parent)
        attend(self._reactor, self.reload, self._logs.reopen, self.restart)

    def privilegedStartService(self) -> None:
        """Bind early: twistd calls this before it gives up root for its own --uid; twist never calls it."""
        self._pidfile.open()
        self._mail.privilegedStartService()

    def startService(self) -> None:
        """Start. An immediate failure ends the process before its reactor runs; a later one stops the reactor."""
        Service.startService(self)
        raise_descriptor_limit()
        self._reactor.addSystemEventTrigger("after", "shutdown", self._logs.finish)
        self._mail.startService()
        self._mail.serving.addCallbacks(self._serves, self._failed)
        if self._status is not None:
            raise CannotStart(self._status)

    def stopService(self) -> Deferred[None]:
        """Drain and stop."""
        Service.stopService(self)
        self._succession.stop()
        self._notifier.stopping()
        return self._mail.stopService().addBoth(self._stopped)

    def reload(self) -> Deferred[Outcome]:
        """At SIGHUP: take the settings that have changed; or read certificates and users again, where none has. Never fails."""
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._reload()))

    def restart(self) -> Deferred[Outcome]:
        """At SIGUSR2: let a new process take the place of this one, as soon as it serves. Never fails."""
        return self._succession.restart()

    async def _reload(self) -> Outcome:
        if pid := await self._succession.follower():
            return _passed_on(pid)
        self._notifier.reloading()
        try:
            return await self._reread()
        except ConfigError as error:
            return _refused(error.problems)
        except Exception:  # noqa: BLE001 - a fault of a reload must not end the server
            log.failure("fault in a reload", event="service.reload_fault")
            return Outcome(
                os.EX_SOFTWARE, ["a fault of the server, which its log tells; the settings stay as they were"]
            )
        finally:
            self._notifier.reloaded()

    async def _reread(self) -> Outcome:
        """Errors: ConfigError, faults."""
        now = self._changes.read(self._mail.config)
        if now is None or not (now.changed or now.problems):
            await self._mail.reload()
            if self._changes.unread:
                return Outcome(1, [f"{self._changes.unread}; certificates and users were read again"])
            return Outcome(restart=now.restart if now else ())
        await self._mail.renew(now.config, now.problems)
        names = ", ".join(now.changed)
        log.info("the settings have changed: {settings}", event="service.reloaded", settings=names)
        return Outcome(changed=now.changed, restart=now.restart)

    def _serves(self, ports: Sequence[IListeningPort]) -> None:
        status = "serving " + ", ".join(written(port.getHost()) for port in ports)
        self._succession.serves(lambda: self._notifier.ready(status))

    def _stopped(self, outcome: Any) -> Any:
        self._notifier.close()
        return outcome

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # stopped while it started
        self._status = report(failure)
        if self._reactor.running:
            # twist and twistd end with 0 whatever stopped the reactor, which swallows SystemExit: so end the process here.
            self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, self._status)
            self._reactor.stop()


def _passed_on(pid: int) -> Outcome:
    """Let the process that has this one's place reload: it may have read the old files."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)
    return Outcome(os.EX_TEMPFAIL, [f"process {pid} has this one's place by now, and was told to reload: see its log"])


def _refused(problems: Sequence[str]) -> Outcome:
    for problem in problems:
        log.error("the settings stay as they are: {problem}", event="service.reload_refused", problem=problem)
    return Outcome(os.EX_CONFIG, problems)


def _settings(options: Options, program: Any) -> tuple[Config, Misread | None]:
    """The settings, and what was misread in them: the start goes on, to report all other problems in the same run.

    Errors: ConfigError, where the start cannot go on, or where twistd goes into the background: there, later problems would
    appear only in its log.
    """
    try:
        config = options.settings()
    except Misread as error:
        if isinstance(program, Mapping) and not program.get("nodaemon", True):
            raise
        return error.config, error
    return config, None


def _level(options: Any) -> Any:
    """The lowest level that twist logs; twistd logs everything."""
    return options["logLevel"] if isinstance(options, Mapping) and "logLevel" in options else LogLevel.debug


def raise_descriptor_limit() -> None:
    """Raise the descriptor limit to the hard limit: each session holds its socket and its maildrop's lock."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
