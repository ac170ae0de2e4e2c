"""What a POP3 session says to people: the text behind each +OK, and behind an -ERR that has no class of its own.

Programs read none of it but what RFC 1939 and RFC 2449 lay down: STAT's and LIST's numbers, the stamp, the capabilities. Each is
a template for `%`, and is filled where the line is written (`Session.reply`, `Refusal.line`), so that another language (LANG,
RFC 6856 section 3) needs a table from these templates to its own, and no change elsewhere. A refusal that has a class has its
text there (`errors`), for parts that know no protocol raise it, too.
"""

from typing import Final

# The greeting and the farewell

GREETING: Final = b"%b POP3 server ready"
"""The host."""
STAMPED_GREETING: Final = b"POP3 server ready %b"
"""The stamp, which names the host: a long name, said twice, would pass the 512 octets of RFC 2449 section 4."""
GOODBYE: Final = b"signing off"
NOT_REMOVED: Final = b"%d deleted messages not removed"

# Logging in

SEND_PASS: Final = b"send PASS"
BEGIN_TLS: Final = b"begin TLS"
LOGGED_IN: Final = b"maildrop has %d messages (%d octets)"
STLS_FIRST: Final = b"send STLS first, passwords do not cross an unencrypted line"
USER_FIRST: Final = b"USER first"
NO_NAME: Final = b"USER needs a name"
NO_PASSWORD: Final = b"PASS needs a password"
NO_DIGEST: Final = b"APOP needs a name and a digest"
TLS_ALREADY: Final = b"TLS is active already"
UNKNOWN_MECHANISM: Final = b"unknown authentication mechanism"
UNFIT_MECHANISM: Final = b"this mechanism cannot be used over this connection"
CANCELLED: Final = b"authentication cancelled"
NOT_BASE64: Final = b"that is not base64"

# The maildrop

TOTAL: Final = b"%d %d"
"""STAT's: messages and octets (RFC 1939 section 5)."""
MESSAGES: Final = b"%d messages (%d octets)"
UNIQUE_IDS: Final = b"unique-id listing follows"
OCTETS: Final = b"%d octets"
TOP: Final = b"top of message follows"
ENVELOPE: Final = b"envelope follows"
DELETED: Final = b"message %d deleted"
READ_ONLY: Final = b"this maildrop is read-only"
NO_LINES: Final = b"TOP needs a number of lines"

# All states

CAPABILITIES: Final = b"capabilities follow"
NOT_NOW: Final = b"not now"
