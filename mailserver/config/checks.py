"""Settings that are well-formed and cannot stand, alone or together."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from twisted.cred.strcred import ICheckerFactory

from mailserver.config.cores import too_many
from mailserver.config.kinds import KINDS, Kind, interface_of
from mailserver.config.settings import Config, Kerberos
from mailserver.names import Names, user_name
from mailserver.plugged import plugged
from mailserver.store import needs_of
from mailserver.store.deleting import read_deleting
from mailserver.toml import near_miss
from mailserver.toml_text import Key


def contradictions(config: Config) -> list[tuple[Key, str]]:
    """Settings that are well-formed and cannot stand, alone or together: where, and what to do."""
    listen = config.listen
    found: list[tuple[Key, str]] = [(("workers",), text) for text in [too_many(config.workers)] if text]
    if not any(listen.of(kind.name) for kind in KINDS.values() if not kind.pages):
        found.append((("listen",), "nothing to listen on: give --pop3 tcp:110, or pop3 = [...] in [listen]"))
    for kind in KINDS:
        found.extend(
            (("listen", kind), text) for endpoint in listen.of(kind) for text in _against(endpoint, KINDS[kind], config)
        )
    found += (
        *_tls_contradictions(config),
        *_about_users(config),
        *_login_contradictions(config),
        *_kerberos_contradictions(config),
    )
    return [*found, *_about_names(config), *_about_sdps(config), *_about_deliveries(config)]


def _tls_contradictions(config: Config) -> Iterator[tuple[Key, str]]:
    tls, listen = config.tls, config.listen
    if bool(tls.certificate) != bool(tls.key):
        yield ("tls", "certificate"), "a certificate and its key go together: give both or neither"
    wanting: list[Key] = [("listen", kind.name) for kind in KINDS.values() if kind.tls and listen.of(kind.name)]
    if not wanting and tls.certificates:
        wanting = [("tls", "certificates")]
    for key in wanting if not tls.certificate else ():
        yield key, "TLS needs a certificate and a key: give --tls-certificate and --tls-key, or [tls]"
    if tls.ticket_file and not tls.certificate:
        yield ("tls", "ticket_file"), "TLS has sessions to resume: give a certificate and a key, too"
    if tls.client_ca and not tls.certificate:
        yield ("tls", "client_ca"), "clients show certificates in TLS: give a certificate and a key, too"
    for index, pair in enumerate(tls.certificates):
        if not (pair.certificate and pair.key):
            yield ("tls", "certificates", index), "each of tls.certificates needs a certificate and a key"


def _about_users(config: Config) -> Iterator[tuple[Key, str]]:
    checkers, remedy = config.auth.checkers, "give --auth passwd-file:FILE, or auth.checkers"
    if any(config.listen.of(kind.name) for kind in KINDS.values() if not (kind.login or kind.pages)):
        if not checkers:
            yield ("auth", "checkers"), f"mail would be for nobody: {remedy}"
    elif not (checkers or config.kerberos.keytab):
        yield ("auth", "checkers"), f"nobody could log in: {remedy}"


def _login_contradictions(config: Config) -> Iterator[tuple[Key, str]]:
    auth = config.auth
    for key, mechanisms in auth.mechanism_lists.items():
        if "EXTERNAL" in mechanisms and not config.tls.client_ca:
            yield key, "EXTERNAL needs authorities: give tls.client_ca"
        if "GSSAPI" in mechanisms and not config.kerberos.keytab:
            yield key, "GSSAPI needs the service's keys: give --keytab FILE, or keytab in [kerberos]"
    for endpoint in auth.endpoint_mechanisms:
        if endpoint not in config.listen.endpoints:
            yield ("auth", "endpoint_mechanisms", endpoint), f'"{endpoint}" is no endpoint of [listen]'
    for index, description in enumerate(auth.checkers):
        for text in unknown_kind(description):
            yield ("auth", "checkers", index), f"auth.checkers: {text}"
    try:
        needs_of(config.store.url)
    except ValueError as error:
        yield ("store", "url"), f"store.url: {error}"


def unknown_kind(description: str) -> Iterator[str]:
    """What to say of a checker that no plugin makes. It quotes the kind alone: the rest may hold a secret."""
    kind = description.partition(":")[0]
    known = [factory.authType for factory in plugged(ICheckerFactory)]
    if kind not in known:
        yield f'no kind of checker is called "{kind}"{near_miss(kind, known)}; see --help-auth'


def _kerberos_contradictions(config: Config) -> Iterator[tuple[Key, str]]:
    kerberos = config.kerberos
    ticketed = [kind for kind in KINDS.values() if kind.keytab and config.listen.of(kind.name)]
    if not kerberos.keytab:
        for kind in ticketed:
            remedy = "give --keytab FILE, or keytab in [kerberos]"
            yield ("listen", kind.name), f"{kind.protocol} needs the keys of its service: {remedy}"
        if not ticketed and kerberos != Kerberos():
            yield (
                ("kerberos",),
                "this serves nothing without the service's keys: give --keytab FILE, or keytab in [kerberos]",
            )
    if kerberos.require_tls and ticketed and not config.tls.certificate:
        yield (
            ("kerberos", "require_tls"),
            "TLS needs a certificate and a key: give --tls-certificate and --tls-key, or [tls]",
        )


def _about_names(config: Config) -> Iterator[tuple[Key, str]]:
    names, sdps = config.names, config.sdps
    rules: list[tuple[Key, dict[str, Any]]] = [
        (("names", "default_domain"), {"default_domain": names.default_domain}),
        (("names", "local_domains"), {"local_domains": names.local_domains}),
        (("names", "at_signs"), {"at_signs": names.at_signs}),
        (("names", "tag_separators"), {"tag_separators": names.tag_separators}),
        (("sdps", "accounts"), {"accounts": sdps.accounts}),
        (("sdps", "separators"), {"account_separators": sdps.separators}),
    ]
    for endpoint, domain in names.default_domains.items():
        rules.append((("names", "default_domains", endpoint), {"default_domain": domain}))
        if endpoint not in config.listen.endpoints:
            yield ("names", "default_domains", endpoint), f'"{endpoint}" is no endpoint of [listen]'
    for key, rule in rules:
        try:
            Names(**rule)
        except ValueError as error:
            yield key, str(error)


def _about_sdps(config: Config) -> Iterator[tuple[Key, str]]:
    for setting in ("sender_headers", "recipient_headers"):
        for name in getattr(config.sdps, setting):
            if not re.fullmatch(r"[!-9;-~]+", name):
                yield ("sdps", setting), f'"{name}" is not the name of a header'
    if not re.fullmatch(r"[ -~]{0,200}", config.sdps.greeting):
        yield ("sdps", "greeting"), "the greeting must be ASCII, of 200 characters at most"


def _about_deliveries(config: Config) -> Iterator[tuple[Key, str]]:
    for domain, user in config.delivery.catch_all.items():
        try:
            Names(default_domain=domain or "@")
        except ValueError as error:
            yield ("delivery", "catch_all", domain), str(error)
        if user_name(user) is None:
            yield ("delivery", "catch_all", domain), "its user has no name that can be a user's"
    try:
        read_deleting(config.delivery.delete)
    except ValueError as error:
        yield ("delivery", "delete"), f"delivery.delete: {error}"
    try:
        shlex.split(config.quota.warn_command)
    except ValueError:
        yield ("quota", "warn_command"), "it has a quote or a backslash that ends nothing"


def _against(endpoint: str, kind: Kind, config: Config) -> Iterator[str]:
    direct = endpoint.removeprefix("haproxy:")
    form = direct.partition(":")[0]
    if endpoint.startswith("haproxy:") and not config.limits.proxies:
        yield f'"{endpoint}": no proxy is believed: name their networks in limits.proxies'
    if form in ("ssl", "tls"):
        remedy = f"begun by STARTTLS: use listen.{kind.name}"
        if kind.login or kind.pages:
            remedy = (
                "made by https itself: use listen.https" if kind.pages else "made by pop3s itself: use listen.pop3s"
            )
        yield f'"{endpoint}": TLS is {remedy} with a tcp: endpoint'
    if kind.pages:
        yield from _against_pages(endpoint, config)
    elif form in ("tcp", "tcp6") and not kind.login and not interface_of(direct):
        yield f'"{endpoint}": {kind.protocol} has no login: name an interface, as in {direct}:interface=127.0.0.1, or use unix:'


def _against_pages(endpoint: str, config: Config) -> Iterator[str]:
    form = endpoint.partition(":")[0]
    if form == "haproxy":
        yield f'"{endpoint}": a PROXY header would hide that a client is elsewhere: give the endpoint without haproxy:'
    elif form in ("tcp", "tcp6") and not config.web.token_file and not _is_here(interface_of(endpoint)):
        yield f'"{endpoint}": other machines could read the pages: name a token in web.token_file, or use 127.0.0.1 or unix:'


def _is_here(interface: str) -> bool:
    """Whether only this machine reaches an interface; none is one that does."""
    try:
        return interface in ("", "localhost") or ip_address(interface).is_loopback
    except ValueError:
        return False
