"""The spool of a real Cyrus: the source finds the unique-ids, the messages and the flags that its clients saw."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailserver.migration.places import Login
from tests.corpus import SMALL, canonical
from tests.migration.spools import contents, opened
from tests.old.cyruses import FORMATS, Cyrus, CyrusUser
from tests.rawpop3 import RawPOP3

NAMES = ("alice", "bob")

WHEN = '" 2-Dec-1992 05:53:22 +0000"'
CORPUS = [canonical(each) for each in SMALL.values()]


def shown(server: Cyrus, user: CyrusUser, delete: Sequence[int] = ()) -> tuple[list[bytes], list[bytes]]:
    """The unique-ids and the messages, in one session."""
    with RawPOP3(server.port) as client:
        client.login(user.name, user.password)
        listing = client.listing(b"UIDL")
        messages = [client.fetch(b"RETR %d" % number) for number, _ in listing]
        for number in delete:
            client.ok(b"DELE %d" % number)
        client.quit()
    return [uidl for _, uidl in listing], messages


@pytest.mark.parametrize("form", FORMATS)
def test_the_source_has_what_cyrus_shows_and_keeps_it_after_deletions_and_new_mail(form: str) -> None:
    with Cyrus(NAMES, form) as server:
        alice, bob = server.users
        with server.imap(alice.name, alice.password) as client:
            messages = CORPUS if form == FORMATS[0] else CORPUS[:10]
            answers = [client.append("INBOX", r"(\Flagged)", WHEN, each)[0] for each in messages]
            assert answers.count("OK") > len(messages) // 3  # it refuses what has no header, or NULs
        shown(server, alice, delete=(1, 3))
        server.deliver(alice, b"Subject: new\r\n\r\n.\r\n")
        server.deliver(bob, b"Subject: of bob\r\n\r\n")
        with server.imap(alice.name, alice.password) as client:
            client.select("INBOX")
            client.store("1", "+FLAGS", r"(\Seen)")
        before = shown(server, alice)
        source = opened(f"cyrus:{server.folder}/spool?uidl={form}", Login(alice.name))
        found = source.messages()
        assert [each.uidl for each in found] == before[0]
        assert contents(source) == before[1]
        assert [each.octets for each in found] == [len(each) for each in before[1]]
        assert [each.seen for each in found] == [True] + [False] * (len(found) - 1)
        assert [each.received for each in found][:-1] == [723275602.0] * (len(found) - 1)
        assert source.notes == []
        assert len(opened(f"cyrus:{server.folder}/spool", Login(bob.name)).messages()) == 1
