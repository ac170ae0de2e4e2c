"""``mailserver uidl compare`` between a real Dovecot and ours, over one Maildir: it says what the clients would see."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.old.dovecots import MASTER, MASTER_PASSWORD, Dovecot, DovecotUser
from tests.old.front import Front
from tests.old.maildrops import SERVED, body, delete, put, vanish
from tests.servers import Server, Site


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    dovecot = Dovecot()
    for name in ("moved", "another"):
        dovecot.user(name)
    dovecot.start()
    yield dovecot
    dovecot.close()


def filled(dovecot: Dovecot, front: Front, name: str) -> DovecotUser:
    """A maildrop with holes, deletions and the corpus, which Dovecot has served."""
    user = dovecot.users[name]
    put(user.maildir, [*SERVED, *map(body, range(20))])
    dovecot.take(user.home)
    front.behind = dovecot.port
    delete(front, user, every=5)
    vanish(user.maildir, every=7)
    return user


def compared(
    tmp_path: Path, user: DovecotUser, old: str, new: str, *arguments: str
) -> subprocess.CompletedProcess[bytes]:
    users = tmp_path / "users"
    users.write_text(f"{user.name}::{user.password}\n")
    return run("uidl", "compare", "--old", old, "--new", new, "--users", str(users), *arguments)


def names(user: DovecotUser) -> list[str]:
    """The files of the messages, with their flags."""
    return sorted(path.name for folder in ("new", "cur") for path in (user.maildir / folder).iterdir())


def test_it_says_what_clients_of_dovecot_would_see_with_each_setting(
    dovecot: Dovecot, front: Front, site: Site, tmp_path: Path
) -> None:
    user = filled(dovecot, front, "moved")
    there = len(names(user))
    old = f"127.0.0.1:{dovecot.port}"
    lists = f"maildir:{user.maildir}?former="
    fine = f"{user.name}: nothing would be downloaded again ({there} messages)"
    before = names(user)
    told = compared(tmp_path, user, old, f"{lists}ours:dovecot")
    assert (told.returncode, told.stdout.decode().splitlines()[0]) == (0, fine), told
    told = compared(tmp_path, user, f"{lists}dovecot", f"{lists}ours:dovecot", "--thorough")
    assert (told.returncode, told.stdout.decode().splitlines()[0]) == (0, fine), told
    told = compared(tmp_path, user, old, lists)
    assert told.returncode == 1
    assert f"{user.name}: {there} of {there} messages would be downloaded again".encode() in told.stdout
    assert names(user) == before

    site.account(user.name, user.password, extra=f"userdb_mail=maildir:{user.maildir}")
    with Server(site, store={"former": "dovecot"}) as server:
        new = f"127.0.0.1:{server.pop3_port}?tls=none"
        told = compared(tmp_path, user, old, new)
        assert (told.returncode, told.stdout.decode().splitlines()[0]) == (0, fine), told
        assert b"would be" not in told.stdout.replace(b"nothing would be", b"")
        assert (compared(tmp_path, user, new, old, "--thorough")).returncode == 0, "and back"
    assert names(user) == before, "nothing was marked as read"
    dovecot.take(user.home)


def test_ids_that_another_format_gives_to_other_messages_are_the_worst(
    dovecot: Dovecot, front: Front, site: Site, tmp_path: Path
) -> None:
    user = filled(dovecot, front, "another")
    uidlist = user.maildir / "dovecot-uidlist"
    old = f"maildir:{user.maildir}?former=dovecot:%u"
    header, *entries = uidlist.read_text().splitlines()
    shifted = [f"{int(entry.split()[0]) + 1} {entry.partition(' ')[2]}" for entry in entries]
    shifted_list = tmp_path / "other"
    (shifted_list / "new").mkdir(parents=True)
    (shifted_list / "cur").symlink_to(user.maildir / "cur")
    (shifted_list / "dovecot-uidlist").write_text("\n".join([header.replace("N", "N9"), *shifted, ""]))
    told = compared(tmp_path, user, old, f"maildir:{shifted_list}?former=dovecot:%u")
    assert told.returncode == 1
    assert b"have the unique-id of another one" in told.stdout, told


def test_a_master_user_of_dovecot_lists_for_everybody(dovecot: Dovecot, tmp_path: Path) -> None:
    master, users = tmp_path / "master", tmp_path / "users"
    master.write_text(f"{MASTER}:{MASTER_PASSWORD}\n")
    users.write_text("moved\n")
    old = f"127.0.0.1:{dovecot.port}"
    told = run(
        *("uidl", "compare", "--old", old, "--new", old, "--users", str(users)),
        *("--old-master", str(master), "--new-master", str(master)),
    )
    assert (told.returncode, told.stderr) == (os.EX_OK, b""), told
