"""A session beside a maildrop of the simplest kind: a list, and a set of what is marked as deleted."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mailserver.protocol.effects import Close, Commit
from tests.corpus import canonical, top
from tests.protocol.oracle import read_reply
from tests.protocol.world import Settings, World

MESSAGES = st.lists(st.sampled_from([b"\n", b"\r\n", b".", b"Subject: x\n", b"\n\n", b"word"])).map(b"".join)
NUMBERS = st.integers(0, 9)
GONE = b"-ERR no such message"


class Maildrop(RuleBasedStateMachine):
    """Every command, in any order; what the client sees must be what the model says."""

    @initialize(messages=st.lists(MESSAGES, max_size=7))
    def login(self, messages):
        self.world = World(Settings(messages=messages))
        assert b"+OK maildrop has %d messages" % len(messages) in self.world.send(b"USER alice\r\nPASS secret\r\n")
        self.messages = {number: canonical(message) for number, message in enumerate(messages, 1)}
        self.stored = dict(enumerate(messages, 1))
        self.deleted = set()

    @property
    def visible(self):
        return {number: message for number, message in self.messages.items() if number not in self.deleted}

    def ask(self, command):
        status, content, rest = read_reply(command, self.world.send(command + b"\r\n"))
        assert rest == b""
        return status, content

    def ask_about(self, command, number):
        status, content = self.ask(command)
        if number not in self.visible:
            assert (status, content) == (GONE, b"")
            return None
        assert status.startswith(b"+OK")
        return status, content

    @rule(number=NUMBERS)
    def dele(self, number):
        if self.ask_about(b"DELE %d" % number, number):
            self.deleted.add(number)

    @rule()
    def rset(self):
        self.ask(b"RSET")
        self.deleted.clear()

    @rule(number=NUMBERS)
    def list_one(self, number):
        if answer := self.ask_about(b"LIST %d" % number, number):
            assert answer[0] == b"+OK %d %d" % (number, len(self.messages[number]))

    @rule(number=NUMBERS)
    def uidl_one(self, number):
        if answer := self.ask_about(b"UIDL %d" % number, number):
            assert answer[0] == b"+OK %d uid%d" % (number, number)

    @rule(number=NUMBERS)
    def retr(self, number):
        if answer := self.ask_about(b"RETR %d" % number, number):
            assert answer[1] == self.messages[number]

    @rule(number=NUMBERS, lines=st.integers(0, 5))
    def top(self, number, lines):
        if answer := self.ask_about(b"TOP %d %d" % (number, lines), number):
            assert answer[1] == top(self.stored[number], lines)

    @invariant()
    def the_listings_agree(self):
        _, listing = self.ask(b"LIST")
        rows = [tuple(map(int, row.split())) for row in listing.splitlines()]
        assert rows == [(number, len(message)) for number, message in self.visible.items()]
        assert self.ask(b"STAT")[0] == b"+OK %d %d" % (len(rows), sum(octets for _, octets in rows))
        _, listing = self.ask(b"UIDL")
        assert listing == b"".join(b"%d uid%d\r\n" % (number, number) for number in self.visible)

    @invariant()
    def only_quit_removes(self):
        assert self.world.count(Commit) == 0

    def teardown(self):
        if hasattr(self, "world"):
            assert self.ask(b"QUIT")[0] == b"+OK signing off"
            assert self.world.effects[-2:] == [Commit(sorted(self.deleted)), Close()]


TestMaildrop = Maildrop.TestCase
TestMaildrop.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
