"""The measure itself: what each client does where unique-ids stay, and where they do not."""

from __future__ import annotations

from pathlib import Path

from tests.old.couriers import Courier
from tests.old.front import Front
from tests.old.readers import readers
from tests.servers import Server, Site


def test_every_reader_fetches_once_and_once_more_where_the_unique_ids_are_others(
    courier: Courier, front: Front, site: Site, tmp_path: Path
) -> None:
    user = courier.user("measured")
    site.account(user.name, user.password, extra=f"userdb_mail=maildir:{user.maildir}")
    messages = [b"Subject: %d\n\ntext\n" % number for number in range(3)]
    for message in messages:
        user.deliver(message)
    clients = readers(front, user, tmp_path)
    front.behind = courier.port
    first = {name: client() for name, client in clients.items()}
    assert {name: len(found) for name, found in first.items()} == dict.fromkeys(clients, 3)
    assert not any(client() for client in clients.values())
    with Server(site) as server:
        front.behind = server.pop3_port
        assert {name: client() for name, client in clients.items()} == first
