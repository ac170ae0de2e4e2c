"""The checkers that begin something with the rights which the process gives up: begun once, and kept over a reload."""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.cred.checkers import ICredentialsChecker

from mailserver.config.problems import Problems
from mailserver.errors import Unusable
from mailserver.interfaces import IPrivileged

_NO_RIGHTS = (
    "it begins with the rights of root, which the server has given up: restart it by what starts it, such as systemctl"
)


class Privileged:
    """The `checkers` of a server, with those of the one before it in the place of what cannot begin any more.

    Those that are new begin, which is for a process that has not given up root yet, or never was root.
    """

    def __init__(
        self,
        checkers: Sequence[ICredentialsChecker],
        problems: Problems,
        reactor: object,
        before: Privileged | None = None,
        *,
        was_root: bool = False,
    ) -> None:
        self._kept: list[
            tuple[ICredentialsChecker, ICredentialsChecker]
        ] = []  # the one that runs, and the one it stands for
        self.was_root: bool = before.was_root if before else was_root or os.geteuid() == 0
        running: list[ICredentialsChecker] = []
        if before is not None:
            running = [each for each in before.checkers if IPrivileged.providedBy(each)]
        self.checkers: list[ICredentialsChecker] = [self._one(each, running, problems, reactor) for each in checkers]

    def is_kept(self, checker: object) -> bool:
        """Whether it runs already."""
        return any(checker is kept for kept, _ in self._kept)

    def follow(self) -> None:
        """Let those that are kept read names by the new rules."""
        kept, self._kept = self._kept, []
        for running, made in kept:
            running.naming = made.naming  # type: ignore[attr-defined]  # each that knows users of the system has it

    def _one(
        self, made: ICredentialsChecker, running: list[ICredentialsChecker], problems: Problems, reactor: object
    ) -> ICredentialsChecker:
        if not IPrivileged.providedBy(made):
            return made
        for each in running:
            if IPrivileged(each).stands_for(made):
                running.remove(each)
                self._kept.append((each, made))
                return each
        with problems.collect("auth.checkers"):
            if self.was_root and os.geteuid() != 0:
                raise Unusable(_NO_RIGHTS)
            IPrivileged(made).begin(reactor)
        return made
