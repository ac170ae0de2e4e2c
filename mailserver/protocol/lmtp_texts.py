"""What an LMTP session says to people: the text behind each reply that has no class of its own in `errors` or `smtp_errors`.

Programs read the codes before it, and the texts end in logs and in bounces.
"""

from typing import Final

GREETING: Final = b"%b LMTP server ready"
GOODBYE: Final = b"signing off"
DONE: Final = b"ok"
BEGIN_TLS: Final = b"begin TLS"
SENDER: Final = b"sender ok"
RECIPIENT: Final = b"recipient ok"
SEND_TEXT: Final = b"send the message, and end it by a dot alone"
CHUNK: Final = b"%d octets so far"
DELIVERED: Final = b"delivered"
DELIVERED_AS: Final = b"delivered as %b"
MAYBE: Final = b"not telling, send the mail and see"
HELP: Final = b"RFC 2033 tells what this server understands"

WRONG_PROTOCOL: Final = b"this is an LMTP server"
LHLO_FIRST: Final = b"LHLO first"
MAIL_FIRST: Final = b"MAIL first"
NESTED: Final = b"a transaction is under way"
CHUNKS_BEGAN: Final = b"chunks have begun, BDAT or RSET"
TLS_ALREADY: Final = b"TLS is active already"

LINE_TOO_LONG: Final = b"line too long"
BARE_LF: Final = b"a line ends with CRLF"
CONTROLS: Final = b"control characters"
NO_NAME: Final = b"LHLO needs the client's name"
NO_FROM: Final = b"MAIL needs FROM:<address>"
NO_TO: Final = b"RCPT needs TO:<address>"
NO_USER: Final = b"VRFY needs a user"
TWICE: Final = b"a parameter is given twice"
NO_SIZE: Final = b"SIZE needs a number"
NO_BODY: Final = b"BODY is 7BIT or 8BITMIME"
NO_BINARY: Final = b"BODY=BINARYMIME is not served"
NO_VALUE: Final = b"SMTPUTF8 takes no value"
BAD_ORIGINAL: Final = b"ORCPT needs a type and an address in xtext"
BAD_CHUNK: Final = b"after its size, BDAT takes LAST alone"
BAD_ATTRIBUTE: Final = b"this is no attribute of XCLIENT"
