"""Login names: which octets can name a user at all, and which user a name means.

A store makes paths of names, and an operator reads them in a terminal. So a name that could climb out of a folder, or look
like another, is invalid for every checker. A site's `Names` reads all other names; `EXAMPLES` shows what each rule does to a
name, and is both the table of docs/names.md and its test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from unicodedata import normalize

MAX_NAME = 255
"""Octets: a name may become one component of a path, and file systems allow no more."""

MAX_LABEL = 63
"""Characters of an account's name: it is a host name, and DNS allows no more in a label."""


def user_name(name: object) -> str | None:
    """The text of a name that can be a user's, or None.

    It must be UTF-8 without control, format or unassigned characters, "/" or "..", of at most `MAX_NAME` octets. On each
    side of every "@" must be text that does not begin with ".", since a store may use each side on its own.
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
    """The maildrop that a name opens."""

    maildrop: str
    """A user with a maildrop of their own, or an account of many users (SDPS)."""
    user: str | None = None
    """The user of the account whose mail the session gets; None: the mail of all."""


@dataclass(frozen=True, slots=True)
class Names:
    """A site's rules for names. Without any, only Unicode is normalized (NFC) and domains are lower-cased.

    Errors: ValueError, for the operator.
    """

    default_domain: str = ""
    """The domain that is added to a name without one."""
    local_domains: tuple[str, ...] = ()
    """Domains that are removed from names: the passwd-file has their users by the bare name."""
    case: Literal["keep", "lower"] = "keep"
    """Whether capitals in a user's name matter ("keep") or not ("lower")."""
    at_signs: str = ""
    """Characters that mean "@" in a name that has no "@"."""
    tag_separators: str = ""
    """Characters that begin a tag, which is no part of the user's name."""
    accounts: Mapping[str, str] = field(default_factory=dict)
    """The accounts of many users (SDPS), and each account's domain."""
    account_separators: str = "+"
    """Characters, beside "@", that may separate a user from the account."""
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
                raise ValueError(f'"{separator}" cannot be a separator: names contain it, or a path could climb by it')
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
        """The canonical form of a typed name; None when it can be no user's. Reading the result again changes nothing.

        Where a name has two readings: a full address is always an address. An account's name is the account rather than a
        user of the default domain. The text behind a separator is the account of that name, if there is one, rather than a
        tag.
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
        user = self.untagged(_lower(user) if self.case == "lower" else user)
        domain = domain or self.default_domain
        if not domain:
            return user if user == text else self.read(user)  # without its tag it can be an account
        name = user_name(user if domain in self.local_domains and self._is_bare(user) else f"{user}@{domain}")
        # The default domain can be an account's, and so can the rest of an address whose domain was removed.
        return name if name in (None, text, user) else self.read(name)

    def spells(self, written: str, read: str) -> bool:
        """Whether `written`, a name of the passwd-file, is only another spelling of `read`, its canonical form.

        A name with a tag or a separator is not: it is read as a different user's name.
        """
        bare, whole = _lower(_spelled(written)), _lower(read)
        user, _, domain = bare.rpartition("@")
        return whole in {bare, f"{bare}@{self.default_domain}"} or (domain in self.local_domains and whole == user)

    def owner(self, name: str) -> Owner:
        """The maildrop that a canonical name opens."""
        if self.accounts:
            user, _, account = name.rpartition("@")
            if user and account in self.accounts:
                return Owner(account, user)
        return Owner(name)

    def user(self, local_part: str) -> str:
        """The user of an account that a local part means: capitals never matter there, tags as configured."""
        return self.untagged(_lower(_spelled(local_part)))

    def untagged(self, user: str) -> str:
        """A user's name, or a local part, without its tag."""
        for separator in self.tag_separators:
            end = user.find(separator, 1)  # a name that begins with a separator has no tag
            if end > 0:
                user = user[:end]
        return user

    def _sides(self, text: str) -> tuple[str, str]:
        """The user, and the domain or the account."""
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
        """Whether the name without its domain is read as the same user's. If not, the address cannot be shortened to it."""
        return self._sides(user) == (user, "") and user.lower() not in self.accounts


def folded(text: str) -> str:
    """Lower case, in one spelling: the form by which names that differ in nothing else are found."""
    return _lower(_spelled(text))


PLAIN = Names()
"""No rules: how names are read where nothing is configured."""


def _spelled(text: str) -> str:
    return text if text.isascii() else normalize("NFC", text)


def _lower(text: str) -> str:
    """Lower case, repeated until it is stable: some letters need a second pass (RFC 8264 section 7)."""
    if text.isascii():
        return text.lower()
    lower = normalize("NFC", text.lower())
    return lower if lower == text else _lower(lower)


class Example(NamedTuple):
    """A typed name, and how it is read under some settings."""

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
    Example(_NONE, "John", "John", "capitals matter, unless configured"),
    Example(_NONE, "John@Example.ORG", "John@example.org", "but capitals never matter in a domain"),
    Example(_NONE, "jo\u0308rg", "j\u00f6rg", "one spelling (NFC), however a keyboard composes letters"),
    Example(_NONE, "john@example.org", "john@example.org", "a whole address is a name of its own, as in Google Apps"),
    Example(_NONE, "john+tag@example.org", "john+tag@example.org", "tags are part of the name, unless configured"),
    Example(_NONE, "john%example.org", "john%example.org", '"%" is a character like others, unless configured'),
    Example(_NONE, "john@localhost", "john@localhost", "a domain needs no dot"),
    Example(_LOWER, "John@Example.ORG", "john@example.org", "capitals do not matter"),
    Example(_LOWER, "\u0130lker", "i\u0307lker", "Unicode's lower case, the same for all languages"),
    Example(_DEFAULT, "john", "john@example.org", "the listener's default domain is added"),
    Example(_DEFAULT, "john@example.net", "john@example.net", "but only to names without a domain"),
    Example(_LOCAL, "john@example.org", "john", "the whole address of a user whom the passwd-file has as john"),
    Example(_LOCAL, "john@example.net", "john@example.net", "john of another domain is another user"),
    Example(
        {**_LOCAL, **_SDPS}, "vision25@example.org", "vision25@example.org", "the bare name would mean the account"
    ),
    Example(_PERCENT, "john%example.org", "john@example.org", 'for clients that do not send "@"'),
    Example(
        _PERCENT, "john%a@example.org", "john%a@example.org", 'the name has an "@", so "%" is a character like others'
    ),
    Example(_TAGS, "john+tag@example.org", "john@example.org", "an address with a tag logs in as its user"),
    Example(_TAGS, "+john", "+john", "no name stands before the separator, so this is no tag"),
    Example(_SDPS, "vision25", "vision25", "the account: the mail of all its users"),
    Example(_SDPS, "Vision25", "vision25", "capitals never matter in an account's name"),
    Example(_SDPS, "john@vision25", "john@vision25", "the account's mail for john"),
    Example(_SDPS, "John@vision25", "john@vision25", "nor in its users' names"),
    Example(_SDPS, "john+vision25", "john@vision25", 'the same, for clients that do not send "@"'),
    Example(
        _SDPS,
        "john@vision25.example.org",
        "john@vision25",
        "the same by the address, since the account has this domain",
    ),
    Example(_SDPS, "john+tag", "john+tag", "a name like others, since no account is named tag"),
    Example(_SDPS, "john+vision25@example.org", "john+vision25@example.org", "a full address is always an address"),
    Example(_SDPS, "vision25@example.org", "vision25@example.org", "even with an account's name in it"),
    Example({**_SDPS, **_DEFAULT}, "vision25", "vision25", "the account, rather than a user of the default domain"),
    Example({**_SDPS, **_DEFAULT}, "john+vision25", "john@vision25", "likewise"),
    Example({**_SDPS, **_TAGS}, "john+vision25", "john@vision25", "the account, rather than a tag"),
    Example({**_SDPS, **_TAGS}, "john+tag+vision25", "john@vision25", "both"),
    Example({**_SDPS, **_TAGS}, "john+tag@vision25", "john@vision25", "john's share holds the mail for john+tag"),
    Example({**_SDPS, **_PERCENT}, "john%vision25", "john@vision25", '"%" means "@" here'),
    Example({**_SDPS, **_PERCENT}, "a%john+vision25", "a@john+vision25", '"%" is looked for before "+"'),
    Example(
        {**_SDPS, "account_separators": ""},
        "john+vision25",
        "john+vision25",
        'only "@" separates a user from the account',
    ),
    Example(_SDPS, "+vision25", "+vision25", "there is no user before the separator"),
    Example(_NONE, "../john", None, "could climb out of the store"),
    Example(_NONE, "a/b", None, "likewise"),
    Example(_NONE, "@example.org", None, "there is no user before the domain"),
    Example(_NONE, "john@", None, "there is no domain"),
    Example(_NONE, b"j\xf6rg", None, "not UTF-8"),
    Example(_NONE, "jo\u200bhn", None, "looks like another name"),
    Example(_NONE, "", None, "nothing"),
)
"""Every rule by example. The settings are fields of `Names`; what is not given has its default."""
