"""The kinds of listeners, in one table: what a port can serve.

A kind is a field of `Listen`, and nothing else knows the kinds by themselves: its flag, its check, the binding of its ports,
the demonstration's ports and its line in docs/configuration.md, which is the field's docstring, are taken from here. How a
port's factory is made of the settings is said once for each protocol, in `mailserver.service.listeners`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of listener."""

    name: str
    """Its name in `[listen]`, as a flag and in the log."""
    protocol: str
    """The protocol's name, in capitals."""
    port: int
    """The default port of clients."""
    demo_port: int
    """Above 1023, where nobody but root can bind `port`."""
    tls: bool = False
    """TLS begins at the first octet, so that it needs a certificate."""
    keytab: bool = False
    """A Kerberos ticket comes before all else, and stands for a login, so that it needs a keytab."""
    login: bool = True
    """Clients log in; else whoever can connect is served, so that a port must not be open to everybody by a slip."""
    pages: bool = False
    """Operators see pages about the server here, and nobody gets mail."""
    example: str = ""
    """An endpoint; "": `port`'s."""

    @property
    def help(self) -> str:
        """What its flag is for."""
        example = self.example or f"tcp:{self.port}"
        return f"Serve {self.protocol}{' in TLS' if self.tls else ''} here, such as {example}; repeatable."


def parts_of(endpoint: str) -> list[str]:
    """The parts of an endpoint string, its kind first. A backslash before a colon keeps it within a part, and stays there."""
    return re.split(r"(?<!\\):", endpoint)


def interface_of(endpoint: str) -> str:
    """The address at which an endpoint of TCP listens; "": none is named, and Twisted listens everywhere."""
    form, *parts = parts_of(endpoint)
    named = [part.partition("=")[2] for part in parts if part.startswith("interface=")]
    nameless = [part for part in parts if "=" not in part]
    place = 1 if form == "tcp" else 2  # behind the port; of tcp6, Twisted takes the backlog before it
    return next(filter(None, [*named, *nameless[place : place + 1]]), "").replace("\\", "")


def _kind(protocol: str, *, port: int, demo_port: int, **needs: bool | str) -> Any:
    return field(default=(), metadata={"kind": {"protocol": protocol, "port": port, "demo_port": demo_port, **needs}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """``[listen]``: Twisted endpoint strings, each with an optional ``haproxy:`` in front."""

    pop3: tuple[str, ...] = _kind("POP3", port=110, demo_port=10110)
    """Where POP3 is served; STLS is offered when `tls.certificate` is set. Port 110 by RFC 1939."""
    pop3s: tuple[str, ...] = _kind("POP3", port=995, demo_port=10995, tls=True)
    """Where POP3 is served in TLS from the first byte. Port 995 by RFC 8314."""
    kpop: tuple[str, ...] = _kind("KPOP", port=1109, demo_port=11109, keytab=True)
    """Where POP3 is served to clients with a Kerberos ticket for `kerberos.keytab`. Port 1109 by custom."""
    lmtp: tuple[str, ...] = _kind(
        "LMTP", port=24, demo_port=10024, login=False, example="unix:/run/mailserver/lmtp:mode=660"
    )
    """Where mail servers deliver: "unix:/run/mailserver/lmtp:mode=660:group=postfix"; no login. Port 24 by Dovecot's custom."""

    http: tuple[str, ...] = _kind("HTTP", port=8110, demo_port=18110, login=False, pages=True)
    """Where the server's health and metrics are told, on this machine alone if no interface is given. Port 8110 is ours. Empty: nowhere."""
    https: tuple[str, ...] = _kind("HTTP", port=8111, demo_port=18111, tls=True, login=False, pages=True)
    """The same in TLS, with `tls.certificate`. Port 8111 is ours. Empty: nowhere."""

    control: str = "/run/mailserver/control"
    """The Unix socket for the operators' commands, such as "/run/mailserver/control:mode=660:group=adm"; else 600 and `user`'s. "": none."""

    def of(self, kind: str) -> tuple[str, ...]:
        """The endpoints of one kind, by its name."""
        endpoints: tuple[str, ...] = getattr(self, kind)
        return endpoints

    @property
    def shows_pages(self) -> bool:
        """Whether a port is for operators' pages."""
        return any(self.of(kind.name) for kind in KINDS.values() if kind.pages)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(endpoint for kind in KINDS for endpoint in self.of(kind))


KINDS: Final[Mapping[str, Kind]] = {
    item.name: Kind(name=item.name, **item.metadata["kind"]) for item in fields(Listen) if item.metadata
}
"""The table, by the kinds' names."""
