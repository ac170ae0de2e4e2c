"""Courier's users in a directory (authldaprc) as the file of our ``ldap:`` checker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mailserver.migration.users.converted import Converted, Remark, Setting, Unconvertible, settings_file
from mailserver.migration.users.courier_rc import read_rc

TOLD: Final = {
    "LDAP_DOMAIN": "names without a domain are of {value}: set default_domain in [names]",
    "LDAP_MAILROOT": "homes below {value} that are not absolute: write the whole path into the directory, or use store.url",
    "LDAP_MAILDIR": "the attribute {value} may be named as attributes.mail, if its values are like maildir:/path; other Maildirs are home/Maildir",
    "LDAP_MAILDIRQUOTA": "the attribute {value} may be named as attributes.quota, if its values are octets without an S",
    "LDAP_CLEARPW": 'passwords in clear in {value} are not read: a bind proves them (mode = "search")',
    "LDAP_AUXOPTIONS": "options such as disablepop3 are not read: add what keeps users out to the filter",
    "LDAP_EMAILMAP": "a second search for the name has no place here: make `filter` find the entry by the address",
}
"""What has no place here, and what to do."""


def read_courier_ldap(text: str, path: str) -> Converted:
    """The file of our checker. Errors: Unconvertible."""
    rc = read_rc(text)
    if not any(name.startswith("LDAP_") for name in rc):
        raise Unconvertible(f"{path}: it has no settings such as LDAP_URI, so it is not Courier's authldaprc")
    by_bind = rc.get("LDAP_AUTHBIND", "0") == "1" or bool(rc.get("LDAP_CLEARPW") and not rc.get("LDAP_CRYPTPW"))
    remarks = [Remark(name, text.format(value=rc[name])) for name, text in TOLD.items() if rc.get(name)]
    if not by_bind:
        remarks = [each for each in remarks if each.about != "LDAP_CLEARPW"]
    settings = [*_way(rc), *_search(rc), *_proof(rc, by_bind=by_bind)]
    return settings_file(
        settings, f"Made of Courier's {path}; for the user that serves alone, as it can hold a password.", remarks
    )


def _way(rc: Mapping[str, str]) -> Iterator[Setting]:
    """The servers."""
    uris = rc.get("LDAP_URI", "").replace(",", " ").split()
    if not uris and rc.get("LDAP_SERVER"):
        port = rc.get("LDAP_PORT", "389")
        uris = [f"ldap://{rc['LDAP_SERVER']}:{port}"]
    yield Setting("", "servers", [each.rstrip("/") if not each.startswith("ldapi") else each for each in uris])
    if rc.get("LDAP_TLS", "0") != "1" and any(each.startswith("ldap:") for each in uris):
        yield Setting("", "start_tls", False, "as LDAP_TLS; only to this machine can it be so")


def _search(rc: Mapping[str, str]) -> Iterator[Setting]:
    """How the entry is found."""
    yield Setting("", "base", rc.get("LDAP_BASEDN", ""))
    name = rc.get("LDAP_MAIL", "mail")
    found, more = f"({name}={{user}})", rc.get("LDAP_FILTER", "")
    yield Setting("", "filter", f"(&{more}{found})" if more else found)
    if everybody := rc.get("LDAP_ENUMERATE_FILTER"):
        yield Setting("", "list_filter", everybody)
    if rc.get("LDAP_INITBIND", "1") == "1" and rc.get("LDAP_BINDDN"):
        yield Setting("", "service_dn", rc["LDAP_BINDDN"])
        yield Setting("", "service_password", rc.get("LDAP_BINDPW", ""), secret=True)


def _proof(rc: Mapping[str, str], *, by_bind: bool) -> Iterator[Setting]:
    """How a password is proved, and what the attributes are called."""
    yield Setting("", "mode", "search" if by_bind else "compare")
    if not by_bind:
        yield Setting("", "password_scheme", "CRYPT", "of hashes that do not begin with {SCHEME}")
    yield Setting("attributes", "user", rc.get("LDAP_MAIL", "mail"))
    if not by_bind:
        yield Setting("attributes", "password", rc.get("LDAP_CRYPTPW", "userPassword"))
    yield Setting("attributes", "home", rc.get("LDAP_HOMEDIR", "homeDirectory"))
