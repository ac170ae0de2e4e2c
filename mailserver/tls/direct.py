"""A pyOpenSSL connection that reads and writes with fewer steps than pyOpenSSL's own.

Each message costs a read and a write, and of each more than a microsecond is a check of pyOpenSSL's that matters only after an error:
7 % of what a message of 4 KB costs. The names `Connection._ssl`, `Connection._raise_ssl_error` and `OpenSSL._util` are not public, but
as old as pyOpenSSL's use of cffi; tests/tls/test_direct.py fails where one of them is missing or has changed.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

_allocate: Final = ffi.new_allocator(should_clear_after_alloc=False)
_OCTETS: Final = ffi.typeof("char[]")


class DirectConnection(SSL.Connection):
    """As pyOpenSSL's, with the same errors."""

    protocol = b""
    """The name, in the registry of ALPN, of the protocol that is spoken; b"": POP3. Its application data are Twisted's."""

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """Receive up to so many octets of one record; `flags` must be None."""
        if flags is not None:
            raise ValueError("flags are not supported")
        octets = _allocate(_OCTETS, bufsiz)  # anew each time: no other session's octets are in it
        count = lib.SSL_read(self._ssl, octets, bufsiz)
        if count <= 0:
            self._raise_ssl_error(self._ssl, count)
        return bytes(ffi.buffer(octets, count))

    def send(self, buf: Any, flags: int = 0) -> int:  # noqa: ARG002 - pyOpenSSL's signature, which ignores them, too
        """Send octets, at most one record of them; answers how many were sent."""
        count: int = lib.SSL_write(self._ssl, ffi.from_buffer(buf), len(buf))
        if count <= 0:
            self._raise_ssl_error(self._ssl, count)
        return count

    def expect_any_end(self) -> None:
        """Take an end of the octets without close_notify for one, as memory never ends.

        Else it would be an error after which OpenSSL writes nothing, but the client's complete commands are still to be answered. A
        command that is cut off has no effect. Older versions of pyOpenSSL have no `set_options` for a connection.
        """
        lib.SSL_set_options(self._ssl, SSL.OP_IGNORE_UNEXPECTED_EOF)

    def read_one_record(self) -> None:
        """End a read after one record, even if it has no octets for us; only for a socket, which tells of the next one.

        Else a client that sends only new keys, as fast as we read them, would hold the process in one read for ever.
        """
        lib.SSL_clear_mode(self._ssl, lib.SSL_MODE_AUTO_RETRY)
