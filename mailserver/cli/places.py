"""Where the server takes mail: the socket of ``[listen] lmtp``, read without any of the server's own modules.

Those would load Twisted. They are also stricter than a delivery can be, which has no use for the rest of the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

_NAMED: Final = re.compile(r"(\w+)=(.*)", re.DOTALL)
"""A part of an endpoint string with its name."""

_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
"""Where a server can be reached from its own machine that listens on all addresses."""


class NoPlace(Exception):
    """It is not known where the server is. The text says why, and what to do."""


class Place(NamedTuple):
    """A socket of the server."""

    path: str
    """A Unix socket; "": it is TCP."""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


def configured(path: str) -> Place:
    """The first Unix socket of ``[listen] lmtp`` in this file, or else its first TCP port. Errors: NoPlace."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise NoPlace(f"{path} cannot be read ({error.strerror}); name the server's socket by --socket") from None
    except (ValueError, RecursionError) as error:
        raise NoPlace(f"{path} is not TOML: {' '.join(str(error).split())}") from None
    listen = data.get("listen")
    endpoints = listen.get("lmtp") if isinstance(listen, dict) else None
    endpoints = [each for each in endpoints if isinstance(each, str)] if isinstance(endpoints, list) else []
    return first(endpoints, f"{path}: listen.lmtp")


def first(endpoints: Iterable[str], setting: str) -> Place:
    """The first Unix socket of some endpoint strings, or else the first TCP port. Errors: NoPlace, which names the `setting`."""
    places = [place for place in map(place_of, endpoints) if place is not None]
    places.sort(key=lambda place: not place.path)
    if not places:
        raise NoPlace(f"{setting} has no Unix socket and no TCP port, as in unix:/run/mailserver/lmtp")
    return places[0]


def place_of(endpoint: str) -> Place | None:
    """Where an endpoint string of Twisted's listens; None where it cannot be told, or where a proxy's header is expected."""
    kind, *parts = re.split(r"(?<!\\):", endpoint)
    named = {match[1]: _plain(match[2]) for part in parts if (match := _NAMED.fullmatch(part))}
    given = [_plain(part) for part in parts if not _NAMED.fullmatch(part)]
    at = given[0] if given else named.get({"unix": "address"}.get(kind, "port"), "")
    if kind == "unix" and at:
        return Place(at)
    if kind in ("tcp", "tcp6") and at.isdecimal():
        place = 1 if kind == "tcp" else 2  # behind the port; of tcp6, Twisted takes the backlog before it
        everywhere = "::" if kind == "tcp6" else "0.0.0.0"  # noqa: S104 - read, not bound
        host = named.get("interface", "") or "".join(given[place : place + 1]) or everywhere
        return Place("", _ANYWHERE.get(host, host), int(at))
    return None


def _plain(part: str) -> str:
    return re.sub(r"\\(.)", r"\1", part)
