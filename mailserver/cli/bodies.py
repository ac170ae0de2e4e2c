"""The octets of a message for commands: its header, or all of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mailserver.answers import awaited
from mailserver.interfaces import IMaildrop
from mailserver.wireform import Canonical

CHUNK: Final = 256 * 1024
"""Octets of a message that are handed on at once."""

HEAD: Final = 64 * 1024
"""Octets at a message's beginning in which its header is looked for: mail servers take no longer ones."""

_END: Final = re.compile(rb"\r?\n\r?\n|\A\r?\n")


async def head_of(maildrop: IMaildrop, number: int) -> bytes:
    """The header of message-number `number`, without the line that ends it. Errors: MessageGone, MessageTruncated."""
    body = await awaited(maildrop.fetch(number))
    head = b""
    try:
        while len(head) < HEAD and (data := await awaited(body.read(HEAD))):
            head += data
            if _END.search(head):
                break
    finally:
        body.close()
    end = _END.search(head)
    return head[:HEAD] if end is None else head[: end.start()]


async def copy(maildrop: IMaildrop, number: int, write: Callable[[bytes], Awaitable[Any]]) -> int:
    """Hand message-number `number` to `write` as a client gets it, chunk by chunk; its octets. Errors: as of `head_of`; those of `write`."""
    body = await awaited(maildrop.fetch(number))
    canonical = Canonical()
    try:
        while data := await awaited(body.read(CHUNK)):
            await write(canonical.feed(data))
    finally:
        body.close()
    await write(canonical.end())
    return canonical.octets
