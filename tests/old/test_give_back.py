"""The way back to a real Dovecot, where new messages had unique-ids of our own: clients fetch nothing again there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.running import run
from tests.cli.test_quota import settings
from tests.corpus import canonical
from tests.old.dovecots import Dovecot
from tests.old.front import Front
from tests.old.maildrops import SERVED, body, delete, put, vanish
from tests.old.readers import Keeper
from tests.servers import Server, Site

NEW = [body(number) for number in (1_000_001, 1_000_002, 1_000_003)]
LATER = body(1_000_004)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    dovecot = Dovecot()
    dovecot.user("back")
    dovecot.start()
    yield dovecot
    dovecot.close()


def test_after_giving_back_no_client_of_dovecot_fetches_anything_again(
    dovecot: Dovecot, front: Front, site: Site
) -> None:
    back = dovecot.users["back"]
    put(back.maildir, [*SERVED[:6], *map(body, range(14))])
    dovecot.take(back.home)
    client = Keeper(front, back)
    front.behind = dovecot.port
    delete(front, back, every=5)
    vanish(back.maildir, every=7)
    assert len(client()) == 14
    site.account(back.name, back.password, extra=f"userdb_mail=maildir:{back.maildir}")
    with Server(site, store={"former": "dovecot"}) as server:
        front.behind = server.pop3_port
        assert client() == []
        put(back.maildir, NEW, since=1_500_000_000)
        assert client() == list(map(canonical, NEW))
        known = client.uidls
    config = settings(site, store={"former": "dovecot"})
    for arguments, said in (([], b"17 messages, 3 entered"), (["-n"], b"17 messages, 0 to enter")):
        told = run("uidl", "give-back", *config, back.name, *arguments)
        assert (told.returncode, told.stderr) == (0, b"")
        assert said in told.stdout
    dovecot.take(back.home)
    front.behind = dovecot.port
    assert client() == []
    assert client.uidls == known
    dovecot.deliver(back, LATER)
    assert client() == [canonical(LATER)]
