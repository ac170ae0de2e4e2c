"""Verifies passwords, digests and keys against the secrets of an `Entry`; for checkers of all kinds of users.

Whoever has read an entry asks one of the methods here. The entry of an unknown user is `UNKNOWN`: then the same steps are
taken, with a decoy. So a checker never refuses by itself; it lets this module do the work, and say no.

A password is right by any secret of the entry, and so are APOP and CRAM-MD5 by any in clear. SCRAM and DIGEST-MD5 know the
own secret alone: there the server shows a salt, or makes a key, before the client has proved anything.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import md5
from typing import Any, Final

from twisted.internet.defer import Deferred

from mailserver import reasons
from mailserver.answers import Answer, then
from mailserver.auth.entry import ONE_SECRET, Entry, Stored, abilities
from mailserver.auth.hashing import Hashing
from mailserver.auth.hmac_md5 import CONTEXTS, hmac_md5, read_contexts
from mailserver.auth.passwd.extra_fields import NOWHERE
from mailserver.auth.schemes import Secret, plausible
from mailserver.auth.scram_keys import DIGESTS, ITERATIONS, ScramSalts, derive, read_keys
from mailserver.auth.verified import VerifiedPasswords
from mailserver.credentials import CramMd5
from mailserver.errors import LoginRefused
from mailserver.foresight import Prospect, Way
from mailserver.interfaces import User, UserId
from mailserver.reasons import EXPIRED_SECRET, UNFIT_SECRET
from mailserver.saslprep import prepared

UNKNOWN: Final = Entry(User(""))
"""The entry of an unknown user, so that a login by an unknown name takes the same steps."""

Why = Callable[[bytes, bytes], LoginRefused]
"""Why a name is refused by a mechanism (b"": by password); asked only after all the work is done."""


@dataclass(frozen=True, slots=True)
class Others:
    """What is so of all users of a checker: it decides what work a refusal takes."""

    decoy: Secret | None = field(default=None, repr=False)
    """The secret that an unknown user's password is verified against: the commonest slow one, if there is a slow one."""
    clear: bool = False
    """Whether some secret is the password itself."""
    contexts: bool = False
    """Whether some secret is ``{CRAM-MD5}``."""


class Verifying:
    """Verifies by one set of threads and one memory of right passwords.

    What is fast is answered at once, and a slow hash by a Deferred. `why` explains refusals.
    """

    def __init__(self, verified: VerifiedPasswords, why: Why, wall: Callable[[], float] = time.time) -> None:
        self.hashing = Hashing()
        """The threads; checkers may share one `Hashing`, which is set before the start."""
        self.verified = verified
        self._why = why
        self._wall = wall
        self._salts = ScramSalts()
        self.fake: Final = secrets.token_hex(16).encode("ascii")
        """The password of users without one."""
        self._fake_contexts = secrets.token_bytes(CONTEXTS)

    def identity(self, name: bytes, entry: Entry, user: User | None = None) -> UserId:
        """The avatar id of a user, or of `user`, who is that user by an app password."""
        return UserId(name, self.in_time(entry, entry.user if user is None else user))

    def in_time(self, entry: Entry, user: User) -> User:
        """The user, denied while ``delay_until`` is to come."""
        if not entry.not_before or entry.not_before <= self._wall():
            return user
        return replace(user, networks=NOWHERE, denied="delay_until denies the login for now")

    def password(self, credentials: Any, entry: Entry, others: Others) -> Answer[UserId]:
        """Verify `credentials.password`. Errors: LoginRefused; TemporaryFailure when too many wait."""
        name, password = credentials.username, credentials.password
        if not plausible(password):
            raise LoginRefused(reasons.ODD_PASSWORD, known=None)
        if entry.any_password:
            return self.identity(name, entry)
        if entry.others or entry.secret is None:
            return self._any_of(credentials, entry, others)
        secret = entry.secret
        if not secret.slow:
            if secret.verify(password):
                return self.identity(name, entry)
        elif self.verified.knows(name, password, secret.text):
            return self.identity(name, entry)
        else:
            return self._next([Stored(secret, entry.user)], credentials, entry, others)
        return self._spend(credentials, [secret], others)

    def digest(self, credentials: Any, entry: Entry, others: Others) -> Answer[UserId]:
        """Verify APOP or CRAM-MD5 with each secret in clear; for users without one, against a random secret."""
        name, is_cram = credentials.username, isinstance(credentials, CramMd5)
        stored = list(entry.stored(self._wall()))
        if is_cram and others.contexts:
            for each in stored:
                if self._proved(each.secret, credentials):
                    return self._admit(name, entry, each)
            if not stored:
                self._proved(None, credentials)
        clear = [each for each in stored if each.secret.clear is not None]
        for each in clear:
            if credentials.checkPassword(each.secret.clear):
                return self._admit(name, entry, each)
        if not clear:
            credentials.checkPassword(self.fake)
        raise self._why(name, b"CRAM-MD5" if is_cram else b"APOP")

    def digest_key(self, name: bytes, realm: bytes, entry: Entry) -> bytes:
        """The MD5 for DIGEST-MD5 (RFC 2831); `name` as it was typed."""
        secret = entry.secret
        password = self.fake if secret is None or secret.clear is None else secret.clear
        parts = map(_latin1, (name, realm, prepared(password)))
        return md5(b":".join(parts), usedforsecurity=False).digest()

    def scram_keys(self, name: bytes, mechanism: bytes, entry: Entry, others: Others) -> Answer[object]:
        """Keys take the same work for every user: a quicker answer would show who exists, or whose keys are stored.

        Errors: KeyError for any other mechanism.
        """
        secret, decoy = entry.secret, others.decoy
        shown = secret if _has_keys(secret, mechanism) else decoy
        keys = read_keys(shown.text) if shown and _has_keys(shown, mechanism) else None
        stored = keys if shown is secret else None
        if not others.clear:
            fake = self._salts.fake(name, mechanism, keys.iterations if keys else ITERATIONS)
            return stored or fake
        password = prepared(secret.clear) if secret and secret.clear else self.fake
        salt = self._salts.salt(name, mechanism)
        derived = self.hashing.run(derive, password, salt, ITERATIONS, DIGESTS[mechanism])
        return derived.addCallback(lambda keys: stored or keys)

    def foresee(self, name: bytes, entry: Entry, mechanism: bytes) -> Prospect:
        """What a login by a mechanism, b"" by password, would be for who has a secret of this entry."""
        user = None if entry is UNKNOWN else self.in_time(entry, entry.user)
        if entry is UNKNOWN or (entry.hopeless and not entry.any_password):
            return Prospect(user is not None, refusal=self._why(name, mechanism), user=user)
        ways = [Way("", "", self.identity(name, entry))] if entry.any_password and not mechanism else []
        ways += [self._foreseen(name, entry, each, mechanism) for each in entry.stored(self._wall())]
        able = any(isinstance(each.outcome, bytes) or each.outcome.why is EXPIRED_SECRET for each in ways)
        refusal = None if able else self._why(name, mechanism)
        return Prospect(True, ways, refusal, user, mechanisms=entry.able())

    # Inside.

    def _foreseen(self, name: bytes, entry: Entry, by: Stored, mechanism: bytes) -> Way:
        """What becomes of a login that proves this secret."""
        secret, outcome = by.secret, None
        if mechanism and (
            mechanism not in abilities(secret) or (mechanism in ONE_SECRET and secret is not entry.secret)
        ):
            said = f"{mechanism.decode('ascii')} cannot be verified with {{{secret.scheme}}}"
            outcome = LoginRefused(UNFIT_SECRET, UNFIT_SECRET.remedy, said=said)
        try:
            return Way(by.user.secret, secret.scheme, outcome or self._admit(name, entry, by), secret.weak)
        except LoginRefused as refusal:
            return Way(by.user.secret, secret.scheme, refusal, secret.weak)

    def _admit(self, name: bytes, entry: Entry, by: Stored) -> UserId:
        if by.expires <= self._wall():
            raise LoginRefused(reasons.EXPIRED_SECRET, said=f"the app password {by.user.secret!r} has expired")
        return self.identity(name, entry, by.user)

    def _any_of(self, credentials: Any, entry: Entry, others: Others) -> Answer[UserId]:
        """As for one secret: first what costs nothing, then the slow ones one after the other."""
        name, password = credentials.username, credentials.password
        slow = []
        for each in entry.stored(self._wall()):
            secret = each.secret
            if secret.slow:
                if self.verified.knows(name, password, secret.text):
                    return self._admit(name, entry, each)
                slow.append(each)
            elif secret.verify(password):
                return self._admit(name, entry, each)
        return self._next(slow, credentials, entry, others)

    def _next(self, slow: Sequence[Stored], credentials: Any, entry: Entry, others: Others) -> Answer[UserId]:
        """Verify by the first of these; if it is another, go on with the rest."""
        if not slow:
            return self._spend(credentials, entry.secrets(), others)
        right: Deferred[bool] = self.hashing.run(slow[0].secret.verify, credentials.password)
        return right.addCallback(self._verified, slow, credentials, entry, others)

    def _verified(
        self, right: bool, slow: Sequence[Stored], credentials: Any, entry: Entry, others: Others
    ) -> Answer[UserId]:
        if not right:
            return self._next(slow[1:], credentials, entry, others)
        self.verified.remember(credentials.username, credentials.password, slow[0].secret.text)
        return self._admit(credentials.username, entry, slow[0])

    def _spend(self, credentials: Any, done: Sequence[Secret], others: Others) -> Answer[UserId]:
        """Refuse after the work of the commonest refusal: a quicker one would show which users exist."""
        name, password, decoy = credentials.username, credentials.password, others.decoy
        if decoy is not None and decoy.slow:
            if not any(each.slow and each.cost == decoy.cost for each in done):
                self.verified.knows(name, password, decoy.text)  # costs two microseconds, as for existing users
                return then(self.hashing.run(decoy.verify, password), self._spent, name)
        elif decoy is not None and not done:
            decoy.verify(password)
        raise self._why(name, b"")

    def _spent(self, _: object, name: bytes) -> UserId:
        raise self._why(name, b"")

    def _proved(self, secret: Secret | None, credentials: CramMd5) -> bool:
        """Whether stored ``{CRAM-MD5}`` contexts produce the digest. The work is the same for all secrets of a checker."""
        stored = read_contexts(secret.text) if secret and secret.scheme == "CRAM-MD5" else None
        digest = hmac_md5(stored or self._fake_contexts, credentials.challenge).hex().encode("ascii")
        return hmac.compare_digest(digest, credentials.response) and stored is not None


def _has_keys(secret: Secret | None, mechanism: bytes) -> bool:
    """Whether the stored secret is keys of this SCRAM mechanism."""
    return secret is not None and secret.scheme.encode("ascii") == mechanism


def _latin1(octets: bytes) -> bytes:
    """UTF-8 converted to ISO 8859-1 where possible (RFC 2831 section 2.1.2.1)."""
    try:
        return octets.decode("utf-8").encode("latin-1")
    except UnicodeError:
        return octets
