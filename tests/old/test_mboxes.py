"""Mboxes of a real Dovecot: the source finds the unique-ids and the messages that its clients saw."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.corpus import canonical
from tests.migration.spools import FROM, MBOXABLE, contents, ended, opened
from tests.old.dovecots import Dovecot, DovecotUser
from tests.rawpop3 import RawPOP3

FORMATS: Final = ("%08Xu%08Xv", "%v.%u", "%m", "%g")
SERVED: Final = [each for each in MBOXABLE.values() if each and not each.startswith(b".")]
"""Dovecot does not stuff a first octet that is a dot; of an empty message it makes a blank line."""

DELIVERED: Final = [
    b"Received: from a by b;\n  Wed, 2 Dec 1992\t\n",
    b"Received: one\nReceived: two\nDate: Wed \nMessage-ID:<1@x>\nDelivered-To: \n \tbob\n\n",
    b"X-Delivery-Id: 7\nDate : Wed\nMessage-Id: <2@x>\nReceived: late\n\n",
    b"X-UID: 99\nX-UIDL: tricked\nX-IMAPbase: 5 5\nStatus: RO\nSubject: by a stranger\n\n",
]


def spool(user: DovecotUser) -> Path:
    return user.home / "inbox"


def add(user: DovecotUser, *messages: bytes) -> None:
    with spool(user).open("ab") as file:
        for message in messages:
            file.write(FROM + ended(message) + b"\n")


def shown(server: Dovecot, user: DovecotUser, delete: int = 0) -> tuple[list[bytes], list[bytes]]:
    """The unique-ids and the messages, in one session."""
    with RawPOP3(server.port) as client:
        client.login(user.name, user.password)
        listing = client.listing(b"UIDL")
        messages = [client.fetch(b"RETR %d" % number) for number, _ in listing]
        if delete:
            client.ok(b"DELE %d" % delete)
        client.quit()
    return [uidl for _, uidl in listing], messages


@pytest.fixture(scope="module")
def people():
    server = Dovecot()
    users = {
        form: server.user(f"mbox{number}", form, "mbox:~/mail:INBOX=~/inbox") for number, form in enumerate(FORMATS)
    }
    for user in users.values():
        add(user, *SERVED)
        server.take(user.home)
    server.start()
    yield server, users
    server.close()


@pytest.mark.parametrize("form", FORMATS)
def test_the_source_has_what_dovecot_shows_and_keeps_it_after_deletions_and_new_mail(people, form):
    server, users = people
    user = users[form]
    place = f"mbox:{spool(user)}?uidl=dovecot:{form}"
    shown(server, user, delete=2)
    shown(server, user, delete=1)
    add(user, *DELIVERED)
    before = shown(server, user)
    source = opened(place)
    assert [each.uidl for each in source.messages()] == before[0]
    assert [canonical(each) for each in contents(source)] == before[1]
    assert source.notes == []
