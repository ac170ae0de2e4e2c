"""Giving the unique-ids of a maildrop back to a server that will serve it again."""

from __future__ import annotations

from collections.abc import Sequence

from mailserver.errors import MaildropUnavailable
from mailserver.incoming import Given
from mailserver.store.maildir.foreign import Giving
from mailserver.store.maildir.former import Entry
from mailserver.store.maildir.opening import unavailable


def given_back(root: bytes, server: Giving, entries: Sequence[Entry], dry_run: bool) -> Given:
    """Enter the unique-ids into the server's list. For a thread, under the lock. Errors: MaildropUnavailable."""
    try:
        return server.give_back(root, entries, dry_run)
    except OSError as error:
        raise unavailable(error) from error
    except ValueError as error:
        raise MaildropUnavailable(str(error)) from error
