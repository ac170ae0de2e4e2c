"""Dovecot's configuration, as ``doveconf -nP`` prints it, as our mailserver.toml."""

from __future__ import annotations

import pwd
import textwrap

from mailserver.migration.users.converted import Converted, Setting, Unconvertible, settings_file
from mailserver.migration.users.dovecot_checkers import take_checkers, take_homes
from mailserver.migration.users.dovecot_conf import parse
from mailserver.migration.users.dovecot_listen import take_auth, take_listeners, take_tls
from mailserver.migration.users.dovecot_mail import take_mail, take_quota
from mailserver.migration.users.taking import Taking

NOT_TAKEN = "Not looked at, as it is for other protocols or for Dovecot's own work: "


def read_dovecot(text: str, path: str) -> Converted:
    """The settings that this server needs to serve the same users the same mail. Errors: Unconvertible."""
    taking = Taking(parse(text, path))
    if not (taking.root.values or taking.root.blocks):
        raise Unconvertible(f"{path}: it has no settings: give what `doveconf -nP` prints")
    if hostname := taking.get("hostname"):
        taking.put("", "hostname", hostname)
    home, uid = take_homes(taking)
    _take_user(taking, uid)
    tls = take_tls(taking)
    take_listeners(taking, tls=tls)
    take_checkers(taking)
    take_auth(taking, tls=tls)
    take_mail(taking, home)
    take_quota(taking)
    head = f"Made of Dovecot's {path}. etc/mailserver.toml has all settings with their reasons."
    if names := taking.not_looked_at():
        head += "\n" + textwrap.fill(NOT_TAKEN + ", ".join(names), 118)
    return settings_file(_in_order(taking), head, taking.remarks)


def _take_user(taking: Taking, uid: str) -> None:
    """The user that owns all maildrops."""
    name = uid
    if uid.isdecimal():
        try:
            name = pwd.getpwuid(int(uid)).pw_name
        except KeyError:
            taking.tell(
                "mail_uid", f"{uid} has no name on this machine: `user` is the name of the user that owns the mail"
            )
            name = ""
    elif not uid:
        taking.tell("mail_uid", "it does not say who owns the mail: `user` is the user that owns all maildrops")
    taking.put("", "user", name or "vmail")


ORDER = ("", "listen", "tls", "auth", "names", "store", "limits", "quota")


def _in_order(taking: Taking) -> list[Setting]:
    return sorted(taking.settings, key=lambda each: ORDER.index(each.table))
