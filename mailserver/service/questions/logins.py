"""Questions about logins: what would become of one."""

from __future__ import annotations

import os
from dataclasses import fields
from ipaddress import ip_address

from mailserver.control.port import Asking, Impossible
from mailserver.foresight import Attempt
from mailserver.service.explaining.walk import NoListener
from mailserver.service.questions.facts import Facts


async def explain(facts: Facts, asking: Asking) -> None:
    """What each door of a login says, and how it would end. Errors: Impossible."""
    given = {each.name: asking.text(each.name) for each in fields(Attempt) if each.name not in {"tls", "peer"}}
    attempt = Attempt(**given, peer=address(asking.text("peer")), tls=asking.arguments.get("tls") is not False)
    if facts.explainer is None:
        raise Impossible("this process decides on no logins", os.EX_UNAVAILABLE)
    try:
        walk = await facts.explainer.explain(attempt)
    except NoListener as error:
        raise Impossible(str(error), os.EX_USAGE) from None
    for row in walk.rows:
        asking.say(row)


def address(text: str) -> str:
    """A client's address; "": a Unix socket. Errors: Impossible."""
    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        raise Impossible(f"{text!r} is no address", os.EX_USAGE) from None
