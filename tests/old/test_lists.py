"""What we read of the lists of a real Dovecot and Courier, and what we write there, is what they show to their clients."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mailserver.store.maildir.foreign import read_former, read_giving
from mailserver.store.maildir.foreign.lists import stem
from mailserver.store.maildir.former import Entry, Former
from tests.old.couriers import Courier
from tests.old.dovecots import Dovecot, DovecotUser
from tests.rawpop3 import RawPOP3
from tests.servers import Account

FORMATS: Final = (
    "%08Xu%08Xv",
    "%v.%u",
    "%v-%u",
    "%u",
    "%f",
    "%g",
    "%Mf",
    "UID%u-%v",
    "%-6.3Mf%Lg",
    "%05u.%4.-2v%RTu%%",
    "%UXu-%Ug",
)
RACES: Final = 150
"""Messages that Dovecot and we enter at the same time, each."""

NAMES: Final = tuple(
    name.encode()
    for second in (1_600_000_000, 1_600_000_001)
    for name in (
        f"{second}.V801I12M{second % 10}.host",
        f"{second}.M5P17.host,S=12,W=14",
        f"{second}.M4P17.host,S=12",
        f"{second}.17_2.host",
        f"{second}.H9P1.a+b'c",
    )
)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    dovecot = Dovecot()
    for number, text in enumerate(FORMATS):
        dovecot.user(f"u{number}", text)
    dovecot.user("renamed", "%g", pop3_uidl_duplicates="rename")
    dovecot.user("reused", pop3_reuse_xuidl="yes")
    for name in ("keys", "beside", "raced", "given", "new"):
        dovecot.user(name)
    dovecot.start()
    yield dovecot
    dovecot.close()


def put(maildir: Path, names: tuple[bytes, ...] = NAMES, message: bytes = b"Subject: x\n\n") -> None:
    for folder in ("tmp", "new", "cur"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        folder, info = ("cur", ":2,S" if number % 4 == 1 else "") if number % 2 else ("new", "")
        (maildir / folder / (os.fsdecode(name) + info)).write_bytes(message)


def root(user: DovecotUser | Account) -> bytes:
    return os.fsencode(user.maildir) + b"/"


def files(user: DovecotUser | Account) -> list[bytes]:
    return [os.fsencode(path.name) for folder in ("new", "cur") for path in (user.maildir / folder).iterdir()]


def shown(port: int, user: DovecotUser | Account, delete: int = 0) -> list[bytes]:
    """The unique-ids as the server lists them, before it deletes each message of such a number."""
    with RawPOP3(port).login(user.name, user.password) as client:
        found = client.listing(b"UIDL")
        for number, _ in found:
            if delete and number % delete == 0:
                client.ok(b"DELE %d" % number)
        client.quit()
    return [uidl for _, uidl in found]


def former(text: str) -> Former:
    found = read_former(text)
    assert found is not None
    return found


def read(text: str, user: DovecotUser | Account) -> list[bytes]:
    """The unique-ids as we read them, of the files that are there."""
    there = set(map(stem, files(user)))
    return [entry.uidl for entry in former(text).entries(root(user)) or () if entry.name in there]


def entries(user: DovecotUser | Account, uidls: list[bytes]) -> list[Entry]:
    names = sorted(files(user))
    return [Entry(name, uidl) for name, uidl in zip(names, uidls, strict=True)]


@pytest.mark.parametrize("text", FORMATS)
def test_each_format_is_read_as_dovecot_shows_it(dovecot: Dovecot, text: str) -> None:
    user = dovecot.users[f"u{FORMATS.index(text)}"]
    put(user.maildir)
    dovecot.take(user.home)
    first = shown(dovecot.port, user, delete=4)
    assert len(first) == len(NAMES)
    for name in sorted(files(user))[::4]:
        for folder in ("new", "cur"):
            Path(os.fsdecode(root(user) + folder.encode() + b"/" + name)).unlink(missing_ok=True)
    assert read(f"dovecot:{text}", user) == shown(dovecot.port, user)
    assert len(files(user)) == len(NAMES) - 2 - 2


def test_unique_ids_and_places_of_their_own_are_read_as_dovecot_shows_them(dovecot: Dovecot) -> None:
    user = dovecot.users["keys"]
    put(user.maildir)
    records = [
        f"{uid} {keys} :{name.decode()}"
        for uid, (name, keys) in enumerate(
            zip(
                NAMES, ("O5", "Pold-1 O2", "W12 P", "", "Ox", "O0", "O99999999999", "S12 Pe", "O5", "O02"), strict=True
            ),
            3,
        )
    ]
    (user.maildir / "dovecot-uidlist").write_text("\n".join(["3 V1600000000 N50", *records]) + "\n")
    dovecot.take(user.home)
    assert read("dovecot", user) == shown(dovecot.port, user)


def test_duplicates_that_dovecot_renames_are_read_as_it_shows_them(dovecot: Dovecot) -> None:
    user = dovecot.users["renamed"]
    put(user.maildir)
    guids = ("Gx", "Gx O9", "Px-2", "Gy", "Gx", "Gy O1", "Px", "Gz", "Px-2", "Gx")
    lines = [f"{uid} {keys} :{name.decode()}" for uid, (name, keys) in enumerate(zip(NAMES, guids, strict=True), 7)]
    (user.maildir / "dovecot-uidlist").write_text("\n".join(["3 V1600000000 N50", "1 Gx :gone", *lines]) + "\n")
    dovecot.take(user.home)
    found = read("dovecot:%g rename-duplicates", user)
    assert found == shown(dovecot.port, user)
    assert len(set(found)) == len(NAMES)
    assert read("dovecot:%g", user) != found


def test_x_uidl_that_dovecot_reuses_is_read_as_it_shows_it(dovecot: Dovecot) -> None:
    user = dovecot.users["reused"]
    headers = (
        b"X-UIDL: one",
        b"x-uidl:\ttwo\r",
        b"Subject: x\n X-UIDL: no",
        b"Subject: x\n\nX-UIDL: body",
    )
    for number, header in enumerate(headers):
        put(user.maildir, (b"160000000%d.M1P2.host" % number,), header + b"\n\ntext\n")
    dovecot.take(user.home)
    theirs = shown(dovecot.port, user)
    assert b"one" in theirs
    assert read("dovecot reuse-xuidl", user) == [uidl for uidl in theirs if b" " not in uidl]
    assert read("dovecot", user) != theirs


def test_version_1_is_read_as_dovecot_shows_it(dovecot: Dovecot) -> None:
    user = dovecot.users["new"]
    put(user.maildir)
    lines = [f"{uid} {name.decode()}" for uid, name in enumerate(NAMES, 7)]
    (user.maildir / "dovecot-uidlist").write_text("\n".join(["1 1600000000 50", *lines]) + "\n")
    dovecot.take(user.home)
    before = read("dovecot", user)
    assert before == shown(dovecot.port, user) == read("dovecot", user)
    assert (user.maildir / "dovecot-uidlist").read_bytes()[:1] == b"3", "Dovecot has written it anew"


def test_messages_that_we_enter_have_the_same_unique_ids_at_dovecot(dovecot: Dovecot) -> None:
    user = dovecot.users["beside"]
    put(user.maildir, NAMES[:4])
    dovecot.take(user.home)
    old = shown(dovecot.port, user)
    put(user.maildir, NAMES[4:])
    added = former("dovecot").extend(root(user), NAMES[4:])
    dovecot.take(user.home)
    assert [entry.name for entry in added] == list(NAMES[4:])
    assert shown(dovecot.port, user) == old + [entry.uidl for entry in added] == read("dovecot", user)
    dovecot.deliver(user, b"Subject: later\n\n")
    assert shown(dovecot.port, user) == read("dovecot", user)


def test_dovecot_and_we_enter_messages_at_the_same_time(dovecot: Dovecot) -> None:
    user = dovecot.users["raced"]
    put(user.maildir, NAMES[:2])
    dovecot.take(user.home)
    shown(dovecot.port, user)
    ours = [b"17%08d.M1P2.host" % number for number in range(RACES)]
    found: list[Entry] = []

    def enter() -> None:
        for name in ours:
            put(user.maildir, (name,))
            found.extend(former("dovecot").extend(root(user), [name]))

    thread = threading.Thread(target=enter)
    thread.start()
    while thread.is_alive():
        dovecot.deliver(user, b"Subject: theirs\n\n")
    thread.join()
    dovecot.take(user.home)
    assert [entry.name for entry in found] == ours
    seen = shown(dovecot.port, user)
    assert len(seen) == len(set(seen)) == len(files(user))
    assert {entry.uidl for entry in found} <= set(seen)
    assert read("dovecot", user) == seen


def test_after_giving_back_dovecot_shows_our_unique_ids_in_our_order(dovecot: Dovecot) -> None:
    user = dovecot.users["given"]
    put(user.maildir)
    dovecot.take(user.home)
    theirs = shown(dovecot.port, user)
    new = (b"1500000000.M1P2.host", b"1700000000.M1P2.host,S=12")
    put(user.maildir, new)
    ours = [b"own.%d" % number for number in range(len(NAMES) + 1)] + [b"0000002a00000001"]
    given = read_giving("dovecot").give_back(root(user), entries(user, ours), dry_run=False)
    dovecot.take(user.home)
    assert (given.messages, given.lost) == (len(NAMES) + 2, 0)
    assert shown(dovecot.port, user) == ours
    assert not set(theirs) & set(ours)
    dovecot.deliver(user, b"Subject: later\n\n")
    assert shown(dovecot.port, user)[:-1] == ours


def test_couriers_list_is_read_as_it_shows_it_and_what_we_enter_is_shown_as_well(courier: Courier) -> None:
    user = courier.user("lists")
    put(user.maildir)
    first = shown(courier.port, user, delete=4)
    assert len(first) == len(NAMES)
    assert read("courier", user) == shown(courier.port, user)
    new = (b"1500000000.M1P2.host", b"1700000000.M1P2.host,S=12", b"1700000001.M1P2.host")
    put(user.maildir, new)
    added = former("courier").extend(root(user), new)
    assert len(added) == len(new)
    text = (user.maildir / "courierpop3dsizelist").read_bytes()
    assert shown(courier.port, user) == read("courier", user)
    assert {entry.uidl for entry in added} <= set(read("courier", user))
    assert (user.maildir / "courierpop3dsizelist").read_bytes().splitlines()[0] == text.splitlines()[0]
    with RawPOP3(courier.port).login(user.name, user.password) as client:
        for number, octets in client.listing(b"LIST"):
            assert len(client.fetch(b"RETR %d" % number)) == int(octets)


def test_after_giving_back_courier_shows_our_unique_ids_as_far_as_its_list_holds_them(courier: Courier) -> None:
    user = courier.user("given")
    put(user.maildir)
    shown(courier.port, user)
    names = [stem(name) for name in sorted(files(user))]
    ours = [b"UID%d-1500000000" % number for number in range(7, 13)] + [b"UID5", b"UID6-12", names[8], b"own"]
    given = read_giving("courier").give_back(root(user), entries(user, ours), dry_run=False)
    assert tuple(given) == (10, 9, 1)
    assert set(ours) - set(shown(courier.port, user)) == {b"own"}
