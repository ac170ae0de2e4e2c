"""The alarm after a move: a real server's log says once, and why, that a client has fetched all again."""

from __future__ import annotations

from typing import Any

from tests.old.front import Front
from tests.old.readers import Keeper
from tests.servers import Account, Server, Site

MESSAGES = [b"Subject: %d\n\ntext\n" % number for number in range(6)]


def moved_in(site: Site) -> Account:
    """A user whose Maildir has a list of Dovecot's."""
    account = site.account("alice", messages=MESSAGES)
    rows = [f"{uid} :{path.name}\n" for uid, path in enumerate(account.files(), 1)]
    (account.maildir / "dovecot-uidlist").write_text(f"3 V1700000000 N{len(rows) + 1}\n{''.join(rows)}")
    return account


def alarms(server: Server) -> list[tuple[Any, ...]]:
    events = [event for event in server.events if event.get("event") == "pop3.fetched_again"]
    return [tuple(event[key] for key in ("user", "reason", "retrieved", "messages")) for event in events]


def test_a_map_and_an_index_that_are_gone_are_told_once(front: Front, site: Site) -> None:
    account = moved_in(site)
    client = Keeper(front, account)
    with Server(site, store={"former": "dovecot"}) as server:
        front.behind = server.pop3_port
        assert [len(client()) for _ in range(2)] == [6, 0]
        for name in ("mailserver-uidls", "mailserver-index"):
            (account.maildir / name).unlink()
        assert client() == []  # Dovecot's list has them still
        for name in ("mailserver-uidls", "mailserver-index", "dovecot-uidlist"):
            (account.maildir / name).unlink()
        assert [len(client()) for _ in range(2)] == [6, 0]
        client.uidls = []
        assert len(client()) == 6  # it is told already
    assert alarms(server) == [("alice", "map missing", 6, 6)]


def test_another_form_of_unique_ids_is_told_once(front: Front, site: Site) -> None:
    client = Keeper(front, moved_in(site))
    told = []
    for former in ("dovecot", "dovecot:%v.%u", "dovecot:%v.%u"):
        with Server(site, store={"former": former}) as server:
            front.behind = server.pop3_port
            client()
            client()
        told.append([alarm[1:] for alarm in alarms(server)])
    assert told == [[], [("format changed", 6, 6)], []]
