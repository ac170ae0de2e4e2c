"""Whatever a client sends, an LMTP session answers it with replies that can be read, one for each command, and raises nothing."""

from hypothesis import given
from hypothesis import strategies as st

from mailserver.protocol.lmtp_commands import COMMANDS
from mailserver.protocol.lmtp_policy import LmtpPolicy
from mailserver.protocol.lmtp_state import State
from tests.protocol.lmtp_oracle import replies, take_reply
from tests.protocol.lmtp_world import Settings, World
from tests.protocol.oracle import thorough

VERBS = sorted({verb for table in COMMANDS.tables.values() for verb in table})
PARTS = st.one_of(
    st.sampled_from(VERBS),
    st.sampled_from(
        [
            *(b" ", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\0", b".", b"\r\n.\r\n", b"\x16\x03\x01"),
            *(
                b" FROM:<>",
                b" FROM:<a@b>",
                b" TO:<bob>",
                b" TO:<alice@example.org>",
                b" TO:",
                b"<",
                b">",
                b'"',
                b"\\",
                b"@",
            ),
            *(b" 7", b" 0 LAST", b" 99", b" LAST", b" SIZE=7", b" SMTPUTF8", b" BODY=8BITMIME", b" ORCPT=rfc822;a+2B"),
            *(b" ADDR=192.0.2.1", b" HELO=[UNAVAILABLE]", b"LHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<bob>\r\n"),
            *(b"DATA\r\n", b"BDAT 3\r\nabc", b"BDAT 1 LAST\r\n.", b"x" * 3000, "ö".encode()),
        ]
    ),
    st.binary(max_size=8),
)

SETTINGS = Settings(
    LmtpPolicy(b"mx.example.org", max_octets=20, max_recipients=2, stls=True, xclient=True, bad_commands=5)
)


@thorough
@given(st.lists(st.lists(PARTS, max_size=12).map(b"".join), max_size=6))
def test_noise_is_answered_by_replies_that_can_be_read(pieces):
    world = World(SETTINGS)
    output = world.run() + b"".join(world.send(piece) for piece in pieces)
    assert all(replies(output))
    assert world.closed is (world.session.state is State.CLOSED)
    assert world.mail is None or world.session.transaction is not None


COMMAND = st.sampled_from(
    [
        *(b"LHLO x", b"EHLO x", b"RSET", b"NOOP", b"HELP", b"VRFY x", b"EXPN x", b"FOO", b"XCLIENT ADDR=192.0.2.1"),
        *(b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b> SIZE=99", b"RCPT TO:<bob>", b"RCPT TO:<alice>"),
        *(
            b"RCPT TO:<nobody>",
            b"RCPT TO:<>",
            b"DATA",
            b"DATA",
            b"BDAT 2",
            b"BDAT 2 LAST",
            b"BDAT 2 LAST",
            b"BDAT 30",
            b"BDAT 2 X",
        ),
    ]
)
TEXTS = st.sampled_from([b".\r\n", b"x\r\n.\r\n", b"much too much for this one\r\n.\r\n"])


@thorough
@given(st.lists(COMMAND, max_size=20), TEXTS)
def test_a_client_that_counts_finds_as_many_replies_as_it_counts_on(commands, text):
    """What a client knows from RFC 2033 and RFC 3030, and no more: how many replies come, and which mail must have been kept."""
    world = World(SETTINGS)
    world.run()
    accepted, mailing, kept, sent = 0, False, 0, b""
    for command in commands:
        octets = command + b"\r\n"
        verb, _, words = command.partition(b" ")
        if verb == b"BDAT":
            octets += b"x" * int(words.split()[0])
        sent += octets
        output = world.send(octets)
        codes = list(replies(output))
        if verb == b"BDAT" and words.endswith(b"LAST") and mailing:
            assert len(codes) == accepted
            kept += accepted > 0 and b"250 2.0.0" in codes
            accepted, mailing = 0, False
        elif codes == [b"354"]:
            sent += text
            codes = list(replies(world.send(text)))
            assert accepted
            assert len(codes) == accepted
            kept += b"250 2.0.0" in codes
            accepted, mailing = 0, False
        else:
            code, _, rest = take_reply(output)
            assert rest == b"", "one reply, and no other"
            if verb in (b"RSET", b"LHLO", b"XCLIENT") and code[:1] == b"2":
                accepted, mailing = 0, False
            mailing = mailing or (verb == b"MAIL" and code == b"250")
            accepted += verb == b"RCPT" and code == b"250"
            if code == b"421":
                break
    assert len(world.delivered) == kept
    again = World(SETTINGS)
    again.send(sent)
    assert [mail.text for mail in again.delivered] == [mail.text for mail in world.delivered]
