"""What a listener allows a client of LMTP, and who that client is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LmtpPolicy:
    """What a listener allows a client. The answer to LHLO follows from it."""

    hostname: bytes = b"localhost"
    max_octets: int = 50 * 1024 * 1024
    """Octets of a message, which SIZE announces (RFC 1870): at least RFC 5321's 64 KiB (section 4.5.3.1.7)."""
    max_recipients: int = 100
    """Accepted recipients of a transaction: as many as RFC 5321 section 4.5.3.1.8 asks for at least."""
    stls: bool = False
    """Whether there is a certificate for STARTTLS."""
    xclient: bool = False
    """Whether this client may speak for others (XCLIENT)."""
    bad_commands: int = 10
    """Bad commands in a row that end the connection: more than any client needs, few enough for what speaks HTTP at us."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends: what LHLO said, and what XCLIENT said instead of the connection.

    None: XCLIENT did not say it, and the connection knows; "" or b"": it said that nobody knows.
    """

    greeted: bytes = b""
    """The name that the client gave itself (LHLO), or b"" before that."""
    helo: bytes | None = None
    name: str | None = None
    address: str | None = None
    """An IP address, in the form in which it came."""
    port: int | None = None
    """0: nobody knows."""
    protocol: bytes | None = None
    login: bytes | None = None
    destination: str | None = None
    destination_port: int | None = None

    @property
    def host(self) -> bytes:
        """What the client called itself; if it speaks for another, what that one did."""
        return self.greeted if self.helo is None else self.helo
