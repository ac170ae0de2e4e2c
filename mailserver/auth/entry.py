"""What a checker has read of a user: the user, and the secrets by any of which the user may log in.

A user has one secret of their own, and may have others. Most of these are *app passwords*: each has a name for the log, and may
be for some listeners only, and for some time only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from mailserver import reasons
from mailserver.auth.schemes import CLEAR, Secret
from mailserver.auth.scram_keys import DIGESTS
from mailserver.errors import LoginRefused
from mailserver.interfaces import User

MAX_SECRETS: Final = 9
"""The own secret and eight others. A wrong password is verified against each, and a slow hash costs milliseconds of a thread."""

IN_TLS: Final = "+tls"
"""Behind a listener's name: that listener inside TLS. `both` makes it, and an operator may write it."""

NO_LISTENER: Final = frozenset({"none"})
"""The listeners of a secret that can be used by none."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A further secret, the user as whom it lets in, and until when."""

    secret: Secret
    user: User
    """With the secret's name and listeners."""
    expires: float = inf
    """Seconds of the Unix epoch: from then on it is refused."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A user's entry in a file or a database."""

    user: User
    secret: Secret | None = None
    """The own one. None: there is no usable one."""
    any_password: bool = False
    """``nopassword``: every password is right."""
    not_before: float = 0.0
    """``delay_until``: the user may log in from then on, in seconds of the Unix epoch."""
    trouble: str = ""
    """Why no password is right; "" otherwise."""
    others: tuple[Stored, ...] = ()
    """App passwords, and further secrets without a name. A file or a directory may have `MAX_SECRETS` with the own one."""

    @property
    def refusal(self) -> LoginRefused:
        """Why no password is right, of an entry that is `hopeless`."""
        why = reasons.DENIED if self.user.denied else reasons.UNUSABLE_SECRET
        return LoginRefused(why, said=self.trouble)

    @property
    def hopeless(self) -> bool:
        """Whether no password is right."""
        return self.secret is None and not self.others and not self.any_password

    def stored(self, now: float) -> Iterator[Stored]:
        """All secrets, the own one first and the expired ones last: where two are the same password, the better one counts."""
        if self.secret is not None:
            yield Stored(self.secret, self.user)
        if self.others:
            yield from sorted(self.others, key=lambda each: each.expires <= now)

    def secrets(self) -> list[Secret]:
        """The secrets alone."""
        own = [] if self.secret is None else [self.secret]
        return own + [each.secret for each in self.others]

    def able(self) -> frozenset[bytes]:
        """The mechanisms of `interfaces.BY_SECRET`, ``APOP`` included, that the user can use whichever secret a client has."""
        able = [abilities(secret) for secret in self.secrets()]
        everywhere = frozenset.intersection(*able) if able else frozenset()
        return everywhere - ONE_SECRET if self.others else everywhere


ONE_SECRET: Final = frozenset({b"DIGEST-MD5", *DIGESTS})
"""The mechanisms in which the server must choose a secret before the client proves one: it is the own one."""


def abilities(secret: Secret) -> frozenset[bytes]:
    """The mechanisms of `interfaces.BY_SECRET`, ``APOP`` included, that a stored secret can serve."""
    if secret.scheme in CLEAR:
        return frozenset({b"APOP", b"CRAM-MD5", *ONE_SECRET})
    scheme = secret.scheme.encode("ascii")
    return frozenset({scheme}) if scheme in DIGESTS or scheme == b"CRAM-MD5" else frozenset()


def by_app(user: User, name: str, listeners: frozenset[str] = frozenset()) -> User:
    """The user as the app password `name` lets in, by those of its `listeners` that are the user's, too."""
    shown = "".join(each if each.isprintable() else "?" for each in name[:80])
    return replace(user, secret=shown or "unnamed", listeners=both(user.listeners, listeners))


def both(first: frozenset[str], second: frozenset[str]) -> frozenset[str]:
    """The listeners that each of two sets allows; an empty set allows all."""
    if not first or not second:
        return first or second
    common = first & second
    for one, other in ((first, second), (second, first)):
        if "tls" in one:
            common |= {each if each.endswith(IN_TLS) else each + IN_TLS for each in other if each != "tls"}
        common |= {each + IN_TLS for each in other if each + IN_TLS in one}
    common -= {each + IN_TLS for each in common}  # what is allowed anyway
    return common or NO_LISTENER


def read_listeners(text: str) -> frozenset[str]:
    """Names of listeners, separated by commas. Errors: ValueError, with the rest of a sentence about the text."""
    names = frozenset(text.strip().lower().split(","))
    if not all(re.fullmatch(r"[a-z0-9_]{1,40}(?:\+tls)?", each) for each in names):
        raise ValueError(f"names no listeners, such as pop3s or tls: {text[:80]!a}")
    return names
