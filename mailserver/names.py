"""The names that people log in with: which octets may name a user at all, and which user a name means.

A store makes paths of names, an operator reads them in a terminal. So what could climb, or deceive, is nobody's name, here
and for every checker. Everything else is read by a site's `Names`; what each rule does to a name stands in `EXAMPLES`, which
is the table of docs/names.md, and its test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from unicodedata import normalize

MAX_NAME = 255
"""Octets: a name may become one component of a path, and file systems end there."""

MAX_LABEL = 63
"""Characters of an account's name: it is a host's, and DNS ends there."""


def user_name(name: object) -> str | None:
    """The text of a name that is fit to be a user's, or None.

    Fit is UTF-8 without control, format or unassigned characters, at most `MAX_NAME` octets, without "/" and "..", and
    with something that does not begin with "." on each side of every "@", since a store may use the sides on their own.
    """
    if isinstance(name, bytes):
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            return None
    elif isinstance(name, str):
        text = name
    else:
        return None
    return text if _fit(text) else None


def _fit(text: str) -> bool:
    if not text.isprintable() or "/" in text or ".." in text:
        return False
    if len(text) > MAX_NAME or (not text.isascii() and len(text.encode("utf-8")) > MAX_NAME):
        return False
    if "@" not in text:
        return bool(text) and text[0] != "."
    return all(side and side[0] != "." for side in text.split("@"))


class Owner(NamedTuple):
    """Whose maildrop a name opens."""

    maildrop: str
    """The user of a maildrop of his own, or an account of many users (SDPS)."""
    user: str | None = None
    """The one of the account's users whose mail is wanted; None: all of it."""


@dataclass(frozen=True, slots=True)
class Names:
    """A site's rules for names. Without any, only spellings of the same name are made one: NFC, and domains in lower case.

    Errors: ValueError, for the operator.
    """

    default_domain: str = ""
    """Given to a name that has no domain."""
    local_domains: tuple[str, ...] = ()
    """Domains that are taken away: their users stand in the users' file by the bare name."""
    case: Literal["keep", "lower"] = "keep"
    """Whether capitals of a user's name matter."""
    at_signs: str = ""
    """Characters that stand for "@" in a name that has none."""
    tag_separators: str = ""
    """Characters that begin a tag, which is no part of the user's name."""
    accounts: Mapping[str, str] = field(default_factory=dict)
    """The accounts of many users (SDPS), and the domain of each."""
    account_separators: str = "+"
    """Characters that may stand between a user and his account, beside "@"."""
    _by_domain: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for domain in filter(None, (self.default_domain, *self.local_domains, *self.accounts.values())):
            if user_name(domain) is None or "@" in domain or domain != _lower(_spelled(domain)):
                raise ValueError(f'"{domain}" is no domain in lower case, such as example.org')
        for account in self.accounts:
            if not (account.isascii() and account.replace("-", "").isalnum() and account == account.lower()):
                raise ValueError(f'the account "{account}" must have a name of a-z, 0-9 and "-" alone')
            if len(account) > MAX_LABEL:
                raise ValueError(f'the account "{account}" has a name of more than {MAX_LABEL} characters')
        for separator in self.at_signs + self.tag_separators + self.account_separators:
            if not separator.isascii() or not separator.isprintable() or separator.isalnum() or separator in '@."-/ ':
                raise ValueError(f'"{separator}" cannot be a separator: names have it, or could climb by it')
        by_domain = {domain: account for account, domain in self.accounts.items() if domain}
        if len(by_domain) < sum(map(bool, self.accounts.values())):
            raise ValueError("two accounts have the same domain, so its addresses would mean either")
        if self.local_domains and self.default_domain not in ("", *self.local_domains):
            raise ValueError(
                f"default_domain is given to names without a domain, and so to those of local_domains, which lose theirs: "
                f'let one of local_domains be "{self.default_domain}", or leave one of the two settings out'
            )
        object.__setattr__(self, "_by_domain", by_domain)

    def read(self, name: object) -> str | None:
        """The canonical form of a name as it was typed; None when it is nobody's. To read it again changes nothing.

        What has two readings: a full address is never anything else. An account is an account before it is a user of the
        default domain; and what follows a separator is an account, where there is one of that name, before it is a tag.
        """
        text = user_name(name)
        if text is None:
            return None
        text = _spelled(text)
        user, domain = self._sides(text)
        if not domain and text.lower() in self.accounts:
            return text.lower()
        domain = _lower(domain)
        account = domain if domain in self.accounts else self._by_domain.get(domain)
        if account is not None:
            return user_name(f"{self.user(user)}@{account}")
        user = self._without_tag(_lower(user) if self.case == "lower" else user)
        domain = domain or self.default_domain
        if not domain:
            return user if user == text else self.read(user)  # without its tag it may be an account
        name = user_name(user if domain in self.local_domains and self._is_bare(user) else f"{user}@{domain}")
        # The default domain may be an account's, and what is left of an address whose domain was taken away be one, too.
        return name if name in (None, text, user) else self.read(name)

    def spells(self, written: str, read: str) -> bool:
        """Whether `written`, in a users' file, is the name that `read` is, and no more than spelled otherwise.

        A tag or a separator in it would be another name's: who is written so is not whom it is read as.
        """
        bare, whole = _lower(_spelled(written)), _lower(read)
        user, _, domain = bare.rpartition("@")
        return whole in {bare, f"{bare}@{self.default_domain}"} or (domain in self.local_domains and whole == user)

    def owner(self, name: str) -> Owner:
        """Whose maildrop a canonical name opens."""
        if self.accounts:
            user, _, account = name.rpartition("@")
            if user and account in self.accounts:
                return Owner(account, user)
        return Owner(name)

    def user(self, local_part: str) -> str:
        """Which user of an account a local part means: capitals never matter there, and tags as configured."""
        return self._without_tag(_lower(_spelled(local_part)))

    def _sides(self, text: str) -> tuple[str, str]:
        """The user, and his domain or his account."""
        user, at, domain = text.rpartition("@")
        if at:
            return user, domain
        for separator in self.at_signs:
            user, found, domain = text.rpartition(separator)
            if found and user and user[0] != "." and domain and domain[0] != ".":
                return user, domain
        for separator in self.account_separators if self.accounts else "":
            user, _, account = text.rpartition(separator)
            if user and account.lower() in self.accounts:
                return user, account
        return text, ""

    def _is_bare(self, user: str) -> bool:
        """Whether the name alone would be read as a user's, too. If not, his address cannot be shortened to it."""
        return self._sides(user) == (user, "") and user.lower() not in self.accounts

    def _without_tag(self, user: str) -> str:
        for separator in self.tag_separators:
            end = user.find(separator, 1)  # what begins with it is a name, not the tag of nobody
            if end > 0:
                user = user[:end]
        return user


PLAIN = Names()
"""No rules: how a name is read where nothing is configured."""


def _spelled(text: str) -> str:
    return text if text.isascii() else normalize("NFC", text)


def _lower(text: str) -> str:
    """Lower case that stays the same when it is made again: single letters need a second pass (RFC 8264 section 7)."""
    if text.isascii():
        return text.lower()
    lower = normalize("NFC", text.lower())
    return lower if lower == text else _lower(lower)


class Example(NamedTuple):
    """A name, and what becomes of it under some settings."""

    settings: Mapping[str, Any]
    typed: str | bytes
    read: str | None
    why: str


_NONE: Mapping[str, Any] = {}
_DEFAULT = {"default_domain": "example.org"}
_LOCAL = {"local_domains": ("example.org",)}
_LOWER = {"case": "lower"}
_PERCENT = {"at_signs": "%"}
_TAGS = {"tag_separators": "+"}
_SDPS = {"accounts": {"vision25": "vision25.example.org"}}

EXAMPLES = (
    Example(_NONE, "john", "john", "a user of the users' file"),
    Example(_NONE, "John", "John", "capitals matter where nothing is said"),
    Example(_NONE, "John@Example.ORG", "John@example.org", "but never in a domain"),
    Example(_NONE, "jo\u0308rg", "j\u00f6rg", "one spelling, however a keyboard composes its letters (NFC)"),
    Example(
        _NONE, "john@example.org", "john@example.org", "a whole address is its own name, as Google Apps took accounts"
    ),
    Example(_NONE, "john+tag@example.org", "john+tag@example.org", "tags are part of the name, unless configured"),
    Example(_NONE, "john%example.org", "john%example.org", '"%" is a character like others, unless configured'),
    Example(_NONE, "john@localhost", "john@localhost", "a domain needs no dot"),
    Example(_LOWER, "John@Example.ORG", "john@example.org", "capitals do not matter"),
    Example(_LOWER, "\u0130lker", "i\u0307lker", "Unicode's lower case, one and the same for all languages"),
    Example(_DEFAULT, "john", "john@example.org", "the listener's default domain"),
    Example(_DEFAULT, "john@example.net", "john@example.net", "is for names without one"),
    Example(_LOCAL, "john@example.org", "john", "the whole address of somebody whom the users' file knows as john"),
    Example(_LOCAL, "john@example.net", "john@example.net", "another domain's john is another one"),
    Example(
        {**_LOCAL, **_SDPS}, "vision25@example.org", "vision25@example.org", "by the bare name it would be the account"
    ),
    Example(_PERCENT, "john%example.org", "john@example.org", 'for clients that keep "@" for themselves'),
    Example(_PERCENT, "john%a@example.org", "john%a@example.org", '"@" is there, so "%" stands for nothing else'),
    Example(_TAGS, "john+tag@example.org", "john@example.org", "the address on a list is john's, and so is its login"),
    Example(_TAGS, "+john", "+john", "not the tag of nobody"),
    Example(_SDPS, "vision25", "vision25", "the account: the mail of all its users"),
    Example(_SDPS, "Vision25", "vision25", "capitals never matter in an account's name"),
    Example(_SDPS, "john@vision25", "john@vision25", "the account's mail for john"),
    Example(_SDPS, "John@vision25", "john@vision25", "nor in its users'"),
    Example(_SDPS, "john+vision25", "john@vision25", 'the same, for clients that keep "@" for themselves'),
    Example(
        _SDPS,
        "john@vision25.example.org",
        "john@vision25",
        "the same by the address, since the domain is the account's",
    ),
    Example(_SDPS, "john+tag", "john+tag", "no account has this name"),
    Example(_SDPS, "john+vision25@example.org", "john+vision25@example.org", "a full address is never anything else"),
    Example(_SDPS, "vision25@example.org", "vision25@example.org", "not even with an account's name"),
    Example({**_SDPS, **_DEFAULT}, "vision25", "vision25", "an account before it is a user of the default domain"),
    Example({**_SDPS, **_DEFAULT}, "john+vision25", "john@vision25", "likewise"),
    Example({**_SDPS, **_TAGS}, "john+vision25", "john@vision25", "an account before it is a tag"),
    Example({**_SDPS, **_TAGS}, "john+tag+vision25", "john@vision25", "both"),
    Example({**_SDPS, **_TAGS}, "john+tag@vision25", "john@vision25", "john's share holds the mail for john+tag"),
    Example({**_SDPS, **_PERCENT}, "john%vision25", "john@vision25", '"%" is an "@" here'),
    Example({**_SDPS, **_PERCENT}, "a%john+vision25", "a@john+vision25", 'and is looked for before "+"'),
    Example({**_SDPS, "account_separators": ""}, "john+vision25", "john+vision25", 'only "@" stands before an account'),
    Example(_SDPS, "+vision25", "+vision25", "there is no user before the separator"),
    Example(_NONE, "../john", None, "could climb out of the store"),
    Example(_NONE, "a/b", None, "likewise"),
    Example(_NONE, "@example.org", None, "nobody stands before the domain"),
    Example(_NONE, "john@", None, "no domain stands behind it"),
    Example(_NONE, b"j\xf6rg", None, "not UTF-8"),
    Example(_NONE, "jo\u200bhn", None, "looks like another name"),
    Example(_NONE, "", None, "nothing"),
)
"""Every rule by example. The settings are fields of `Names`; what is not given has its default."""
