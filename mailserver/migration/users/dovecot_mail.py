"""Where Dovecot keeps the mail, what its POP3 clients know of it, and its quotas, as ``[store]`` and ``[quota]``."""

from __future__ import annotations

import re
from typing import Final

from mailserver.migration.users.taking import Taking, words
from mailserver.migration.users.variables import as_fields
from mailserver.sizes import octets

UIDL_DEFAULTS: Final = frozenset({"", "%08Xu%08Xv", "%{uid | hex(8)}%{uidvalidity | hex(8)}"})


def take_mail(taking: Taking, home: str) -> None:
    """``[store]``."""
    driver, path, inbox, options = _location(taking)
    if driver == "maildir":
        _url(taking, inbox or path, home)
        if options.get("CONTROL") or taking.get("mail_control_path"):
            taking.tell(
                "mail_location",
                "CONTROL: dovecot-uidlist is not in the Maildir, where store.former reads it: move it there, or all unique-ids change",
            )
        text = taking.get("pop3_uidl_format")
        taking.put(
            "store",
            "former",
            "dovecot" if text in UIDL_DEFAULTS else f"dovecot:{text}",
            "so that no client downloads anything again",
        )
    else:
        named = f"mail in {driver}" if driver else "the place of the mail is not said"
        taking.tell(
            "mail_location",
            f"{named}: only Maildirs are read in place; `mailserver migrate mail` moves it (docs/migration.md)",
        )
        taking.put("store", "url", "maildir:{home}/Maildir")
    if not taking.yes("pop3_no_flag_updates"):
        taking.put("store", "seen", "retr", "as Dovecot does, unless pop3_no_flag_updates is set")
    _about_uidls(taking)


def _location(taking: Taking) -> tuple[str, str, str, dict[str, str]]:
    """The format, the path, the INBOX and the options; of 2.3 in one setting, of 2.4 in several."""
    text = taking.get("mail_location")
    if text:
        driver, colon, rest = text.partition(":")
        path, *given = (rest if colon else text).split(":")
        options = dict(_option(each) for each in given)
        return driver if colon else "", path, options.get("INBOX", ""), options
    return taking.get("mail_driver"), taking.get("mail_path"), taking.get("mail_inbox_path"), {}


def _option(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key.upper(), value


def _url(taking: Taking, path: str, home: str) -> None:
    path = re.sub(r"^~(?=/|$)|^%h(?=/|$)|^%\{ *home *\}(?=/|$)", "{home}", path) if path else "{home}/Maildir"
    fields, unknown = as_fields(path.removeprefix("{home}"))
    if path.startswith("{home}"):
        place, odd = as_fields(home)
        fields, unknown = (place or "{home}") + fields, unknown + odd
    for each in unknown:
        taking.tell("mail_location", f"the variable {each} has no place in store.url: write the path yourself")
    if "{home}" not in fields and not re.search(r"\{(?:user|local)\}", fields):
        taking.tell("mail_location", "it names no user, so that all would share one maildrop: write store.url yourself")
        return
    taking.put("store", "url", f"maildir:{fields}")


def _about_uidls(taking: Taking) -> None:
    if taking.yes("pop3_reuse_xuidl"):
        taking.tell(
            "pop3_reuse_xuidl",
            "the unique-ids of messages with X-UIDL came from the header, and come from pop3_uidl_format here: those are downloaded again",
        )
    if taking.get("pop3_deleted_flag") or taking.get("pop3_delete_type") == "flag":
        taking.tell(
            "pop3_delete_type",
            "messages that clients deleted were only marked, and come back in their listings: remove them before the move",
        )
    if taking.yes("pop3_enable_last"):
        taking.tell("pop3_enable_last", "LAST is not served (RFC 1460 was the last with it)")
    if taking.get("pop3_uidl_duplicates") == "rename":
        taking.tell(
            "pop3_uidl_duplicates", "the renamed ids of copies may change: their messages may be downloaded again"
        )
    plugins = words(taking.get("mail_plugins"))
    for block in taking.within("mail_plugins"):
        plugins += [name for name, value in block.values.items() if value == "yes"]
    if "mail_crypt" in plugins:
        taking.tell(
            "mail_plugins", "mail_crypt: nobody but Dovecot can read encrypted mail; decrypt it before the move"
        )


def take_quota(taking: Taking) -> None:
    """``[quota]``: the rule of the whole maildrop, for users without one of their own."""
    given = [(name, value) for block in taking.within("plugin") for name, value in block.values.items()]
    for name, value in given:
        if re.fullmatch(r"quota_rule\d*", name):
            _rule(taking, name, value.replace("%%", "%"))
        elif name == "quota_exceeded_message" or name.startswith("quota_warning"):
            taking.put("quota", "warn_percent", _percent(value))
    for block in taking.within("quota"):
        if size := octets(block.get("storage_size", "quota_storage_size"), 1):
            taking.put("quota", "octets", size)
        if (count := block.get("message_count", "quota_message_count")).isdecimal():
            taking.put("quota", "messages", int(count))
    if any(name.startswith("sieve") for name, _ in given):
        taking.tell(
            "plugin", "sieve: scripts are not run here; let the delivery agent do it, such as Postfix with a pipe"
        )


def _rule(taking: Taking, name: str, value: str) -> None:
    folder, *limits = value.split(":")
    if folder not in ("*", "?"):
        return  # of a folder that POP3 does not show
    for key, _, text in (limit.partition("=") for limit in limits):
        size = octets(text, 1 if key == "bytes" else 1024)
        if key in ("storage", "bytes") and size is not None:
            taking.put("quota", "octets", size)
        elif key == "messages" and text.isdecimal():
            taking.put("quota", "messages", int(text))
        elif key not in ("ignore", "noenforcing"):
            taking.tell(name, f"{value[:80]!a} is not understood: set quota.octets")


def _percent(value: str) -> int:
    match = re.search(r"storage=(\d{1,2})%", value)
    return int(match[1]) if match else 90
