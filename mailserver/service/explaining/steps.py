"""What each door has said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mailserver.errors import LoginRefused, Refusal, StoreError
from mailserver.reasons import NOT_NOW, Reason

DOORS: Final = (
    "connection",
    "listener",
    "hold",
    "policy",
    "name",
    "checker",
    "user",
    "delay",
    "maildrop",
    "quota",
)
"""In the order in which a login comes by them: of several that would refuse it, the first one does."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one door says."""

    door: str
    verdict: str
    """"passes", "waits", "refuses", "skips" where another decides, or "unknown" where only a running server or the password can tell."""
    says: str
    why: Reason | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """For the answer to an operator."""
        why = {} if self.why is None else {"why": self.why.name, "remedy": self.why.remedy}
        return {"door": self.door, "verdict": self.verdict, "says": self.says, **why, **self.facts}


class Walk:
    """The steps so far."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.at = DOORS[0]
        """The door that is asked now."""
        self.otherwise: Step | None = None
        """What refuses the login unless somebody takes the password of whom nobody can tell before."""

    def passes(self, door: str, says: str, **facts: object) -> None:
        """The door lets it pass."""
        self.steps.append(Step(door, "passes", says, facts=facts))

    def skips(self, door: str, says: str, **facts: object) -> None:
        """The door leaves it to others."""
        self.steps.append(Step(door, "skips", says, facts=facts))

    def waits(self, door: str, says: str, **facts: object) -> None:
        """The door lets it pass after some time."""
        self.steps.append(Step(door, "waits", says, facts=facts))

    def unknown(self, door: str, says: str, **facts: object) -> None:
        """Nobody here can tell."""
        self.steps.append(Step(door, "unknown", says, facts=facts))

    def refuses(self, door: str, why: Reason, says: str = "", **facts: object) -> None:
        """The door refuses it."""
        self.steps.append(Step(door, "refuses", says or why.words, why, facts))

    def hangs(self, door: str, error: Exception, takers: Sequence[str]) -> None:
        """It is refused like this, unless one of these takes the password, of whom nobody can tell before."""
        only = Walk()
        only.refused(door, error)
        (refusal,) = only.steps
        says = f"would be let in only if {' or '.join(takers)} takes it; else refused: {refusal.says}"
        self.otherwise = replace(refusal, verdict="depends", says=says, facts={"takers": list(takers)})

    def refused(self, door: str, error: Exception, **facts: object) -> None:
        """As the door has refused it. Errors: a fault, as it came."""
        if isinstance(error, LoginRefused):
            says = f"{error.reason} ({error.hint})" if error.hint else error.reason
            self.refuses(door, error.why, says, **facts)
            return
        if isinstance(error, StoreError):
            self.refuses(door, error.why or NOT_NOW, str(error), **facts)
        elif isinstance(error, Refusal):
            self.refuses(door, error.why or NOT_NOW, getattr(error, "detail", ""), **facts)
        else:
            raise error

    @property
    def refusal(self) -> Step | None:
        """What would refuse the login; None: it would be let in."""
        refusals = [each for each in self.steps if each.verdict == "refuses"]
        return min(refusals, key=lambda each: DOORS.index(each.door), default=None)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All steps, and how it ends."""
        rows = [each.row for each in sorted(self.steps, key=lambda each: DOORS.index(each.door))]
        if (refusal := self.refusal) is None:
            doubts = list(dict.fromkeys(each.door for each in self.steps if each.verdict == "unknown"))
            if self.otherwise is not None:
                end = {**self.otherwise.row, "door": "end", "at": self.otherwise.door, "doubts": doubts}
                return [*rows, end]
            return [*rows, {"door": "end", "verdict": "let in", "says": "would be let in", "doubts": doubts}]
        why = {key: value for key, value in refusal.row.items() if key in {"says", "why", "remedy"}}
        return [*rows, {"door": "end", "verdict": "refused", "at": refusal.door, **why}]
