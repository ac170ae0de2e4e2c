"""A page of users' names in their order, from a directory that has them in none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mailserver.auth.ldap.entries import texts
from mailserver.names import Names


async def first_names(pages: AsyncIterator[list[bytes]], naming: Names, after: str, limit: int) -> Sequence[str]:
    """The first `limit` names after `after`. At most twice as many are kept, with one page."""
    kept: set[str] = set()
    async for page in pages:
        kept.update(each for each in texts(page) if each > after and naming.read(each) == each)
        if len(kept) > 2 * limit:
            kept = set(sorted(kept)[:limit])
    return sorted(kept)[:limit]
