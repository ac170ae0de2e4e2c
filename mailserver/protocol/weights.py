"""What work weighs, so that a session knows when to give way to others; counted in octets of listings."""

from typing import Final

TURN_OCTETS: Final = 16 * 1024
"""Work after which the session gives way and the network writes: six octets of UIDL ask for megabytes. It is 1 to 2 ms, and one
segment from a client holds commands for 300.
"""

COMMAND_OCTETS: Final = 40
"""What a command counts: about 4 us, as so much of a listing."""

MESSAGE_OCTETS: Final = 400
"""What a message counts that is opened, with its status line: 40 to 50 us. Forty of them are a session as users have it."""

RECIPIENT_OCTETS: Final = 2000
"""What a recipient of LMTP counts that is looked up: 200 us, and 500 if he is refused, which is logged. Eight of them are a turn; at
300, twenty clients that ask for addresses held up everybody's sessions for 3 seconds.
"""
