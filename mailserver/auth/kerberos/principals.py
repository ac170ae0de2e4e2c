r"""The rules that say which maildrops a principal may open, before Kerberos's own ``auth_to_local`` is asked.

A rule is ``PRINCIPAL -> USER`` or ``~ REGEX -> USER``:

    alice/admin@EXAMPLE.ORG -> alice                this very principal
    ~ (.+)@EXAMPLE\.ORG -> \1@example.org             the whole name must fit; \1 and \g<name> are its groups
    alice@EXAMPLE.ORG -> support                    a second rule for her: she may open both, and the first is her own
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mailserver.names import user_name

DENIED: Final = frozenset({"root"})
"""Users whom no principal becomes, since a KDC's administrator is not the administrator of this machine."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, as it was read."""

    pattern: re.Pattern[str]
    user: str
    """A template of `re.Match.expand`."""


class PrincipalMap:
    """The rules, in their order. What one of them makes of a principal counts only if it can be a user's name."""

    def __init__(self, rules: Iterable[str] = ()) -> None:
        """Errors: ValueError, whose text names the rule and what is wrong."""
        self._rules = tuple(map(read_rule, rules))

    def users(self, principal: str) -> list[str] | None:
        """Whom the principal may act as, its own user first; None when no rule fits it, so that others may say."""
        matches = [(rule, match) for rule in self._rules if (match := rule.pattern.fullmatch(principal))]
        if not matches:
            return None
        users = (match.expand(rule.user) for rule, match in matches)
        return [user for user in users if user_name(user) is not None]


def read_rule(text: str) -> Rule:
    """A rule of its text. Errors: ValueError."""
    left, arrow, user = (part.strip() for part in text.rpartition("->"))
    regex = left.removeprefix("~").strip()
    if not (arrow and regex and user):
        raise ValueError(f'"{text}" is no rule such as "alice/admin@EXAMPLE.ORG -> alice" or "~ REGEX -> USER"')
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
        pattern.sub(user, "")  # it reads the template, though nothing may match
    except (re.error, IndexError) as error:  # IndexError: a group that is not there, by its name
        raise ValueError(f'"{text}" is no rule: {error}') from None
    return Rule(pattern, user)
