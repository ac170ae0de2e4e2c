r"""The rules for the maildrops that a principal may open; they come before Kerberos's own ``auth_to_local``.

A rule is ``PRINCIPAL -> USER`` or ``~ REGEX -> USER``:

    alice/admin@EXAMPLE.ORG -> alice                exactly this principal
    ~ (.+)@EXAMPLE\.ORG -> \1@example.org             the whole name must match; \1 and \g<name> are its groups
    alice@EXAMPLE.ORG -> support                    a second rule for a principal allows both; the first is the default
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mailserver.names import user_name

DENIED: Final = frozenset({"root"})
"""Users that no principal may act as: the KDC's administrator is not this machine's administrator."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed rule."""

    pattern: re.Pattern[str]
    user: str
    """A template of `re.Match.expand`."""


class PrincipalMap:
    """The rules, in their order. A rule's result counts only if it can be a user's name."""

    def __init__(self, rules: Iterable[str] = ()) -> None:
        """Errors: ValueError, whose text names the rule and the mistake."""
        self._rules = tuple(map(read_rule, rules))

    def users(self, principal: str) -> list[str] | None:
        """The users that the principal may act as, the default one first; None when no rule matches."""
        matches = [(rule, match) for rule in self._rules if (match := rule.pattern.fullmatch(principal))]
        if not matches:
            return None
        users = (match.expand(rule.user) for rule, match in matches)
        return [user for user in users if user_name(user) is not None]


def read_rule(text: str) -> Rule:
    """Parse a rule. Errors: ValueError."""
    left, arrow, user = (part.strip() for part in text.rpartition("->"))
    regex = left.removeprefix("~").strip()
    if not (arrow and regex and user):
        raise ValueError(f'"{text}" is not a rule such as "alice/admin@EXAMPLE.ORG -> alice" or "~ REGEX -> USER"')
    if left.startswith("~"):
        return _read_regex(text, regex, user)
    if "@" not in left:
        raise ValueError(f'"{text}": a principal is written with its realm, as in alice@EXAMPLE.ORG')
    if user_name(user) is None:
        raise ValueError(f'"{text}": {user} cannot be a user\'s name')
    return Rule(re.compile(re.escape(left)), user.replace("\\", r"\\"))


def _read_regex(text: str, regex: str, user: str) -> Rule:
    try:
        pattern = re.compile(regex)
        pattern.sub(user, "")  # checks the template even though nothing matches
    except (re.error, IndexError) as error:  # IndexError: an unknown group name
        raise ValueError(f'"{text}" is not a rule: {error}') from None
    return Rule(pattern, user)
