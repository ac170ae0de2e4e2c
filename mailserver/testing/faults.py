"""What is to go wrong: asked for by a test, found by the server when a client sends the command."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final, TypeVar

from mailserver.errors import LoginRefused, LoginTooSoon, MaildropInUse, MaildropUnavailable, NoMaildrop

T = TypeVar("T")

GREETING: Final = "GREETING"
"""What stands for the greeting, where a command is named."""

REFUSALS: Final[Mapping[str, Callable[[], Exception]]] = {
    "AUTH": lambda: LoginRefused("a test wants it"),
    "IN-USE": lambda: MaildropInUse("a test wants it"),
    "LOGIN-DELAY": lambda: LoginTooSoon(60),
    "SYS/TEMP": lambda: MaildropUnavailable("a test wants it"),
    "SYS/PERM": lambda: NoMaildrop("a test wants it"),
}
"""What becomes of a login, by the response code that the client gets (RFC 2449 section 8, RFC 3206)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one command and its reply."""

    reply: bytes | None = None
    """What is replied, in place of running the command."""
    close: bool = False
    """Whether the connection ends after that reply."""
    drop: bool = False
    """Whether the connection ends in place of running the command."""
    cut: int | None = None
    """The octets after which the connection ends, from the reply on."""
    reset: bool = False
    """Whether it ends by a reset (RST) and not by a close."""
    seconds: float = 0.0
    """How long the command waits; `inf`: for good. With `octets`, the time between two pieces of all that follows."""
    octets: int = 0
    """The size of the pieces."""


class Faults:
    """The faults of a server. A command is named as clients send it, and "greeting" is what the server says first.

    `times` is how often a fault happens; None: each time, until `clear`. Those of one command happen in the order in which they were
    asked for. They may be asked for and cleared at any time, from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: defaultdict[str, deque[tuple[Fault, int | None]]] = defaultdict(deque)
        self._logins: deque[tuple[str, int | None]] = deque()
        self._hidden: frozenset[str] = frozenset()

    def answer(self, command: str, reply: str | bytes, *, close: bool = False, times: int | None = None) -> None:
        """Reply this, whatever it is, and do not run the command; then end the connection if `close`.

        Text gets a line end, and a greeting of -ERR ends the connection; octets are sent as they are.
        """
        said = f"{reply}\r\n".encode() if isinstance(reply, str) else reply
        greeting_refused = command.upper() == GREETING and said.startswith(b"-ERR")
        self._add(command, Fault(reply=said, close=close or greeting_refused), times)

    def cut(self, command: str, after: int = 0, *, reset: bool = False, times: int | None = None) -> None:
        """Run the command, and end the connection `after` so many octets, counted from its reply on.

        So QUIT removes what it should, but the client does not hear of it.
        """
        self._add(command, Fault(cut=after, reset=reset), times)

    def drop(self, command: str, *, reset: bool = False, times: int | None = None) -> None:
        """End the connection in place of running the command."""
        self._add(command, Fault(drop=True, reset=reset), times)

    def hang(self, command: str, *, times: int | None = None) -> None:
        """Never answer the command, nor any after it; the connection stays open."""
        self._add(command, Fault(seconds=inf), times)

    def slow(self, command: str, seconds: float, *, octets: int = 0, times: int | None = None) -> None:
        """Let the command wait before it runs; or, with `octets`, let what follows leave in such pieces, so many seconds apart."""
        self._add(command, Fault(seconds=seconds, octets=octets), times)

    def refuse_login(self, code: str = "IN-USE", *, times: int | None = None) -> None:
        """Refuse logins with the right password, by whatever mechanism, with a response code of `REFUSALS`."""
        if code not in REFUSALS:
            raise ValueError(f"a login is refused with one of {', '.join(sorted(REFUSALS))}, not with {code!r}")
        with self._lock:
            self._logins.append((code, times))

    def hide(self, *capabilities: str) -> None:
        """Let CAPA not announce these, and know no commands by these names; "APOP" takes the stamp from the greeting."""
        with self._lock:
            self._hidden |= {each.upper() for each in capabilities}

    def clear(self) -> None:
        """Let nothing go wrong any more. What has begun, such as a slow reply, goes on."""
        with self._lock:
            self._faults.clear()
            self._logins.clear()
            self._hidden = frozenset()

    # What the server asks.

    @property
    def hidden(self) -> frozenset[str]:
        """The names that are hidden, in capitals."""
        return self._hidden

    def take(self, command: str) -> Fault | None:
        """Return what becomes of a command that has come; None: nothing special."""
        with self._lock:
            return _next(self._faults[command]) if command in self._faults else None

    def take_login(self) -> Exception | None:
        """Return the error of a login; None: it succeeds."""
        with self._lock:
            code = _next(self._logins)
        return None if code is None else REFUSALS[code]()

    def _add(self, command: str, fault: Fault, times: int | None) -> None:
        if times is not None and times < 1:
            raise ValueError(f"a fault happens once or more often, not {times} times")
        if command.split() != [command]:
            raise ValueError(f"{command!r} is no command's name: a fault is one of all RETRs, not of one message's")
        if not (fault.seconds >= 0 <= fault.octets and (fault.cut or 0) >= 0):
            raise ValueError("neither octets nor seconds are below 0")
        with self._lock:
            self._faults[command.upper()].append((fault, times))


def _next(queue: deque[tuple[T, int | None]]) -> T | None:
    """The first of a queue, which stays for its other times."""
    if not queue:
        return None
    first, times = queue[0]
    if times is not None:
        queue.popleft()
        if times > 1:
            queue.appendleft((first, times - 1))
    return first
