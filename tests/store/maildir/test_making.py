"""Making a Maildir while others make it, too: a login in another process, or a delivery to several users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailserver.store.maildir.making import Making

DIRECTORIES = {"new", "cur", "tmp"}


@pytest.mark.parametrize("turn", range(1, 9))
def test_others_may_make_it_between_any_two_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    anchor = os.fsencode(tmp_path) + b"/"
    root = anchor + b"example.org/alice/Maildir/"
    real, calls = os.mkdir, 0

    def mkdir(path: bytes, mode: int) -> None:
        nonlocal calls
        calls += 1
        if calls == turn:
            monkeypatch.setattr(os, "mkdir", real)
            Making().make(root, anchor)
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    Making().make(root, anchor)
    assert {path.name for path in Path(os.fsdecode(root)).iterdir()} == DIRECTORIES
