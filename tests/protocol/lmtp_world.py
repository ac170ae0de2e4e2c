"""A small world for an LMTP session: it answers every effect at once, and keeps what was delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailserver.errors import Refusal
from mailserver.protocol.effects import Close, StartTLS, Turn
from mailserver.protocol.lmtp import Session
from mailserver.protocol.lmtp_commands import COMMANDS
from mailserver.protocol.lmtp_effects import Deliver, Effect, Forget, Recipient, Write
from mailserver.protocol.lmtp_policy import LmtpPolicy
from mailserver.smtp_errors import UnknownRecipient


@dataclass
class Settings:
    """What a world is like."""

    policy: LmtpPolicy = field(default_factory=lambda: LmtpPolicy(b"mx.example.org"))
    tls: bool = False
    users: frozenset[bytes] = frozenset({b"alice", b"bob"})
    outcomes: Mapping[bytes, Refusal] = field(default_factory=dict)
    """What refuses a message at its end, by user."""
    refusal: Refusal | None = None
    """What refuses it for all recipients."""
    name: bytes = b""


@dataclass
class Mail:
    """A transaction, as the world got to know it."""

    sender: bytes
    recipients: list[bytes] = field(default_factory=list)
    text: bytes = b""


class World:
    """Performs the effects of one session, and remembers them."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings = settings or Settings()
        self.session = Session(settings.policy, COMMANDS, tls=settings.tls)
        self.effects: list[Effect | Mail] = []
        """Those that were asked for, and behind a Deliver the mail that was delivered by it."""
        self.closed = False
        self.mail: Mail | None = None
        self.delivered: list[Mail] = []

    def send(self, data: bytes) -> bytes:
        """What the server answers to these octets."""
        self.session.feed(data)
        return self.run()

    def run(self) -> bytes:
        """Perform effects until the session waits for octets, or is over; what it wrote meanwhile."""
        while (effect := self.session.next()) is not None:
            self.effects.append(effect)
            self._performers[type(effect)](self, effect)
        return b"".join(self.session.take())

    def _close(self, _: Close) -> None:
        self.closed = True
        self.mail = None

    def _turn(self, _: Turn) -> None:
        self.session.turned()

    def _start_tls(self, _: StartTLS) -> None:
        self.session.tls_started()

    def _recipient(self, effect: Recipient) -> None:
        if self.mail is None:
            self.mail = Mail(self.session.mail.path)
        if effect.address.partition(b"@")[0].lower() not in self.settings.users:
            self.session.refused(UnknownRecipient())
            return
        self.mail.recipients.append(effect.address)
        self.session.accepted()

    def _open(self) -> Mail:
        assert self.mail is not None, "no recipient was asked for"
        return self.mail

    def _write(self, effect: Write) -> None:
        assert effect.data
        self._open().text += effect.data
        self.session.written()

    def _deliver(self, _: Deliver) -> None:
        mail, self.mail = self._open(), None
        if self.settings.refusal is not None:
            self.session.refused(self.settings.refusal)
            return
        users = [each.partition(b"@")[0].lower() for each in mail.recipients]
        self.delivered.append(mail)
        self.effects.append(mail)
        self.session.delivered([self.settings.outcomes.get(user) for user in users], self.settings.name)

    def _forget(self, _: Forget) -> None:
        self._open()
        self.mail = None

    _performers: Mapping[type[Effect], Callable[[World, Effect], None]] = {  # type: ignore[assignment]
        Close: _close,
        Turn: _turn,
        StartTLS: _start_tls,
        Recipient: _recipient,
        Write: _write,
        Deliver: _deliver,
        Forget: _forget,
    }
