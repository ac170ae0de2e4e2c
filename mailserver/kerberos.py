"""What a keytab is good for, made from the settings: tickets by KPOP and by SASL GSSAPI, and whom they let in where."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.logger import Logger

from mailserver.auth.gssapi import GssapiAcceptor
from mailserver.auth.kerberos import KerberosAcceptor, KerberosChecker
from mailserver.auth.libkrb5 import KerberosUnavailable
from mailserver.config import Config, ConfigError, mechanism_lists

log = Logger()


@dataclass(frozen=True, slots=True)
class Kerberos:
    """The parts, to be started by whoever made them. The acceptor's start tells what is wrong for all: let it be first."""

    acceptor: KerberosAcceptor
    checker: KerberosChecker
    gssapi: GssapiAcceptor | None


def make_kerberos(config: Config) -> Kerberos | None:
    """The parts that the settings ask for; None without a keytab. Errors: ConfigError."""
    settings = config.kerberos
    if not settings.keytab:
        return None
    try:
        acceptor = KerberosAcceptor(settings.keytab, host=settings.host)
    except ValueError as error:
        raise ConfigError([f"kerberos.host: {error}"]) from None
    try:
        checker = KerberosChecker(settings.map, deny=settings.deny, kuserok=settings.kuserok)
    except ValueError as error:
        raise ConfigError([f"kerberos.map: {error}"]) from None
    return Kerberos(acceptor, checker, _gssapi(config))


def _gssapi(config: Config) -> GssapiAcceptor | None:
    """GSSAPI, where a listener could offer it. Without its extra all else works, unless it was asked for by name."""
    named = any("GSSAPI" in mechanisms for _, mechanisms in mechanism_lists(config))
    chosen = [config.mechanisms(endpoint) for endpoint in (*config.listen.pop3, *config.listen.pop3s)]
    if not (named or () in chosen):
        return None
    try:
        return GssapiAcceptor(config.kerberos.keytab, host=config.kerberos.host)
    except KerberosUnavailable as error:
        if named:
            raise ConfigError([f"auth.mechanisms: {error}"]) from None
        log.info("GSSAPI is not offered: {reason}", event="kerberos.gssapi.absent", reason=str(error))
        return None
