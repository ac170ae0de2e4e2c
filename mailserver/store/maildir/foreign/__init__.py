"""Servers that have served the Maildirs before: what they called the messages is read where it is (`store.former`)."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from mailserver.store.maildir.foreign.courier import Courier
from mailserver.store.maildir.foreign.dovecot import CourierImap, Dovecot
from mailserver.store.maildir.foreign.named import Named
from mailserver.store.maildir.former import Former
from mailserver.uidl_format import DEFAULT

NAMED: Final = {"qmail": "%f", "teapop": "%f", "tpop3d": "%Mf"}
"""Servers without a list, and what they make of a name."""

KINDS: Final = ("dovecot", "courier", "courier-imap", *NAMED)


def read_former(text: str) -> Former | None:
    """The server of a setting such as ``dovecot:%v.%u``; None for "". Errors: ValueError, with a text for the operator."""
    kind, colon, form = text.partition(":")
    if not text:
        return None
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KINDS)}"
        raise ValueError(f"{kind!r} is no server whose lists are known; {hint}")
    if kind == "dovecot":
        return Dovecot(form if colon else DEFAULT)
    if kind == "courier-imap":
        if not form:
            raise ValueError("courier-imap needs the format of the unique-ids, such as courier-imap:%v-%u")
        return CourierImap(form)
    if colon:
        raise ValueError(f"{kind} takes no format; only dovecot and courier-imap do")
    return Courier() if kind == "courier" else Named(kind, NAMED[kind])
