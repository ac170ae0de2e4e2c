"""Who is held back, in an operator's words: the names of lanes, and whom he means by a name."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from mailserver.net.attempts import Key
from mailserver.net.throttle import IPV6_PREFIX, network

_PACKED: Final = 16
"""Octets of an IPv6 address."""


class Whom:
    """A user, an address or a network, as an operator names it; "": everybody."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._network: IPv4Network | IPv6Network | None = None
        self._address = False
        try:
            self._network = ip_network(name.removeprefix("::ffff:") if "." in name else name, strict=False)
        except ValueError:
            return
        longest = IPV6_PREFIX if isinstance(self._network, IPv6Network) else self._network.max_prefixlen
        if self._network.prefixlen > longest:  # its customer's network counts
            self._network = self._network.supernet(new_prefix=longest)
        self._address = self._network.prefixlen == longest

    @property
    def lanes(self) -> Iterable[Key]:
        """The lanes of this very name, which may be remembered where the name is not known any more."""
        if not self.name:
            return ()
        user = ("user", self.name)
        if self._network is None or not self._address:
            return (user,)
        return user, ("address", network(str(self._network.network_address)))

    def means(self, key: Key) -> bool:
        """Whether a lane is one of his."""
        kind, first, *rest = key
        if kind == "user":
            return not self.name or self.name == first
        return self.name in rest or self.holds(first)

    def is_user(self, name: str) -> bool:
        """Whether a login delay is his; `name` as `delays.drop_of` makes it."""
        return not self.name or self.name in name.split("\n")

    def holds(self, where: str) -> bool:
        """Whether an address, as `network` has it, is within the network."""
        if not self.name:
            return True
        try:
            return self._network is not None and ip_network(address_of(where)).subnet_of(self._network)  # type: ignore[arg-type]  # of two versions: TypeError
        except (TypeError, ValueError):
            return False


def address_of(where: str) -> str:
    """An address as it is written, of what `network` made of it: a customer's network for IPv6."""
    if len(where) != IPV6_PREFIX // 4 or "." in where:
        return where
    return str(IPv6Network((bytes.fromhex(where).ljust(_PACKED, b"\0"), IPV6_PREFIX)))


def fields(key: Key) -> dict[str, Any]:
    """A lane's names: whose failures they are, from where."""
    kind, *names = key
    if kind == "address":
        return {"kind": kind, "address": address_of(names[0]), "user": ""}
    if kind == "user":
        return {"kind": kind, "address": "", "user": names[0]}
    where, user, _secret = names
    return {"kind": kind, "address": address_of(where), "user": user}
