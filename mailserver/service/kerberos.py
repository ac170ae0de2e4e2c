"""What a keytab is good for, made from the settings: tickets by KPOP and by SASL GSSAPI, and whom they let in where."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.logger import Logger

from mailserver.auth.kerberos.gssapi import GssapiAcceptor
from mailserver.auth.kerberos.libkrb5 import KerberosUnavailable
from mailserver.auth.kerberos.principals import read_rule
from mailserver.auth.kerberos.tickets import KerberosAcceptor, KerberosChecker
from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.config.settings import Config

log = Logger()


@dataclass(frozen=True, slots=True)
class Kerberos:
    """What verifies tickets, for KPOP and for SASL, and who decides whom they let in."""

    acceptor: KerberosAcceptor
    checker: KerberosChecker
    gssapi: GssapiAcceptor | None

    @property
    def parts(self) -> tuple[object, ...]:
        """What is to be started, in this order: the acceptor finds out what is wrong for all of them."""
        return self.acceptor, self.gssapi, self.checker


def make_kerberos(config: Config, problems: Problems) -> Kerberos | None:
    """The parts that the settings ask for; None without a keytab, and where `problems` keep them from being made."""
    settings = config.kerberos
    if not settings.keytab:
        return None
    sound = []
    for rule in settings.map:
        with problems.collect("kerberos.map", ValueError):
            read_rule(rule)
            sound.append(rule)
    made = None
    with problems.collect("kerberos.host", ValueError):
        acceptor = KerberosAcceptor(settings.keytab, host=settings.host)
        checker = KerberosChecker(sound, deny=settings.deny, kuserok=settings.kuserok)
        made = Kerberos(acceptor, checker, _gssapi(config, problems))
    return made  # noqa: RET504 - the block ends with None where something was told


def _gssapi(config: Config, problems: Problems) -> GssapiAcceptor | None:
    """GSSAPI, where a listener could offer it. Without its extra all else works, unless it was asked for by name."""
    named = any("GSSAPI" in mechanisms for mechanisms in config.auth.mechanism_lists.values())
    offering = [kind.name for kind in KINDS.values() if not kind.keytab]  # behind a ticket there is no SASL
    chosen = [config.mechanisms(endpoint) for kind in offering for endpoint in config.listen.of(kind)]
    if not (named or () in chosen):
        return None
    try:
        return GssapiAcceptor(config.kerberos.keytab, host=config.kerberos.host)
    except KerberosUnavailable as error:
        if named:
            problems.add(f"auth.mechanisms: {error}")
            return None
        log.info("GSSAPI is not offered: {reason}", event="kerberos.gssapi.absent", reason=str(error))
        return None
