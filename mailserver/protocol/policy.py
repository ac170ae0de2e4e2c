"""What a listener allows its clients."""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.exchange import IMechanism
from mailserver.protocol import texts


@dataclass(frozen=True, slots=True)
class Policy:
    """What a listener allows a client. CAPA follows from it."""

    hostname: bytes = b"localhost"
    stls: bool = False
    cleartext: bool = False
    """Whether passwords may cross this client's line unencrypted."""
    user: bool = True
    """Whether some checker takes a password."""
    mechanisms: tuple[IMechanism, ...] = ()
    failures: int = 3
    """Failed logins that end the connection."""
    bad_commands: int = 10
    """Bad commands in a row that end it: more than any client needs, few enough for what speaks HTTP or TLS at us."""
    sdps: bool = False
    """Whether `*ENV` tells envelopes."""
    greeting: bytes = b""
    """What the greeting says first. fetchmail takes ``demon.`` in it for a word about SDPS, wherever that stands."""
    login_delay: int = 0
    """The seconds between two logins of a user without a delay of their own (LOGIN-DELAY, RFC 2449 section 6.5)."""
    longest_login_delay: int = 0
    """The longest of the users' own delays."""
    expire_days: int = 0
    """After how many days mail is removed of users without days of their own (EXPIRE, RFC 2449 section 6.7); 0: never."""
    shortest_expiry: int | None = None
    """The fewest of the users' own days; None: no user has any."""
    implementation: bytes = b"twisted-mailserver"

    def greet(self, stamp: bytes) -> bytes:
        """The text of the greeting."""
        text = texts.STAMPED_GREETING % stamp if stamp else texts.GREETING % self.hostname
        return b"%b %b" % (self.greeting, text) if self.greeting else text
