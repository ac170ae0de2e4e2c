"""What several checkers say of one login that they all refuse."""

from __future__ import annotations

from collections.abc import Sequence

from mailserver.errors import LoginRefused
from mailserver.reasons import NO_CHECKER


def first_reason(refusals: Sequence[LoginRefused]) -> LoginRefused:
    """Join several checkers' refusals of one login: those that know the user know why.

    Where none does, a checker that does not say may know the user all the same, so the reasons of both kinds are given.
    """
    knowing = [each for each in refusals if each.known]
    silent = [each for each in refusals if each.known is None]
    given = knowing or [*silent, *(each for each in refusals if each.known is False)]
    said = dict.fromkeys(each.reason for each in given)
    hints = dict.fromkeys(each.hint for each in given if each.hint)
    known = True if knowing else None if silent else False
    if not given:
        return LoginRefused(NO_CHECKER, known=known)
    return LoginRefused(given[0].why, "; ".join(hints), known=known, said="; ".join(said))
