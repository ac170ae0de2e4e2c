"""What is said of a Maildir whose files may not be read or written, beside what becomes of a login."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import pytest

from mailserver.foresight import Attempt
from mailserver.store.maildir.locking import NAME
from tests.service.explaining.logins import Login, explained, served
from tests.service.explaining.rows import ALICE, MAILDIR


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """As a user for whom modes count: of the files in the folder, which everybody finds."""
    if os.geteuid() != 0:
        yield
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        os.lchown(path, nobody, -1)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


IN_HOME = ["", "Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"]
OURS = [NAME.decode(), "mailserver-index", "mailserver-uidls"]


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "a new message": lambda home: (home / "Maildir/new/1700000000.M1P1.host").write_bytes(b"Subject: x\n\nx\n"),
    "no Maildir": lambda home: rmtree(home / "Maildir"),
    "no cur": lambda home: rmtree(home / "Maildir/cur"),
    "no tmp": lambda home: rmtree(home / "Maildir/tmp"),
    "no lock": lambda home: (home / "Maildir" / NAME.decode()).unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_rights_of_files_count_as_for_a_login(change: Callable[[Path], object]) -> None:
    attempt, differ = Attempt("alice"), []
    with TemporaryDirectory() as folder, served(Path(folder), f"{ALICE}\n", MAILDIR) as server:
        home = Path(folder) / "alice"
        home.mkdir()
        with as_nobody(Path(folder)):
            for name, mode in product([*IN_HOME, *(f"Maildir/{each}" for each in OURS)], [0, 0o400, 0o500, 0o100]):
                assert Login(server, attempt).run().let_in
                change(home)
                path = home / name
                if not path.exists():
                    continue
                kept = path.stat().st_mode & 0o777
                path.chmod(mode)
                said, real = explained(server, attempt).refusal, Login(server, attempt).run()
                path.chmod(kept)
                if ("" if said is None or said.why is None else said.why.name) != real.why:
                    differ.append((name, oct(mode), said and said.says, real.why))
    assert not differ
