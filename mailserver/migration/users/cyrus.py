"""Cyrus' imapd.conf as our mailserver.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from mailserver.migration.users.converted import Converted, Remark, Setting, Unconvertible, settings_file
from mailserver.sizes import octets

SASLDB: Final = "/etc/sasldb2"

_LINE: Final = re.compile(r"([\w@.-]+)\s*:\s*(.*)")
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

TOLD: Final = {
    "popuseacl": "rights of ACLs do not count here: give read-only users read_only=yes",
    "popsubfolders": "user+subfolder is no login here: folders are served by IMAP alone",
    "popexpiretime": "it was only announced, and nothing removed: retention.expire_days announces, and removes",
    "maxlogins_per_host": "see limits.connections_per_address",
    "maxlogins_per_user": "a maildrop is open to one session at a time, by RFC 1939",
    "loginrealms": "names of these realms are users with these domains here",
    "userdeny_db": "users who are denied by it: write disabled=yes into their lines",
}
"""What has no place here, and what to do."""


def read_imapd_conf(text: str, path: str) -> Converted:
    """The settings that this server needs to serve the same users. Errors: Unconvertible."""
    given = _read(text, path)
    remarks: list[Remark] = []
    settings = [*_about_site(given), *_about_users(given, remarks), *_about_pop3(given)]
    remarks += [Remark(name, text) for name, text in TOLD.items() if _on(given.get(name, ""))]
    remarks.append(
        Remark(
            "partitions",
            f"mail in Cyrus' spool is moved: mailserver migrate mail {_spool(given)} --users FILE (docs/migration.md)",
        )
    )
    return settings_file(
        settings, f"Made of Cyrus' {path}. etc/mailserver.toml has all settings with their reasons.", remarks
    )


def _read(text: str, path: str) -> Mapping[str, str]:
    """The settings; those of POP3 alone (``pop3_NAME``) in their places. Errors: Unconvertible."""
    found: dict[str, str] = {}
    for number, line in enumerate(re.sub(r"\\\r?\n[ \t]*", "", text).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1].startswith("@"):
            raise Unconvertible(
                f"{path}:{number}: it is no setting of an imapd.conf; put what it includes into one file"
            )
        found[match[1].lower()] = match[2].strip()
    if not found.keys() & {"configdirectory", "defaultpartition", "admins", "sasl_pwcheck_method", "virtdomains"}:
        raise Unconvertible(f"{path}: it has none of the settings that an imapd.conf has, such as configdirectory")
    own = {name.removeprefix("pop3_"): value for name, value in found.items() if name.startswith("pop3_")}
    return {**found, **own}


def _on(value: str) -> bool:
    return value.lower() not in ("", "0", "no", "off", "f", "false", "never", "-1")


def _about_site(given: Mapping[str, str]) -> Iterator[Setting]:
    if name := given.get("servername"):
        yield Setting("", "hostname", name)
    yield Setting("", "user", "vmail", "the user that owns all maildrops")
    certificate, key = (given.get(f"tls_server_{what}", given.get(f"tls_{what}_file", "")) for what in ("cert", "key"))
    has_tls = certificate.startswith("/")
    yield Setting("listen", "pop3", ["tcp:110"], "cyrus.conf may have had others")
    if has_tls:
        yield Setting("listen", "pop3s", ["tcp:995"])
        yield Setting("tls", "certificate", certificate)
        yield Setting("tls", "key", key or certificate, "which `user` must be able to read")
    plain = _on(given.get("allowplaintext", "0")) and not _on(given.get("tls_required", ""))
    yield Setting("auth", "cleartext", "always" if plain else "tls")


def _about_users(given: Mapping[str, str], remarks: list[Remark]) -> Iterator[Setting]:
    method, plugin = (
        given.get(name, default)
        for name, default in (("sasl_pwcheck_method", "auxprop"), ("sasl_auxprop_plugin", "sasldb"))
    )
    if "saslauthd" in method.split():
        remarks.append(
            Remark(
                "sasl_pwcheck_method",
                "saslauthd: PAM, if it runs with -a pam (docs/users-pam.md); for its others see ldap: and kerberos-password:",
            )
        )
        yield Setting("auth", "checkers", ["pam:mailserver"])
    else:
        yield Setting("auth", "checkers", ["passwd-file:/etc/mailserver/users"])
        if "sasldb" in plugin.split():
            path = given.get("sasl_sasldb_path", SASLDB)
            command = f"mailserver migrate users sasldb {path} --output /etc/mailserver/users"
            remarks.append(
                Remark(
                    "sasl_pwcheck_method",
                    f"the users are in a sasldb: {command}, with --realm for realms that are no domains",
                )
            )
        else:
            remarks.append(
                Remark(
                    "sasl_auxprop_plugin",
                    f"{plugin[:40]}: write sql.toml or ldap.toml by docs/users-sql.md or docs/users-ldap.md, and name it in auth.checkers",
                )
            )
    yield from _about_names(given, remarks)


def _about_names(given: Mapping[str, str], remarks: list[Remark]) -> Iterator[Setting]:
    if _on(given.get("username_tolower", "1")):
        yield Setting("names", "case", "lower", "as username_tolower")
    domains = given.get("virtdomains", "off").lower()
    if domains in ("off", "0", "no"):
        remarks.append(
            Remark("virtdomains", "off: domains did not count; name those of the users in names.local_domains")
        )
        return
    yield Setting("names", "at_signs", "%", "as virtdomains has it")
    if domain := given.get("defaultdomain"):
        yield Setting("names", "local_domains", [domain], "users of defaultdomain are without it there")
    if domains in ("on", "1", "yes"):
        remarks.append(
            Remark(
                "virtdomains",
                "on: the domain came from the address of the interface; names.default_domains has one for each endpoint",
            )
        )


def _about_pop3(given: Mapping[str, str]) -> Iterator[Setting]:
    yield Setting("store", "url", "maildir:/srv/mail/{user}", "where the mail is moved to")
    if _on(given.get("popuseimapflags", "")):
        yield Setting("store", "seen", "retr", "as popuseimapflags")
    if idle := _seconds(given.get("poptimeout", "")):
        yield Setting("limits", "idle_seconds", max(idle, 600))
    if delay := _seconds(given.get("popminpoll", "")):
        yield Setting("retention", "login_delay_seconds", delay)
    if quota := octets(given.get("autocreate_quota", given.get("autocreatequota", "")), 1024):
        yield Setting("quota", "octets", quota, "as autocreate_quota; `quota` lists those that were changed later")
    percent = given.get("quotawarnpercent", given.get("quotawarn", ""))
    if percent.isdecimal() and int(percent) <= 100:  # noqa: PLR2004 - a percentage
        yield Setting("quota", "warn_percent", int(percent))
    if _on(given.get("lmtp_over_quota_perm_failure", "")):
        yield Setting("quota", "over", "permanent")


def _seconds(text: str) -> int:
    """A duration as Cyrus has it: minutes, or ``1h30m``; 0: none, or none that is understood."""
    if text.isdecimal():
        return int(text) * 60
    match = _DURATION.fullmatch(text)
    days, hours, minutes, seconds = (int(each or 0) for each in match.groups()) if match else (0, 0, 0, 0)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _spool(given: Mapping[str, str]) -> str:
    """The place of the mail, for `mailserver migrate mail`."""
    partition = given.get(f"partition-{given.get('defaultpartition', 'default')}", "/var/spool/cyrus/mail")
    form = given.get("uidl_format", "cyrus")
    options = [f"uidl={form}"] * (form != "cyrus") + ["popuseimapflags=yes"] * _on(given.get("popuseimapflags", ""))
    return f"'cyrus:{partition}{'?' * bool(options)}{'&'.join(options)}'"
