"""The extra fields at the end of a passwd-file entry: ``NAME=VALUE`` words that restrict the user or locate the mail.

Ignoring a restriction would let a user in, and taking a note for a restriction would lock one out. So each word that Dovecot
knows has a rule, and there is one rule for all others. A name that could be Dovecot's (only a-z, 0-9 and "_") might restrict
the user, so it denies the login. A name that could not, such as ``Comment=x`` or ``x-dept=sales``, is the operator's note and
is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from mailserver.auth.passwd.app_passwords import FIELD
from mailserver.auth.passwd.attributes import QUOTA, READERS, read_attributes

Networks = tuple[IPv4Network | IPv6Network, ...]

LOCAL = (ip_network("127.0.0.1"), ip_network("::1"))
"""The meaning of ``local`` in ``allow_nets``: the realm counts a Unix socket as these two addresses."""

NOWHERE = (ip_network("255.255.255.255"),)
"""No connection comes from this network, so it denies every login, by ticket or master user, too."""

SUPPORTED = frozenset(
    {"nopassword", "allow_nets", "delay_until", "reason"}
    | {f"userdb_{name}" for name in ("home", "mail", "mail_location", "mail_driver", "mail_path", "mail_inbox_path")}
    | {FIELD, *READERS}
)

DENIALS = {
    "user": "would change the user's name",
    "username": "would change the user's name",
    "domain": "would change the user's name",
    "login_user": "would change the user's name",
    "proxy": "says that the user's mail is on another server",
    "proxy_maybe": "says that the user's mail may be on another server",
}
"""Why a field denies the login, where "denies the login" would not say enough."""

HARMLESS = re.compile(
    # Fields for Dovecot's proxy and its login processes beside `proxy`, and for its log and events.
    r"host|hostip|port|pass|destuser|master|ssl|starttls|source_ip|nodelay|code|resp|original_user|auth_user|"
    r"password|password_noscheme|proxy_\w+|forward_\w+|event_\w+|user_\w+|"
    # Fields of userdbs, which do nothing without userdb_; and names that operators use for notes.
    r"uid|gid|home|mail|quota|quota_rule|quota_storage_size|name|fullname|comment|comments|note|notes|description|"
    # Fields of userdbs: RELOCATING and SUPPORTED have the ones with an effect.
    r"userdb_[\w/.+-]+"
)

BROKEN_SECRET = f"{FIELD}_with_a_blank"
"""Put for a word that is no field behind an app password. As an unknown field it denies the login."""

RELOCATING = re.compile(
    r"userdb_(?:chroot|mail_chroot|mail_home|user|username|domain|userdb_import|tempfail|"
    r"mailbox_list_layout|mailbox_directory_name|mailbox_root_directory_name|mailbox_list_iter_from_index_dir|"
    r"namespace/[^/]+/(?:location|prefix|mail_[a-z]+(?:_path)?|inbox))"
)
"""Fields that locate the mail in ways that are not supported. Ignoring one would open an empty maildrop elsewhere, and the
user would believe the mail lost.
"""

UNSUPPORTED = frozenset({"mbox", "mdbox", "sdbox", "dbox", "obox", "cydir", "imapc", "pop3c", "dict", "raw", "virtual"})
"""Dovecot's other formats: no store of ours reads them, and none is called like them."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
"""The beginning of a store URL. Dovecot takes a path alone, too, and guesses its format."""

_DOVECOT = re.compile(r"[a-z][a-z0-9_]*")
_SUFFIX = re.compile(r":(?:default|protected)\Z")


@dataclass(frozen=True, slots=True)
class Extra:
    """The meaning of an entry's extra fields."""

    nopassword: bool = False
    home: str | None = None
    mail: str | None = None
    networks: Networks = ()
    not_before: float = 0.0
    """Seconds of the Unix epoch: the user may log in from then on."""
    denied: str = ""
    """Why the user may not log in; "": the user may."""
    unserved: str = ""
    """Why the user's maildrop is not served; "": it is."""
    remarks: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the `User`."""
    app_passwords: tuple[str, ...] = field(default=(), repr=False)
    """As they stand in the file."""


def read_extra(text: str, name: str) -> Extra:
    """Parse the extra fields of the user `name`; of two with the same name the last counts, but of app passwords all."""
    given: dict[str, str] = {}
    apps: list[str] = []
    for word in text.split():
        key, _, value = word.partition("=")
        key = _SUFFIX.sub("", key)
        if key == FIELD:
            apps.append(value)
        elif apps and not (key in SUPPORTED or HARMLESS.fullmatch(key)):
            key = BROKEN_SECRET  # it may be the rest of a secret, which no log shall show
        given[key] = value
    return replace(read_fields(given, name), app_passwords=tuple(apps))


def read_fields(given: Mapping[str, str], name: str) -> Extra:
    """Read the extra fields of the user `name`, by their names."""
    denied = next((why for key in given if (why := _denial(key))), "")
    networks, remarks = read_networks(given["allow_nets"]) if "allow_nets" in given else ((), ())
    if networks == NOWHERE:
        remarks = ()
        denied = denied or f"allow_nets has no valid network: {given['allow_nets'][:80]!r}"
    attributes, disabled, further = read_attributes(given)
    remarks += further
    denied = denied or disabled
    mail, unserved = _mail(given)
    home = _expanded(given.get("userdb_home", ""), name)
    if home is None:
        unserved = "userdb_home has a variable that is not supported"
    not_before = _time(given["delay_until"]) if "delay_until" in given else 0.0
    if not_before is None:
        denied = denied or "delay_until is not a time"
    if denied and given.get("reason"):
        denied = f"{denied} (reason={given['reason'][:80]!r})"
    return Extra(
        nopassword="nopassword" in given,
        home=home or None,
        mail=mail,
        networks=NOWHERE if denied else networks,
        not_before=not_before or 0.0,
        denied=denied,
        unserved=unserved or next((f"{key} is not supported" for key in given if RELOCATING.fullmatch(key)), ""),
        remarks=remarks,
        ignored=frozenset(
            _shown(key) for key in given if not (key in SUPPORTED or QUOTA.fullmatch(key) or _denial(key))
        ),
        attributes=attributes,
    )


def _denial(key: str) -> str:
    """Why a field denies the login; "": it does not."""
    if key in SUPPORTED or HARMLESS.fullmatch(key) or not _DOVECOT.fullmatch(key):
        return ""
    return f"{key[:40]} {DENIALS.get(key, 'denies the login')}"


def read_networks(value: str) -> tuple[Networks, tuple[str, ...]]:
    """The valid networks, and a remark on each invalid one, which as in Dovecot matches no address."""
    networks: Networks = ()
    remarks = []
    for word in filter(None, value.split(",")):
        try:
            networks += LOCAL if word == "local" else (ip_network(word, strict=False),)
        except ValueError:
            remarks.append(f"{word[:80]!r} in allow_nets is not a network, and matches no address")
    return networks or NOWHERE, tuple(remarks)


def _mail(given: Mapping[str, str]) -> tuple[str | None, str]:
    """The user's own mail location, in Dovecot 2.3's or 2.4's form, and why it cannot be served ("": it can)."""
    location = given.get("userdb_mail") or given.get("userdb_mail_location")
    if location:
        return location, unsupported(location)
    driver, path, inbox = (given.get(f"userdb_mail_{name}", "") for name in ("driver", "path", "inbox_path"))
    if driver not in ("", "maildir"):
        return None, f"userdb_mail_driver={driver[:80]} is not supported: only a maildir is served"
    if not (path or inbox):
        return None, ""
    if ":" in path + inbox:
        return None, "userdb_mail_path contains a colon"
    return f"maildir:{inbox or path}", ""


def unsupported(location: str) -> str:
    """Why a mail location cannot be served; "" where it can, as far as is known before the stores are asked."""
    kind, colon, rest = location.partition(":")
    if not colon or kind in UNSUPPORTED or not _SCHEME.fullmatch(kind):
        return f"the user's mail location is not a maildir: but {location[:80]!r}"
    if kind != "maildir":
        return ""
    odd = [option for option in rest.split(":")[1:] if option.partition("=")[0] in {"DIRNAME", "FULLDIRNAME"}]
    odd += [option for option in rest.split(":")[1:] if option.upper() == "LAYOUT=INDEX"]
    return f"the option {odd[0][:80]} of the user's mail location is not supported" if odd else ""


_VARIABLE = re.compile(r"%(?:([und%])|\{ *(user|username|domain)(?: *\| *(username|domain))? *\})")


def _expanded(text: str, name: str) -> str | None:
    """Expand Dovecot's variables of the user's name (2.3's or 2.4's notation); None if there are other variables."""
    local, _, domain = name.rpartition("@") if "@" in name else (name, "", "")
    values = {"u": name, "user": name, "n": local, "username": local, "d": domain, "domain": domain, "%": "%"}
    if "%" in _VARIABLE.sub("", text):
        return None
    return _VARIABLE.sub(lambda match: values[match[1] or match[3] or match[2]], text)


def _time(value: str) -> float | None:
    seconds = value.partition("+")[0]
    return float(seconds) if seconds.isascii() and seconds.isdecimal() and len(seconds) < 16 else None  # noqa: PLR2004 - a float counts so far


def _shown(key: str) -> str:
    """A key in a form that is safe for the log: an operator's note may contain anything."""
    return key if re.fullmatch(r"[\w/.+:-]{1,80}", key, re.ASCII) else ascii(key[:40])
