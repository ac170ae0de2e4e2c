"""Whatever happens to a maildrop: a repair leaves nothing to find, loses no message, and gives none another unique-id."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailserver.store.maildir import making
from mailserver.store.maildir.faults import examine
from mailserver.store.maildir.foreign import dotlock
from tests.store.maildir.faults.broken import Maildrop

BODIES = st.sampled_from([b"a\n", b"b\r\n", b"Subject: c\n\n.c", b"", b"Subject: d\r\n\r\nd\r\n", b"lone\rCR\n"])
DIRECTORIES = st.sampled_from(["new", "cur"])
FIELDS = st.sampled_from(["", ",S=1", ",W=2", ",S=2,W=3", ",S=999,W=1000", ",U=YWI", ",S=4,U=YWI"])
INFOS = st.sampled_from(["", ":2,", ":2,S", ":2,FT"])
PARTS = st.sampled_from(["1700000001.M1P1.h", "1700000002.M2P1.h", "2024-01-01T10:00:00.eml", "odd name", "x" * 90])
"""Few, so that they meet."""

FILES = st.tuples(DIRECTORIES, PARTS, FIELDS, INFOS).map(lambda it: f"{it[0]}/{it[1]}{it[2]}{it[3]}")
OURS = st.sampled_from(["mailserver-index", "mailserver-uidls", "maildirsize", "mailserver-journal", "mailserver-lock"])


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, ...]:
    """One thing that somebody does to the files."""
    act = draw(
        st.sampled_from(
            [
                "put",
                "put",
                "put",
                "link",
                "move",
                "log in",
                "log in",
                "cut",
                "flip",
                "write",
                "folder",
                "symlink",
                "deny",
                "lie",
                "settle",
            ]
        )
    )
    if act in {"put", "link", "move"}:
        return act, draw(FILES), draw(FILES), draw(BODIES.map(bytes.hex))
    if act in {"cut", "flip", "write", "folder", "symlink"}:
        return act, draw(OURS)
    if act == "deny":
        return act, draw(st.sampled_from(["new", "cur", "mailserver-lock", "mailserver-index"]))
    return (act,)


def do(maildrop: Maildrop, act: str, *arguments: str) -> None:
    ACTS[act](maildrop, *arguments)


def put(maildrop: Maildrop, name: str, _other: str, data: str) -> None:
    (maildrop.path / name).unlink(missing_ok=True)
    maildrop.put(name, bytes.fromhex(data))


def again(maildrop: Maildrop, name: str, other: str, _data: str, *, moves: bool = False) -> None:
    """Another name for some file that is there."""
    present, path = maildrop.files(), maildrop.path / name
    if present and not path.exists():
        source = present[len(other) % len(present)]
        source.rename(path) if moves else path.hardlink_to(source)


def lie(maildrop: Maildrop) -> None:
    if maildrop.indexed():
        maildrop.rewrite(lambda _, rows: [rows.octets.__setitem__(at, 12) for at in range(len(rows))])


def spoil(maildrop: Maildrop, name: str, *, cut: bool) -> None:
    path = maildrop.path / name
    if path.is_file():
        octets = path.read_bytes()
        path.write_bytes(octets[: len(octets) // 2] if cut else bytes(each ^ 1 for each in octets))


def replace(maildrop: Maildrop, name: str, *, by: Callable[[Path], object]) -> None:
    path = maildrop.path / name
    path.unlink(missing_ok=True)
    by(path)


def deny(maildrop: Maildrop, name: str) -> None:
    path = maildrop.path / name
    if path.exists():
        path.chmod(0)


ACTS: dict[str, Callable[..., object]] = {
    "put": put,
    "link": again,
    "move": partial(again, moves=True),
    "log in": Maildrop.log_in,
    "settle": Maildrop.settle,
    "lie": lie,
    "cut": partial(spoil, cut=True),
    "flip": partial(spoil, cut=False),
    "write": partial(replace, by=lambda path: path.write_bytes(b"nonsense")),
    "folder": partial(replace, by=Path.mkdir),
    "symlink": partial(replace, by=lambda path: path.symlink_to("/dev/zero")),
    "deny": deny,
}


@pytest.fixture(autouse=True, scope="module")
def hurried() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examine, "_PAUSE", 0)
        patch.setattr(making, "_ABANDONED", -1)
        patch.setattr(dotlock, "_YOUNG", -1)
        patch.setattr(os, "fsync", lambda _: None)
        yield


ONE, TWO = "1700000001.M1P1.h", "1700000002.M2P1.h"


@example([("put", f"new/{ONE}", "", "610a"), ("put", f"new/{ONE},S=1:2,", "", "610a")])
@example(
    [
        ("put", f"cur/{ONE}:2,", "", "610a"),
        ("put", f"new/{ONE},S=1", "", "620a"),
        ("put", f"cur/{ONE},S=1:2,", "", "620a"),
    ]
)
@example([("put", f"new/{TWO},W=2", "", "610a"), ("put", f"new/{TWO},S=1", "", "610a")])
@example([("put", f"new/{ONE}", "", "610a"), ("put", f"new/{ONE},S=1", "", "610a"), ("write", "mailserver-uidls")])
@example(
    [
        ("put", f"new/{ONE}", "", "610a"),
        ("log in",),
        ("link", f"new/{TWO}", "", ""),
        ("link", f"new/{TWO},U=YWI", "", ""),
    ]
)
@given(st.lists(damages(), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_whatever_happened_a_repair_leaves_nothing_to_find_and_loses_nothing(history: list[tuple[str, ...]]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="mailserver-test-"))
    try:
        maildrop = Maildrop(directory / "Maildir")
        for each in history:
            with suppress(*maildrop.REFUSALS):  # a login, for one
                do(maildrop, *each)
        judge(maildrop)
    finally:
        shutil.rmtree(directory)


def judge(maildrop: Maildrop) -> None:
    stored = {*maildrop.stored()}
    try:
        before = maildrop.shown()
    except maildrop.REFUSALS:
        before = None
    found = maildrop.verify()
    done = maildrop.repair()
    assert {*maildrop.stored()} == stored, "a message is lost, or came to be"
    assert not any(each.mendable for each in done.left), "it is mended"
    hopeless = {(each.kind, each.file) for each in found if not each.mendable}
    assert {(each.kind, each.file) for each in done.left} <= hopeless, "it is found before it is left"
    assert list(maildrop.verify()) == list(done.left)
    assert maildrop.repair() == ([], done.left), "once is enough"
    if not done.left:
        after = maildrop.shown()
        assert before in (None, after), "unique-ids stay"
        maildrop.log_in()
        assert maildrop.shown() == after
        (maildrop.path / "mailserver-index").unlink()
        assert maildrop.shown() == after, "and do not depend on the index"
