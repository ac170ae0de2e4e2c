"""SASL mechanisms (RFC 4422) as pure exchanges, one file each; `MECHANISMS` is their order in CAPA."""

from __future__ import annotations

from mailserver.interfaces import IMechanism
from mailserver.sasl.login import LoginMechanism
from mailserver.sasl.plain import PlainMechanism

MECHANISMS: tuple[IMechanism, ...] = (PlainMechanism(), LoginMechanism())
