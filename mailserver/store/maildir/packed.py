"""Packed files: mail that one of Dovecot's plugins has compressed or encrypted, or that was compressed by hand.

Their first octets distinguish them from mail. Nearly all contain an octet that no header has. Only bzip2's are letters, so
a colon behind them means a header. Formats of the standard library and of the extra `zstd` are read, in bounded memory.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from zope.interface import implementer

from mailserver.errors import MessageTruncated
from mailserver.interfaces import IBody
from mailserver.modules import why_not
from mailserver.store.body import CHUNK

LARGEST = 256 * 1024 * 1024
"""Octets that a file may unpack to: more than any mail server accepts, and a second or two of work. A few kilobytes could
unpack to gigabytes."""

_INPUT = 64 * 1024
"""Octets of a packed file that are read at a time."""

_XZ_MEMORY = 72 * 1024 * 1024
"""Octets of memory that xz needs to unpack its highest level; a file could demand gigabytes."""

_ZSTD_WINDOW_LOG = 23
"""8 MiB, which RFC 8878 (section 3.1.1.1.2) requires of every decoder, and levels up to 19 do not exceed."""

_MAGIC = re.compile(
    rb"(?P<gzip>\x1f\x8b)"
    rb"|(?P<bzip2>BZh[1-9](?:1AY&SY|\x17rE8P\x90)(?![\x21-\x39\x3b-\x7e]*[ \t]*:))"
    rb"|(?P<xz>\xfd7zXZ\0)"
    rb"|(?P<zstd>\x28\xb5\x2f\xfd)"
    rb"|(?P<lz4>\x04\x22\x4d\x18|Dovecot-LZ4\r\*\x9b\xc5)"  # lz4's own frames, and Dovecot's
    rb"|(?P<crypt>CRYPTED\x03\x07)"
)

_MAGIC_OCTETS = 1024
"""Octets of a file that are examined: the longest magic, and a header's name behind bzip2's."""


class Unreadable(OSError):
    """A packed file that cannot be unpacked: its format is not supported, or it is damaged. The text tells which."""


class Decompressor(Protocol):
    """The common interface of the decompressors of bz2, lzma and zstd."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether it has no more output without further input."""

    @property
    def unused_data(self) -> bytes:
        """The input after the stream's end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` octets of output, also from earlier input."""


class Kind(NamedTuple):
    """A format of packed files."""

    name: str
    make: Callable[[], Decompressor] | None
    """None: the format cannot be read here."""
    trouble: str = ""
    """Why it cannot be read, and the remedy."""


class _Gzip:
    """zlib's decompressor with the common interface."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # with gzip's header

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_ERRORS: list[type[Exception]] = [zlib.error, OSError, EOFError, ValueError]  # bz2 raises the last three


def _with(name: str, modules: tuple[str, ...], make: Callable[[Any], Decompressor], extra: str = "") -> Kind:
    """A kind that the first available of these modules reads."""
    missing = None
    for each in modules:
        try:
            module = import_module(each)
        except ImportError as error:
            missing = error
        else:
            _ERRORS.extend(error for error in vars(module).values() if _is_error(error))
            return Kind(name, partial(make, module))
    return Kind(name, None, f"it is packed by {_PLUGIN.format(name)}, and {why_not(missing or ImportError(), extra)}")


def _is_error(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception)


_PLUGIN = "Dovecot's mail_compress (zlib) with {}"
_NOBODY = "which only Dovecot can read: unpack it there (doveadm), or serve this user by Dovecot"

KINDS = {
    "gzip": Kind("gzip", _Gzip),
    "bzip2": _with("bzip2", ("bz2",), lambda bz2: bz2.BZ2Decompressor()),
    "xz": _with("xz", ("lzma",), lambda lzma: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)),
    "zstd": _with(
        "zstd",
        ("compression.zstd", "backports.zstd"),  # Python 3.14's own, and the same for those before it
        lambda zstd: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}),
        "zstd",
    ),
    "lz4": Kind("lz4", None, f"it is packed by {_PLUGIN.format('lz4')}, {_NOBODY}"),
    "crypt": Kind("crypt", None, f"it is encrypted by Dovecot's mail_crypt, {_NOBODY}"),
}
"""The kinds by name. The modules are imported now, since the user that serves may not be able to read them later."""


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file that begins with `head`; None when it is plain mail."""
    found = _MAGIC.match(head, 0, _MAGIC_OCTETS)
    return None if found is None else KINDS[str(found.lastgroup)]


class Unpacking:
    """The mail in a packed file, read from its beginning in bounded memory; for a thread."""

    def __init__(self, descriptor: int, kind: Kind) -> None:
        if kind.make is None:
            raise Unreadable(kind.trouble)
        self._descriptor = descriptor
        self._kind = kind
        self._make = kind.make
        self._decompressor = kind.make()
        self._input = b""
        self._octets = 0
        os.lseek(descriptor, 0, os.SEEK_SET)

    def read(self, limit: int) -> bytes:
        """`limit` octets, or fewer only at the end; b"" after it. Errors: Unreadable, OSError."""
        pieces, left = [], limit
        while left and (piece := self._piece(left)):
            pieces.append(piece)
            left -= len(piece)
        self._octets += limit - left
        if self._octets > LARGEST:
            raise Unreadable(f"it unpacks to more than {LARGEST} octets")
        return b"".join(pieces)

    def _piece(self, limit: int) -> bytes:
        while True:
            if self._decompressor.eof and not self._another():
                return b""
            data, self._input = self._input, b""
            if not data and self._decompressor.needs_input:
                data = os.read(self._descriptor, _INPUT)
            piece = self._decompressed(data, limit)
            if piece:
                return piece
            if not data and not self._decompressor.eof:
                raise Unreadable(f"it is {self._kind.name} and ends too early")

    def _another(self) -> bool:
        """Whether another stream follows; as the formats' tools do, it joins streams and ignores other octets behind them."""
        data = self._decompressor.unused_data or self._input
        while len(data) < _MAGIC_OCTETS and (more := os.read(self._descriptor, _INPUT)):
            data += more
        if kind_of(data) is not self._kind:
            return False
        self._decompressor, self._input = self._make(), data
        return True

    def _decompressed(self, data: bytes, limit: int) -> bytes:
        try:
            return self._decompressor.decompress(data, limit)
        except tuple(_ERRORS) as error:
            raise Unreadable(f"it is {self._kind.name} and damaged: {error}") from error


@implementer(IBody)
class UnpackedBody:
    """The mail in an open packed file; `first` was unpacked already. Its reads take time, so they are for a thread."""

    __slots__ = ("_descriptor", "_first", "_unpacking")

    def __init__(self, descriptor: int, unpacking: Unpacking, first: bytes) -> None:
        self._descriptor = descriptor
        self._unpacking = unpacking
        self._first = first

    def read(self, limit: int) -> bytes:
        """At most `CHUNK` octets."""
        if self._first:
            chunk = self._first[:limit]
            self._first = self._first[limit:]
            return chunk
        try:
            return self._unpacking.read(min(limit, CHUNK))
        except OSError as error:
            raise MessageTruncated(f"a packed message cannot be read on: {error}") from error

    def fileno(self) -> None:
        """The file's octets are not those of the mail."""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
