"""Servers that have served the Maildirs before: what they called the messages is read where it is (`store.former`)."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final, NamedTuple

from mailserver.store.maildir.foreign.courier import Courier
from mailserver.store.maildir.foreign.dovecot import CourierImap, Dovecot
from mailserver.store.maildir.foreign.named import Named
from mailserver.store.maildir.former import Former
from mailserver.uidl_format import DEFAULT

NAMED: Final = {"qmail": "%f", "teapop": "%Mf", "tpop3d": "%Mf"}
"""Servers without a list, and what they make of a name."""

KINDS: Final = ("dovecot", "courier", "courier-imap", *NAMED)


Giving = Dovecot | Courier
"""The servers whose lists can hold unique-ids that are not their own."""


class Formerly(NamedTuple):
    """What the settings say of it."""

    former: Former | None
    extends: bool
    """Whether new messages are entered into its list."""


NO_FORMER: Final = Formerly(None, False)


def read_formerly(former: str, unique_ids: str) -> Formerly:
    """The meaning of `store.former` and `store.unique_ids`. Errors: ValueError, with a text for the operator."""
    found = read_former(former)
    if unique_ids != "own" and unique_ids != re.split("[: ]", former, maxsplit=1)[0]:
        raise ValueError(
            f'it is {former!r}, and store.unique_ids is "{unique_ids}": new messages can get only what the former server gives'
        )
    return Formerly(found, unique_ids != "own")


def read_giving(text: str) -> Giving:
    """The server to which unique-ids can go back. Errors: ValueError, with a text for the operator."""
    found = read_former(text)
    if isinstance(found, Dovecot | Courier):
        return found
    raise ValueError(
        f"unique-ids go back to dovecot, dovecot:FORMAT or courier, whose lists can hold them; not to {text!r}"
    )


def read_former(text: str) -> Former | None:
    """The server of a setting such as ``dovecot:%v.%u``; None for "". Errors: ValueError, with a text for the operator."""
    kind, colon, form = text.partition(":")
    if not colon:
        kind, _, words = text.partition(" ")
        form = f" {words}" if words else ""
    if not text:
        return None
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KINDS)}"
        raise ValueError(f"{kind!r} is no server whose lists are known; {hint}")
    if kind == "dovecot":
        return Dovecot(form if colon else DEFAULT + form)
    if kind == "courier-imap":
        if not form:
            raise ValueError("courier-imap needs the format of the unique-ids, such as courier-imap:%v-%u")
        return CourierImap(form)
    if form or colon:
        raise ValueError(f"{kind} takes no format; only dovecot and courier-imap do")
    return Courier() if kind == "courier" else Named(kind, NAMED[kind])
