"""The envelopes of a maildrop, and the shares made of them."""

from mailserver.envelope import Envelope
from mailserver.names import Names
from mailserver.snapshot import Message, Snapshot
from mailserver.store.envelopes import Envelopes


def test_envelopes_are_sorted_by_the_users_of_an_account() -> None:
    names = Names(accounts={"vision25": ""}, tag_separators="+")
    recipients = [b"John@x", b"mary@x,john+news@x", b"", b"john", b"vision25@x", b"john@x,JOHN@y", b"j\xff@x"]
    messages = Snapshot.of([Message(b"%d" % number, 10 + number, True) for number in range(7)])
    found = Envelopes(messages, [b""] * 6 + [b"s@t"], recipients)
    assert found.indexes("john", names.user, "vision25") == [0, 1, 3, 5]
    assert found.indexes("mary", names.user, "vision25") == [1]
    assert found.indexes("vision25", names.user, "vision25") == [2, 4]
    assert found.indexes("nobody", names.user, "vision25") == ()
    assert (found[1], found[2], found[6].sender) == (Envelope(b"", (b"mary@x", b"john+news@x")), Envelope(), b"s@t")


def test_a_share_is_prepared_once_and_only_for_who_has_mail() -> None:
    rows = [Message(b"%d" % number, 10 + number, number % 2 == 0) for number in range(4)]
    found = Envelopes(Snapshot.of(rows), [b""] * 4, [b"john@x", b"mary@x", b"john@x", b"john@x"], unread={3})
    assert found.serves(None)
    assert not found.serves("john")
    for user in ("john", "nobody", None):
        found.prepare("vision25", user, str)
    assert found.serves("john")
    assert list(found.shares) == ["john"]
    share = found.shares["john"]
    assert (list(share.indexes), list(share.messages)) == ([0, 2], [rows[0], rows[2]])
    found.prepare("vision25", "john", str)
    assert found.shares["john"] is share
