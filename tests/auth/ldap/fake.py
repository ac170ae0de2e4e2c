"""A directory that lies: it answers as a test says, in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Protocol, ServerFactory

from mailserver.auth.ldap.ber import ENUMERATED, OCTETS, SEQUENCE, SET, Reader, element, frame, integer

BIND, SEARCH, EXTENDED, UNBIND = 0x60, 0x63, 0x77, 0x42
DONE = {BIND: 0x61, SEARCH: 0x65, EXTENDED: 0x78}


def result(tag: int, code: int = 0, diagnostic: bytes = b"", more: bytes = b"") -> bytes:
    """A result, such as ``result(DONE[BIND], 49)``."""
    return element(tag, integer(code, ENUMERATED), element(OCTETS), element(OCTETS, diagnostic), more)


def found(dn: bytes, **attributes: Sequence[bytes]) -> bytes:
    """An entry of a search."""
    return element(
        0x64,
        element(OCTETS, dn),
        element(
            SEQUENCE,
            *(
                element(SEQUENCE, element(OCTETS, name.encode()), element(SET, *(element(OCTETS, v) for v in values)))
                for name, values in attributes.items()
            ),
        ),
    )


def reference() -> bytes:
    """A reference to another server."""
    return element(0x73, element(OCTETS, b"ldap://elsewhere.example.org/"))


ALICE = found(b"uid=alice,dc=example,dc=org", uid=[b"alice"], homeDirectory=[b"/home/alice"])
NONE = result(DONE[SEARCH])

Answer = Callable[["Asked"], Sequence[bytes] | bytes | None]
"""Operations that answer, or octets as they stand, or None: nothing."""


@dataclass
class Asked:
    """A request."""

    kind: int
    number: int
    contents: bytes = field(repr=False)
    connection: Any = field(repr=False)

    @property
    def bound(self) -> tuple[bytes, bytes]:
        """Of a bind the name and the password."""
        reader = Reader(self.contents)
        reader.take_integer()
        return reader.take(OCTETS), reader.take(0x80)


class Liar:
    """Answers by `answers`, by the kind of request; what is not there succeeds and finds nobody. `asked` has all requests but unbinds."""

    def __init__(self, answers: dict[int, Answer] | None = None) -> None:
        self.answers: dict[int, Answer] = answers or {}
        self.asked: list[Asked] = []
        self.connections = 0
        self._port: Any = None

    def listen(self) -> str:
        """Begin on a free port; the URL."""
        self._port = reactor.listenTCP(0, _Serves(self), interface="127.0.0.1")
        return f"ldap://127.0.0.1:{self._port.getHost().port}"

    def stop(self) -> Any:
        """End."""
        return self._port.stopListening()

    def binds(self) -> list[tuple[bytes, bytes]]:
        """All that were tried."""
        return [each.bound for each in self.asked if each.kind == BIND]


class _Serves(ServerFactory):
    noisy = False

    def __init__(self, liar: Liar) -> None:
        self._liar = liar

    def buildProtocol(self, addr: Any) -> _Serving:
        return _Serving(self._liar)


class _Serving(Protocol):
    transport: Any

    def __init__(self, liar: Liar) -> None:
        self._liar = liar
        self._data = b""
        liar.connections += 1

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if self._data[:1] == b"\x16":  # TLS, to which it says nothing
            return
        while self._data and (size := frame(self._data, 100_000)) is not None and size <= len(self._data):
            whole = Reader(Reader(self._data[:size]).take(SEQUENCE))
            self._data = self._data[size:]
            number = whole.take_integer()
            kind, contents = whole.next()
            self._serve(Asked(kind, number, contents, self))

    def _serve(self, asked: Asked) -> None:
        if asked.kind == UNBIND:
            return
        self._liar.asked.append(asked)
        answer = (
            self._liar.answers[asked.kind](asked) if asked.kind in self._liar.answers else [result(DONE[asked.kind])]
        )
        if isinstance(answer, bytes):
            self.transport.write(answer)
            return
        for operation in answer or ():
            self.transport.write(element(SEQUENCE, integer(asked.number), operation))
