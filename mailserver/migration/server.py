"""Where another server is, as an operator writes it, and how far its certificate is believed."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Self

PORTS: Final = {"pop3": 110, "pop3s": 995, "imap": 143, "imaps": 993}
"""Of the protocols, and of their other selves that begin with TLS."""

_WRITTEN: Final = re.compile(
    r"(?:(?P<protocol>[a-z0-9]+)://)?(?:\[(?P<literal>[^\]]*)\]|(?P<host>[^:/\[\]]*))(?::(?P<port>[0-9]+))?/?"
)
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address."""

    protocol: str
    """As in `PORTS`."""
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, protocol: str = "pop3") -> Self:
        """``HOST``, ``HOST:PORT``, ``[::1]:PORT``, with ``pop3s://`` and the like before it; `protocol` is that of those without.

        Without a protocol, the port on which all servers begin with TLS means that. Errors: ValueError.
        """
        found = _WRITTEN.fullmatch(text)
        host = (found["literal"] or found["host"]) if found else None
        if found is None or not host:
            raise ValueError(f"{text!r} is no server: write HOST, HOST:PORT or {protocol}s://HOST:PORT")
        port = int(found["port"] or 0)
        said = found["protocol"] or (protocol + "s" if port == PORTS.get(protocol + "s") else protocol)
        if said not in {protocol, protocol.removesuffix("s"), protocol.removesuffix("s") + "s"}:
            raise ValueError(f"{text!r} is no server of {protocol}: it begins with {said}://")
        if port > _LAST_PORT:
            raise ValueError(f"{text!r} has a port above {_LAST_PORT}")
        return cls(said, host, port or PORTS[said])

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def begins_with_tls(self) -> bool:
        """Whether TLS comes before the greeting."""
        return self.protocol.endswith("s")

    @property
    def here(self) -> bool:
        """Whether nothing that is sent there leaves this machine."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Trust:
    """What of a server's TLS must be so before it is told a password."""

    tls: str = "verify"
    """"verify": its certificate must be valid, and only a server on this machine may have no TLS; "unverified": any certificate
    will do; "none": no TLS, wherever the server is."""
    authorities: str = ""
    """A file of the authorities that are believed; "": those of the system."""

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Self:
        """From the options ``tls`` and ``ca`` of a place. Errors: ValueError."""
        tls = options.get("tls", "verify")
        if tls not in {"verify", "unverified", "none"}:
            raise ValueError(f"tls={tls} is none of verify, unverified, none")
        return cls(tls, options.get("ca", ""))

    def context(self) -> ssl.SSLContext:
        """For one or more connections. Errors: OSError for a file of authorities that cannot be read."""
        context = ssl.create_default_context(cafile=self.authorities or None)
        if self.tls == "unverified":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
