"""The settings: every one of them, with its default, as frozen values.

A setting is a field of one of these classes; its docstring is its line in docs/configuration.md. `reading` reads them, `checks` says which
cannot stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mailserver.config.kinds import Listen
from mailserver.limits import Delivery, Limits, QuotaRules
from mailserver.names import Names
from mailserver.store.deleting import MOST_DAYS
from mailserver.toml import at_least
from mailserver.toml_text import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One of ``[[tls.certificates]]``."""

    certificate: str = ""
    """PEM file: a further certificate and its chain, chosen by the name the client asks for."""
    key: str = ""
    """PEM file: the private key of that certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """``[tls]``; read again when the files change, and on SIGHUP."""

    certificate: str = ""
    """PEM file: the certificate and its chain, also for clients that name no host. Empty: no TLS at all."""
    key: str = ""
    """PEM file: the certificate's private key, readable by `user`."""
    profile: Literal["modern", "intermediate", "old"] = "intermediate"
    """Mozilla's profiles: modern is only TLS 1.3; old admits clients of the nineties, and attacks on them."""
    certificates: tuple[Certificate, ...] = ()
    """Further certificates, chosen by SNI; an RSA and an ECDSA one for the same name go together."""
    ticket_file: str = ""
    """Keeps the secret of session tickets over a restart, for `user` alone; empty: in memory, since a disk is read by others."""
    client_ca: str = ""
    """PEM file: the authorities of client certificates for SASL EXTERNAL. Empty: clients are asked for none."""
    client_name: Literal["email", "cn"] = "email"
    """Where a client's certificate names the user: its e-mail addresses (rfc822Name), or its common name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """``[auth]``: who may log in, and how."""

    checkers: tuple[str, ...] = field(default=(), repr=False)  # "memory:name:secret" holds a secret
    """Where users and passwords come from, asked in this order; as `--auth`, listed by `--help-auth`."""
    cleartext: Literal["tls", "loopback", "always"] = "tls"
    """Where a password may cross an unencrypted line: nowhere, from this machine only, or everywhere."""
    mechanisms: tuple[str, ...] = ()
    """The SASL mechanisms to announce; empty: all that can work with the checkers, except DIGEST-MD5."""
    endpoint_mechanisms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other mechanisms for some endpoints of `listen`: `"tcp:110" = ["SCRAM-SHA-256"]`."""
    masters: tuple[str, ...] = ()
    """Users who may log in for others, by SASL's authorization identity; the log has both names."""
    policy_url: str = field(default="", repr=False)  # it may hold a password
    """A policy server such as weakforced, asked before each login and told after it; empty: none, the throttle suffices."""

    @property
    def mechanism_lists(self) -> Mapping[Key, tuple[str, ...]]:
        """Which mechanisms are named, in capitals, by the settings that name them."""
        lists: dict[Key, tuple[str, ...]] = {("auth", "mechanisms"): self.mechanisms}
        lists.update({("auth", "endpoint_mechanisms", at): names for at, names in self.endpoint_mechanisms.items()})
        return {key: tuple(name.upper() for name in names) for key, names in lists.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kerberos:
    """``[kerberos]``: tickets, for KPOP and SASL GSSAPI. Passwords that a KDC checks are a kind of `auth.checkers`."""

    keytab: str = ""
    """File with the server's pop/ keys, readable by `user`. Empty: no tickets. New keys count without a restart."""
    host: str = ""
    """The host of the one key to use, pop/HOST; empty: any pop/ key of the keytab, and no other."""
    require_tls: bool = False
    """Whether KPOP wants STLS before the user's name; false, because some old clients know no TLS."""
    map: tuple[str, ...] = ()
    """Whose maildrop a principal opens: "alice/admin@EXAMPLE.ORG -> alice" or "~ REGEX -> USER"; then auth_to_local."""
    deny: tuple[str, ...] = ("root",)
    """Users that no principal may act as: a KDC's administrator is not this machine's."""
    kuserok: bool = False
    """Whether ~/.k5login admits principals, too; false, because it reads homes and knows only the system's users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRules:
    """``[names]``: how the names are read that users log in with; docs/names.md shows each rule by example."""

    default_domain: str = ""
    """Added to a name without a domain: john is john@example.org. Empty: none, for passwd-files of bare names."""
    default_domains: Mapping[str, str] = field(default_factory=dict)
    """Another default for some endpoints of `listen`: `"tcp:110:interface=192.0.2.2" = "example.net"`."""
    local_domains: tuple[str, ...] = ()
    """Domains that are removed: john@example.org is john in the passwd-file, and may log in by either name."""
    case: Literal["keep", "lower"] = "keep"
    """lower: John is john; keep, because a passwd-file may have names with capitals. Domains are always lower."""
    at_signs: str = ""
    """Characters read as "@" in names without one, such as "%"; none, because names may contain them."""
    tag_separators: str = ""
    """Characters that begin a tag: with "+", john+tag is john; none, because names may contain them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdps:
    """``[sdps]``: accounts of many users, as docs/sdps.md explains them."""

    accounts: Mapping[str, str] = field(default_factory=dict)
    """Name and domain of each: `vision25 = "vision25.example.org"`. With accounts, `*ENV` is served."""
    separators: str = "+"
    """Characters that may separate a user from the account, beside "@", which some clients do not send."""
    greeting: str = ""
    """The beginning of the greeting; with "demon." in it fetchmail asks for envelopes in plain POP3, too."""
    sender_headers: tuple[str, ...] = ("Return-Path",)
    """The headers for the envelope's sender: the first that is present, above Received, counts."""
    recipient_headers: tuple[str, ...] = ("X-Original-To", "Delivered-To", "X-Envelope-To", "Envelope-To", "Received")
    """The same for recipients; Received by its "for". Postfix, qmail and Exim write one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """``[store]``: where the maildrops are."""

    url: str = "maildir:{home}/Maildir"
    """A user's maildrop; {home} {user} {local} {domain} are filled in."""
    seen: Literal["never", "retr"] = "never"
    """Whether RETR marks a message as seen (Maildir's S flag); never, because other clients may care."""
    io: Literal["auto", "threads"] = "auto"
    """auto: short, bounded disk work runs at once; threads: none does, for slow network file systems."""
    former: str = ""
    """The server whose unique-ids Maildirs have: dovecot or dovecot:FORMAT, courier, qmail...; empty: none, a forgotten list would mislead."""
    unique_ids: Literal["own", "dovecot", "courier", "qmail", "teapop", "tpop3d"] = "own"
    """What new messages get: own, or from the lists of `store.former` as there, for servers side by side, and a way back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """``[retention]``: the site's rules that CAPA announces, so that mail programs can obey them."""

    login_delay_seconds: int = at_least(0, 0)
    """Time from a login to the user's next one; earlier ones are refused. Users' own delays come first. 0: none."""
    longest_login_delay_seconds: int = at_least(0, 0)
    """The longest of the users' own delays, to announce before the login (RFC 2449); 0: no user has a longer one."""
    expire_days: int = at_least(0, 0, at_most=MOST_DAYS)
    """Days after which mail is removed, at the login and by a sweep each day; users' own come first. 0: never, since mail is theirs."""
    shortest_expire_days: int = at_least(-1, -1, at_most=MOST_DAYS)
    """The fewest days of the users' own `expire_days`, to announce before the login (RFC 2449); -1: no user has any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """``[web]``: who may see the pages of `listen.http` and `listen.https`."""

    token_file: str = ""
    """A file with the token for the pages, readable by `user` alone; empty: none, and then nobody on other machines may see them."""
    status_page: bool = False
    """Whether `/` shows people what runs, who is in and what failed. Off, since it names users and their addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set."""

    hostname: str = ""
    """The name in the greeting, in the APOP stamp and in Received; empty: the machine's full name."""
    workers: int = at_least(0, 1)
    """Processes that serve; 0: one per core. More than 4 per core, or 8, are refused as a mistake."""
    user: str = ""
    """Started as root: bind, then become this user and its groups. It owns the maildrops."""
    log: Literal["twisted", "json"] = "twisted"
    """The form of the log: that of twist's and twistd's own flags, or one JSON object a line; their flags set its place."""
    listen: Listen = field(default_factory=Listen)
    tls: Tls = field(default_factory=Tls)
    auth: Auth = field(default_factory=Auth)
    kerberos: Kerberos = field(default_factory=Kerberos)
    names: NameRules = field(default_factory=NameRules)
    sdps: Sdps = field(default_factory=Sdps)
    store: Store = field(default_factory=Store)
    limits: Limits = field(default_factory=Limits)
    delivery: Delivery = field(default_factory=Delivery)
    quota: QuotaRules = field(default_factory=QuotaRules)
    retention: Retention = field(default_factory=Retention)
    web: Web = field(default_factory=Web)
    places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False, metadata={"setting": False})
    """Where settings were given, by their dotted names: for messages, and no setting itself."""

    def mechanisms(self, endpoint: str) -> tuple[str, ...]:
        """The SASL mechanisms to announce at an endpoint; none: all that can work."""
        return self.auth.endpoint_mechanisms.get(endpoint, self.auth.mechanisms)

    def naming(self, endpoint: str = "") -> Names:
        """The rules for names, those of an endpoint where it has its own."""
        rules = self.names
        return Names(
            default_domain=rules.default_domains.get(endpoint, rules.default_domain),
            local_domains=rules.local_domains,
            case=rules.case,
            at_signs=rules.at_signs,
            tag_separators=rules.tag_separators,
            accounts=self.sdps.accounts,
            account_separators=self.sdps.separators,
        )
