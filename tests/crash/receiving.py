"""The settings of servers that receive mail by LMTP, and what a message looks like that came in so."""

from __future__ import annotations

import re
from typing import Any, Final

from tests.servers import Account

DOMAIN: Final = "mail.example.org"

RECEIVING: Final[dict[str, Any]] = {
    "listen": {"pop3": ["tcp:0:interface=127.0.0.1"], "pop3s": [], "lmtp": ["tcp:0:interface=127.0.0.1"]},
    "names": {"local_domains": [DOMAIN]},
    "quota": {"warn_percent": 0},  # a warning would be one message more
}

TRACE: Final = re.compile(rb"(?:(?:Return-Path|Delivered-To|Received): [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+")
"""What the server puts on top."""


def address(account: Account) -> str:
    """Where its mail goes."""
    user, _, share = account.name.partition("@")
    return f"{user}@{share}.example.org" if share else f"{account.name}@{DOMAIN}"
