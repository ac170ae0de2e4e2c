"""The last field of a passwd-file's line: ``NAME=VALUE`` words, which restrict a user, or say where his mail is.

A word that is passed over lets its user in, and one that is taken too seriously locks him out. So each has a rule, from
what Dovecot does with it, and there is one for all others: whatever could be a field of Dovecot's, which are all of a-z, 0-9
and "_", might restrict him, and keeps him out; whatever cannot, such as ``Comment=x`` or ``x-dept=sales``, is a note of the
operator's and passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

Networks = tuple[IPv4Network | IPv6Network, ...]

LOCAL = (ip_network("127.0.0.1"), ip_network("::1"))
"""What ``local`` in ``allow_nets`` means: the realm counts a Unix socket as these two addresses."""

NOWHERE = (ip_network("255.255.255.255"),)
"""No connection comes from there: he is kept out whatever he proves himself with."""

HEEDED = frozenset(
    {"nopassword", "allow_nets", "delay_until", "reason"}
    | {f"userdb_{name}" for name in ("home", "mail", "mail_location", "mail_driver", "mail_path", "mail_inbox_path")}
    | {"userdb_quota_rule"}
)
"""The quota rule is for deliveries: a maildrop that is only read cannot outgrow it."""

RESTRICTING = {
    "user": "would make another user of him",
    "username": "would make another user of him",
    "domain": "would make another user of him",
    "login_user": "would make another user of him",
    "proxy": "says that his mail is on another server",
    "proxy_maybe": "says that his mail may be on another server",
}
"""Where "keeps him out" would not say enough."""

HARMLESS = re.compile(
    # What Dovecot's proxy and its login processes read beside `proxy`, and what is for its log and events.
    r"host|hostip|port|pass|destuser|master|ssl|starttls|source_ip|nodelay|code|resp|original_user|auth_user|"
    r"password|password_noscheme|proxy_\w+|forward_\w+|event_\w+|user_\w+|"
    # Fields of userdbs, which without userdb_ do nothing; and words that are notes in any language of operators.
    r"uid|gid|home|mail|quota|quota_rule|quota_storage_size|name|fullname|comment|comments|note|notes|description|"
    # Of userdbs: no more than what is answered by MOVING and the rest of HEEDED.
    r"userdb_[\w/.+-]+"
)

MOVING = re.compile(
    r"userdb_(?:chroot|mail_chroot|mail_home|user|username|domain|userdb_import|tempfail|"
    r"mailbox_list_layout|mailbox_directory_name|mailbox_root_directory_name|mailbox_list_iter_from_index_dir|"
    r"namespace/[^/]+/(?:location|prefix|mail_[a-z]+(?:_path)?|inbox))"
)
"""Where his mail is, in ways that are not heeded here; an empty maildrop elsewhere would look as if it were lost."""

_DOVECOT = re.compile(r"[a-z][a-z0-9_]*")
_SUFFIX = re.compile(r":(?:default|protected)\Z")


@dataclass(frozen=True, slots=True)
class Extra:
    """What the field says."""

    nopassword: bool = False
    home: str | None = None
    mail: str | None = None
    networks: Networks = ()
    not_before: float = 0.0
    """Seconds of the Unix epoch: from then on he may log in."""
    barred: str = ""
    """Why he may not log in; "": he may."""
    unserved: str = ""
    """Why his maildrop is not served; "": it is."""
    remarks: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()


def read_extra(text: str, name: str) -> Extra:
    """What the words say of the user `name`; of two of one kind the last."""
    given: dict[str, str] = {}
    for word in text.split():
        key, _, value = word.partition("=")
        given[_SUFFIX.sub("", key)] = value
    barred = next((why for key in given if (why := _barred(key))), "")
    networks, remarks = _networks(given["allow_nets"]) if "allow_nets" in given else ((), ())
    if networks == NOWHERE:
        remarks = ()
        barred = barred or f"allow_nets has no network that could be one: {given['allow_nets'][:80]!r}"
    mail, unserved = _mail(given)
    home = _expanded(given.get("userdb_home", ""), name)
    if home is None:
        unserved = "userdb_home has a variable that is not known here"
    not_before = _time(given["delay_until"]) if "delay_until" in given else 0.0
    if not_before is None:
        barred = barred or "delay_until is no time"
    if barred and given.get("reason"):
        barred = f"{barred} (reason={given['reason'][:80]!r})"
    return Extra(
        nopassword="nopassword" in given,
        home=home or None,
        mail=mail,
        networks=NOWHERE if barred else networks,
        not_before=not_before or 0.0,
        barred=barred,
        unserved=unserved or next((f"{key} is not heeded here" for key in given if MOVING.fullmatch(key)), ""),
        remarks=remarks,
        ignored=frozenset(_shown(key) for key in given if key not in HEEDED and not _barred(key)),
    )


def _barred(key: str) -> str:
    """Why a word keeps its user out."""
    if key in HEEDED or HARMLESS.fullmatch(key) or not _DOVECOT.fullmatch(key):
        return ""
    return f"{key[:40]} {RESTRICTING.get(key, 'keeps him out')}"


def _networks(value: str) -> tuple[Networks, tuple[str, ...]]:
    """The networks, and a remark on each that is none: as with Dovecot, it lets nobody in, and the others count."""
    networks: Networks = ()
    remarks = []
    for word in filter(None, value.split(",")):
        try:
            networks += LOCAL if word == "local" else (ip_network(word, strict=False),)
        except ValueError:
            remarks.append(f"{word[:80]!r} in allow_nets is no network, and lets nobody in")
    return networks or NOWHERE, tuple(remarks)


def _mail(given: Mapping[str, str]) -> tuple[str | None, str]:
    """His own mail location, as Dovecot 2.3 or 2.4 writes it, and why it cannot be served, or ""."""
    location = given.get("userdb_mail") or given.get("userdb_mail_location")
    if location:
        kind, colon, rest = location.partition(":")
        if not colon or kind != "maildir":
            return location, f"his mail location is not a maildir: but {location[:80]!r}"
        odd = [option for option in rest.split(":")[1:] if option.partition("=")[0] in {"DIRNAME", "FULLDIRNAME"}]
        odd += [option for option in rest.split(":")[1:] if option.upper() == "LAYOUT=INDEX"]
        return location, f"the option {odd[0][:80]} of his mail location is not heeded here" if odd else ""
    driver, path, inbox = (given.get(f"userdb_mail_{name}", "") for name in ("driver", "path", "inbox_path"))
    if driver not in ("", "maildir"):
        return None, f"userdb_mail_driver={driver[:80]} is not heeded here: only a maildir is served"
    if not (path or inbox):
        return None, ""
    if ":" in path + inbox:
        return None, "userdb_mail_path has a colon in it"
    return f"maildir:{inbox or path}", ""


_VARIABLE = re.compile(r"%(?:([und%])|\{ *(user|username|domain)(?: *\| *(username|domain))? *\})")


def _expanded(text: str, name: str) -> str | None:
    """A value with Dovecot's variables of the name in it, in the notation of 2.3 or of 2.4; None where others are."""
    local, _, domain = name.rpartition("@") if "@" in name else (name, "", "")
    values = {"u": name, "user": name, "n": local, "username": local, "d": domain, "domain": domain, "%": "%"}
    if "%" in _VARIABLE.sub("", text):
        return None
    return _VARIABLE.sub(lambda match: values[match[1] or match[3] or match[2]], text)


def _time(value: str) -> float | None:
    seconds = value.partition("+")[0]
    return float(seconds) if seconds.isascii() and seconds.isdecimal() and len(seconds) < 16 else None  # noqa: PLR2004 - a float counts so far


def _shown(key: str) -> str:
    """A key as the log may show it: a stray word of somebody's may be anything."""
    return key if re.fullmatch(r"[\w/.+:-]{1,80}", key, re.ASCII) else ascii(key[:40])
