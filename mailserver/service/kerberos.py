"""Makes the parts that need a keytab from the settings: KPOP, SASL GSSAPI, and the checker of principals."""

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
    """The acceptors of tickets, for KPOP and for SASL, and the checker of principals."""

    acceptor: KerberosAcceptor
    checker: KerberosChecker
    gssapi: GssapiAcceptor | None

    @property
    def parts(self) -> tuple[object, ...]:
        """The parts in the order of their start: the acceptor's start finds the problems of all of them."""
        return self.acceptor, self.gssapi, self.checker


def make_kerberos(config: Config, problems: Problems) -> Kerberos | None:
    """The parts that the settings need; None without a keytab, or when a problem was collected."""
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
    return made  # noqa: RET504 - the block ends with None where a problem was collected


def _gssapi(config: Config, problems: Problems) -> GssapiAcceptor | None:
    """GSSAPI, where a listener could offer it. Its missing extra is an error only if the settings name GSSAPI."""
    named = any("GSSAPI" in mechanisms for mechanisms in config.auth.mechanism_lists.values())
    offering = [
        kind.name for kind in KINDS.values() if not (kind.keytab or kind.pages)
    ]  # behind a ticket there is no SASL
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
