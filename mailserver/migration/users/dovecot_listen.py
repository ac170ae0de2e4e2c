"""Where Dovecot serves, its TLS, and how it reads names, as ``[listen]``, ``[tls]``, ``[auth]``, ``[names]`` and ``[limits]``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from mailserver.migration.users.dovecot_conf import Block
from mailserver.migration.users.taking import Taking, words

PROFILES: Final = {"TLSv1.3": "modern", "TLSv1": "old", "TLSv1.1": "old", "SSLv3": "old", "ANY": "old"}

OURS: Final = frozenset(
    {
        "plain",
        "login",
        "cram-md5",
        "digest-md5",
        "scram-sha-1",
        "scram-sha-256",
        "xoauth2",
        "oauthbearer",
        "external",
        "gssapi",
        "apop",
    }
)
"""Mechanisms that are served here, once their checker or file is there."""

PORTS: Final = {"pop3": "110", "pop3s": "995"}


def take_listeners(taking: Taking, *, tls: bool) -> None:
    """``[listen]``: ports as there."""
    names = words(taking.get("protocols"))
    for block in taking.within("protocols"):
        names += [name for name, value in block.values.items() if value in ("yes", "true")]
    if names and "pop3" not in names:
        taking.tell("protocols", "POP3 is not served there; the ports here are the usual ones")
    addresses = words(taking.get("listen", default="*, ::"))
    given = [each for service in taking.within("service", "pop3-login") for each in service.within("inet_listener")]
    found: dict[str, list[str]] = {"pop3": [], "pop3s": []}
    for block in [
        *given,
        *(Block("inet_listener", name) for name in PORTS if name not in [each.label for each in given]),
    ]:
        for kind, endpoint in _endpoints(block, addresses, taking):
            found[kind].append(endpoint)
    for kind, endpoints in found.items():
        if endpoints and (tls or kind == "pop3"):
            taking.put("listen", kind, endpoints)
    if "lmtp" in names:
        _lmtp(taking)


def _endpoints(block: Block, addresses: list[str], taking: Taking) -> Iterator[tuple[str, str]]:
    port = block.get("port", default=PORTS.get(block.label, "0"))
    if port == "0" or not port.isdecimal():
        return
    kind = "pop3s" if block.yes("ssl", default=block.label == "pop3s") else "pop3"
    proxied = "haproxy:" * block.yes("haproxy")
    own = words(block.get("address", "listen")) or addresses
    if proxied:
        networks = words(taking.get("haproxy_trusted_networks"))
        taking.put("limits", "proxies", networks)
    if {"*", "::"} <= set(own):
        yield kind, f"{proxied}tcp6:{port}"
        own = [each for each in own if each not in ("*", "::")]
    for address in own:
        yield kind, proxied + _endpoint(address, port)


def _endpoint(address: str, port: str) -> str:
    if address == "*":
        return f"tcp:{port}"
    if ":" in address:
        escaped = address.strip("[]").replace(":", "\\:")
        return f"tcp6:{port}:interface={escaped}"
    return f"tcp:{port}:interface={address}"


def _lmtp(taking: Taking) -> None:
    """The sockets to which mail servers deliver."""
    found = []
    for service in taking.within("service", "lmtp"):
        for block in service.within("unix_listener"):
            options = "".join(f":{name}={block.values[name]}" for name in ("user", "group") if block.values.get(name))
            mode = block.get("mode", default="0660").lstrip("0") or "660"
            if block.label.startswith("/"):
                found.append(f"unix:{block.label}:mode={mode}{options}")
        for block in service.within("inet_listener"):
            port = block.get("port", default="24")
            found += [_endpoint(address, port) for address in words(block.get("address")) if address not in ("*", "::")]
    if not found:
        found = ["unix:/run/mailserver/lmtp:mode=660"]
        taking.tell(
            "service lmtp",
            "its socket is in Dovecot's own folder: let your mail server deliver to unix:/run/mailserver/lmtp",
        )
    taking.put("listen", "lmtp", found)
    if delimiter := taking.get("recipient_delimiter", default="+"):
        taking.put("names", "tag_separators", delimiter, "as recipient_delimiter: alice+tag is alice")


def take_tls(taking: Taking) -> bool:
    """``[tls]``; whether there is any."""
    ssl = taking.get("ssl", default="yes")
    certificate, key = (
        _path(taking.get(*names))
        for names in (("ssl_server_cert_file", "ssl_cert"), ("ssl_server_key_file", "ssl_key"))
    )
    if ssl == "no" or not certificate:
        taking.tell("ssl", "there is no TLS there: give [tls] a certificate, and [listen] pop3s")
        return False
    if not key:
        taking.tell(
            "ssl_key", "its path is hidden: give what `doveconf -nP` prints, as root; or write tls.key yourself"
        )
    taking.put("tls", "certificate", certificate)
    taking.put("tls", "key", key or "/etc/mailserver/key.pem", "which `user` must be able to read")
    if profile := PROFILES.get(taking.get("ssl_min_protocol")):
        taking.put("tls", "profile", profile)
    for block in taking.within("local_name"):
        taking.tell(
            f"local_name {block.label}",
            "a further certificate: write [[tls.certificates]] with its certificate and key",
        )
    if taking.yes("ssl_verify_client_cert", "auth_ssl_require_client_cert", "ssl_server_request_client_cert"):
        taking.tell(
            "ssl_ca",
            "certificates of clients: tls.client_ca, and SASL EXTERNAL (docs/tls.md); a password is asked as well",
        )
    return True


def _path(value: str) -> str:
    """A file; one that the old form of the setting holds as ``</path``."""
    found = value.removeprefix("<").strip()
    return found if found.startswith("/") else ""


def take_auth(taking: Taking, *, tls: bool) -> None:
    """``[auth]`` and ``[names]``, but for the checkers."""
    clear = not taking.yes("disable_plaintext_auth", default=True) or taking.yes("auth_allow_cleartext")
    required = taking.get("ssl") == "required"
    taking.put("auth", "cleartext", "tls" if required and tls else "always" if clear else "loopback")
    odd = [each for each in words(taking.get("auth_mechanisms").lower()) if each not in OURS]
    if odd:
        taking.tell(
            "auth_mechanisms",
            f"{', '.join(odd)}: not served here; clients that use it need another one, such as PLAIN inside TLS",
        )
    _names(taking)
    if separator := taking.get("auth_master_user_separator"):
        taking.tell(
            "auth_master_user_separator",
            f"user{separator}master is no login here: masters use PLAIN with an authorization identity (auth.masters)",
        )
    if taking.get("login_trusted_networks"):
        taking.tell(
            "login_trusted_networks", "no network's word is believed here but by the PROXY protocol (limits.proxies)"
        )


def _names(taking: Taking) -> None:
    form = taking.get("auth_username_format", default="%Lu")
    if re.search(r"%L|\| *lower", form):
        taking.put("names", "case", "lower", "as auth_username_format has it")
    if re.search(r"%L?n|username", form.replace("auth_username", "")):
        taking.tell("auth_username_format", f"{form} removes domains: name them in names.local_domains")
    if domain := taking.get("auth_default_realm", "auth_default_domain"):
        taking.put("names", "default_domain", domain)
    pairs = taking.get("auth_username_translation")
    at_signs = "".join(one for one, other in zip(pairs[::2], pairs[1::2], strict=False) if other == "@")
    if at_signs:
        taking.put("names", "at_signs", at_signs)
