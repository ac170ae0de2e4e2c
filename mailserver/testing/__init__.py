"""A POP3 server for other people's tests: in a thread of their process, on a port of its own, and obedient.

    with Controller() as server:
        alice = server.user("alice", "wonderland", ["Subject: hi"])
        ...  # the client under test, at server.host and server.port
    assert server.sessions[0].retrieved == [1]

docs/testing.md shows the rest. It needs what the server needs; `mailserver.testing.plugin` also needs pytest, whose fixtures it
has, and `mailserver.testing.contracts` tests stores and checkers of other packages.
"""

from mailserver.testing.certificate import Certificate
from mailserver.testing.controller import Controller
from mailserver.testing.faults import Faults
from mailserver.testing.maildrops import Maildrop, Message
from mailserver.testing.records import ClientSession

__all__ = ["Certificate", "ClientSession", "Controller", "Faults", "Maildrop", "Message"]
