"""A client of SASL GSSAPI, by PyPI's gssapi, with the tickets of the tests' realm."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.realm import Realm

try:
    import gssapi as _gssapi
except ImportError:
    _gssapi = None


def library() -> Any:
    """PyPI's gssapi. Where the packages were installed for the tests, a missing one is a failure."""
    if _gssapi is None:
        absent = pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip
        absent("gssapi is missing: apt-get install gcc libkrb5-dev; pip install gssapi")
    return _gssapi


class GssClient:
    """One attempt to log in.

    `mutual`: as all clients but curl do, ask for a token of the server's. `dce`: answer that by another one.
    """

    def __init__(  # noqa: PLR0913 - what a client may choose, each with a default
        self,
        realm: Realm,
        user: str = "alice",
        service: str = "pop/localhost",
        *,
        mutual: bool = True,
        dce: bool = False,
        bindings: bytes = b"",
    ) -> None:
        gssapi = library()
        flags = gssapi.RequirementFlag
        asked = [flags.integrity, *([flags.mutual_authentication] * mutual), *([flags.dce_style] * dce)]
        self._context = gssapi.SecurityContext(
            name=gssapi.Name(service, gssapi.NameType.kerberos_principal),
            creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{realm.tickets(user)}"}),
            usage="initiate",
            mech=gssapi.MechType.kerberos,
            flags=asked,
            channel_bindings=gssapi.raw.ChannelBindings(application_data=bindings) if bindings else None,
        )
        self.first: bytes = self._context.step()

    @property
    def complete(self) -> bool:
        return bool(self._context.complete)

    def step(self, token: bytes) -> bytes:
        """The client's answer to a token of the server's; b"" when it has none."""
        return self._context.step(token) or b""

    def unwrap(self, token: bytes) -> bytes:
        unwrapped = self._context.unwrap(token)
        assert not unwrapped.encrypted, "RFC 4752 section 3.2: conf_flag is FALSE"
        return bytes(unwrapped.message)

    def wrap(self, message: bytes, *, encrypt: bool = False) -> bytes:
        return bytes(self._context.wrap(message, encrypt).message)
