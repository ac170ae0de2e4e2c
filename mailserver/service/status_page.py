"""Serves the status page: asks all processes for their parts, and draws them, with a turn for others after each piece."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.task import deferLater

from mailserver.service.gathering import Gathering
from mailserver.service.questions.overview import parent
from mailserver.service.record import Record
from mailserver.web.pages import Answer, Asked
from mailserver.web.status.overview import overview
from mailserver.web.status.page import POLICY, pieces

HTML: Final = "text/html; charset=utf-8"


class StatusPage:
    """The page of one process, which shows all of them."""

    def __init__(self, gathering: Gathering, record: Record, hostname: str, reactor: Any) -> None:
        self._gathering = gathering
        self._record = record
        self._hostname = hostname
        self._reactor = reactor

    async def answer(self, _asked: Asked) -> Answer:
        """The page as it is now."""
        gathering = self._gathering
        gathered = await gathering.ask("overview")
        shown = overview(
            [*gathered.rows, *filter(None, [parent(gathering.number)])],
            hostname=self._hostname,
            now=self._record.now(),
            silent=gathered.silent,
            alone=gathering.alone,
        )
        body = []
        for piece in pieces(shown):
            body.append(piece.encode())
            await deferLater(self._reactor, 0)
        return Answer(body=b"".join(body), type=HTML, policy=POLICY)
