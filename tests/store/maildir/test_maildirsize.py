"""The file `maildirsize` as Maildir++ describes it, and the quota."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailserver.errors import MaildropUnavailable, OutcomeUnknown, QuotaExceeded
from mailserver.incoming import Usage
from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize
from mailserver.store.maildir.removal import Removal
from mailserver.store.maildir.same import Target

QUOTA = Quota(octets=1000, messages=10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


def octets(root: Path) -> bytes:
    return os.fsencode(root) + b"/"


def usage(root: Path, quota: Quota | None = QUOTA) -> Usage:
    return maildirsize.usage(octets(root), quota)


def file(root: Path, text: str | None = None, *, age: float = 0.0) -> str:
    path = root / "maildirsize"
    if text is not None:
        path.write_text(text)
        os.utime(path, (time.time() - age,) * 2)
    return path.read_text() if path.exists() else ""


def message(root: Path, name: str, size: int) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def deliver(root: Path, size: int, quota: Quota | None = QUOTA, name: str = "") -> None:
    serial = sum(1 for _ in root.rglob("*"))
    maildirsize.charge(octets(root), quota, size, lambda: message(root, f"new/{serial}{name},S={size}", size))


# What is counted.


def test_the_first_line_is_the_quota_and_the_second_what_is_there(root: Path) -> None:
    message(root, "new/1", 10)
    message(root, "cur/2,S=400:2,S", 3)
    assert usage(root) == Usage(2, 410), "by the names, or else the files"
    assert file(root) == "1000S,10C\n410 2\n"


@pytest.mark.parametrize(
    ("quota", "line"), [(Quota(octets=7), "7S"), (Quota(messages=9), "9C"), (Quota(8, 9), "8S,9C")]
)
def test_a_quota_is_written_with_its_limits_alone(root: Path, quota: Quota, line: str) -> None:
    usage(root, quota)
    assert file(root) == f"{line}\n0 0\n"


def test_folders_count_but_trash_does_not(root: Path) -> None:
    for number, name in enumerate(
        ("new/a", ".Sent/cur/b", ".Sent.2024/new/c", ".Trash/cur/d", "plain/new/e", "tmp/f", "new/.g")
    ):
        message(root, name, 10**number)
    (root / ".Drafts").mkdir()
    (root / ".file").write_bytes(b"")
    (root / "new" / "folder").mkdir()
    (root / "new" / "link").symlink_to(root / "plain/new/e")
    for quota in (QUOTA, None):
        assert usage(root, quota) == Usage(3, 111)


def test_a_message_that_moves_meanwhile_counts_once(root: Path) -> None:
    message(root, "new/1.a", 5)
    message(root, "cur/1.a:2,S", 5)
    assert usage(root) == Usage(1, 5)


def test_a_maildrop_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    for quota in (QUOTA, None):
        assert usage(tmp_path / "none", quota) == Usage(0, 0)
    assert not (tmp_path / "none").exists()


def test_without_a_quota_nothing_is_written(root: Path) -> None:
    for quota in (None, Quota()):
        deliver(root, 5, quota)
        usage(root, quota)
    assert usage(root, None) == Usage(2, 10)
    assert sorted(path.name for path in root.iterdir()) == ["cur", "new", "tmp"]


# What is read.


def test_the_lines_are_added(root: Path) -> None:
    file(root, "1000S,10C\n500 3\n-100 -1\n        20   1\n")
    assert usage(root) == Usage(3, 420)
    assert maildirsize.glance(octets(root), QUOTA) == Usage(3, 420)


@pytest.mark.parametrize(
    "text",
    [
        "", "1000S,10C\n", "1000S,10C\n5 1\n7", "1000S,10C\n5\n", "1000S,10C\n5 x\n", "2000S\n5 1\n",
        "1000S,10C\n-5 0\n", "\0" * 40, "1000S,10C\n" + "1 1\n" * 1300,
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_counted_anew(root: Path, text: str) -> None:
    message(root, "new/1", 10)
    file(root, text)
    assert maildirsize.glance(octets(root), QUOTA) is None
    assert usage(root) == Usage(1, 10)
    assert file(root) == "1000S,10C\n10 1\n"


def test_a_file_of_another_kind_is_counted_anew(root: Path) -> None:
    os.mkfifo(root / "maildirsize")
    message(root, "new/1", 10)
    assert usage(root) == Usage(1, 10)
    assert file(root) == "1000S,10C\n10 1\n"


@pytest.mark.parametrize(
    ("text", "age", "counted"),
    [
        ("1000 3\n", 1, False),
        ("1000 3\n", 901, True),
        ("1000 3\n", -90_000, True),
        ("900 2\n100 1\n", 1, True),
        ("5 10\n", 1, False),
        ("5 10\n", 901, True),
        ("999 9\n", 901, False),
    ],
)
def test_only_a_full_maildrop_that_may_be_wrong_is_counted_anew(root: Path, text: str, age: int, counted: bool) -> None:
    message(root, "new/1", 10)
    file(root, f"1000S,10C\n{text}", age=age)
    assert (usage(root) == Usage(1, 10)) is counted


def test_a_full_maildrop_is_counted_before_a_message_is_refused(root: Path) -> None:
    file(root, "1000S,10C\n900 2\n50 1\n")
    deliver(root, 51)
    assert file(root) == "1000S,10C\n0 0\n51 1\n"
    file(root, "1000S,10C\n950 2\n")
    with pytest.raises(QuotaExceeded):
        deliver(root, 51)
    file(root, "1000S,10C\n950 2\n", age=901)
    deliver(root, 51)
    assert file(root) == "1000S,10C\n51 1\n51 1\n"


# What is written.


def test_a_message_is_a_line(root: Path) -> None:
    usage(root)
    deliver(root, 5)
    deliver(root, 6)
    assert file(root) == "1000S,10C\n0 0\n5 1\n6 1\n"


def test_a_message_that_cannot_come_in_counts_nothing(root: Path) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "no")

    usage(root)
    with pytest.raises(OSError, match="no"):
        maildirsize.charge(octets(root), QUOTA, 5, fail)
    assert usage(root) == Usage(0, 0)
    with pytest.raises(QuotaExceeded):
        maildirsize.charge(octets(root), QUOTA, 1001, fail)


def test_another_programs_file_is_kept_without_a_quota_of_ours(root: Path) -> None:
    file(root, "5000S\n5 1\n")
    deliver(root, 6, None)
    assert file(root) == "5000S\n5 1\n6 1\n"


def test_deletions_are_a_line(root: Path) -> None:
    file(root, "1000S,10C\n50 5\n")
    targets = [Target(b"cur/1,S=7:2,", 1, 9), Target(b"new/2", 2, 8)]
    assert maildirsize.discounted(octets(root), targets, lambda: Removal(0, [])) == Removal(0, [])
    assert file(root) == "1000S,10C\n50 5\n-15 -2\n"
    with pytest.raises(MaildropUnavailable):
        maildirsize.discounted(octets(root), targets, failing(MaildropUnavailable("nothing was deleted")))
    assert file(root) == "1000S,10C\n50 5\n-15 -2\n"


@pytest.mark.parametrize("error", [None, OutcomeUnknown("half")])
def test_after_deletions_that_nobody_knows_the_file_is_gone(root: Path, error: Exception | None) -> None:
    file(root, "1000S,10C\n50 5\n")
    work = failing(error) if error else lambda: Removal(1, ["one is left"])
    with pytest.raises(OutcomeUnknown) if error else nullcontext():
        maildirsize.discounted(octets(root), [Target(b"new/2", 2, 8)], work)
    assert file(root) == ""


def failing(error: Exception) -> Callable[[], Removal]:
    def fail() -> Removal:
        raise error

    return fail


def test_deletions_without_the_file_make_none(root: Path) -> None:
    maildirsize.discounted(octets(root), [Target(b"new/2", 2, 8)], lambda: Removal(0, []))
    assert file(root) == ""


def test_a_line_that_came_half_is_no_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(root, "1000S,10C\n50 5\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    with pytest.raises(OSError, match="No space left"):
        deliver(root, 5)
    assert file(root) == ""
    assert list((root / "new").iterdir()) == []


def test_a_count_that_is_overtaken_counts_again_and_is_not_kept_at_last(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename
    rounds = []

    def overtaken(old: bytes, new: bytes) -> None:
        rounds.append(old)
        rename(old, new)
        message(root, f"new/{len(rounds)}", 1)
        os.utime(root / "new", (len(rounds), len(rounds)))

    monkeypatch.setattr(os, "rename", overtaken)
    assert usage(root) == Usage(2, 2), "the last count"
    assert len(rounds) == 3
    assert file(root) == ""


def test_a_maildrop_that_cannot_be_written_is_counted_all_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message(root, "new/1", 10)

    def refused(*_: object, **_how: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(maildirsize, "write_new", refused)
    assert usage(root) == Usage(1, 10)
    monkeypatch.setattr(maildirsize.fcntl, "flock", refused)
    assert usage(root) == Usage(1, 10)


def test_a_lock_that_nobody_lets_go_is_an_error_in_the_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(maildirsize, "_PATIENCE", 0.01)
    with (root / "mailserver-quota").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(MaildropUnavailable, match="locked by another process"):
            deliver(root, 5)
    deliver(root, 5)
    assert usage(root) == Usage(1, 5)


ACTS = st.lists(st.tuples(st.sampled_from(["deliver", "delete", "foreign", "gone"]), st.integers(0, 400)), max_size=40)


class Played:
    """A maildrop in which we and other programs act."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ours = True
        """Whether all changes so far were made by us."""
        for name in ("new", "cur", "tmp"):
            (root / name).mkdir()

    @property
    def truth(self) -> Usage:
        files = [path.stat().st_size for path in (self.root / "new").iterdir()]
        return Usage(len(files), sum(files))

    def act(self, serial: int, act: str, size: int) -> None:
        there = sorted((self.root / "new").iterdir())
        if act == "deliver":
            self.deliver(serial, size)
        elif act == "foreign":
            message(self.root, f"new/{serial}.foreign", size)
            self.ours = False
        elif there:
            self.remove(there[size % len(there)], counted=act == "delete")

    def deliver(self, serial: int, size: int) -> None:
        fits = not self.truth.exceeds(QUOTA, size, 1)
        try:
            deliver(self.root, size, name=f".{serial}")
        except QuotaExceeded:
            assert not (self.ours and fits)
        else:
            assert fits or not self.ours

    def remove(self, path: Path, *, counted: bool) -> None:
        target = Target(b"new/" + os.fsencode(path.name), 1, path.stat().st_size)
        if counted:
            maildirsize.discounted(octets(self.root), [target], lambda: path.unlink() or Removal(0, []))  # type: ignore[func-returns-value]
        else:
            path.unlink()
            self.ours = False


@settings(max_examples=60, deadline=None)
@given(ACTS)
def test_what_we_keep_is_true_and_what_others_change_is_found(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    played = Played(tmp_path_factory.mktemp("maildrop"))
    for serial, (act, size) in enumerate(acts):
        played.act(serial, act, size)
        assert not played.ours or usage(played.root) == played.truth
        assert usage(played.root, None) == played.truth
    if file(played.root):
        os.utime(played.root / "maildirsize", (1, 1))
        found = usage(played.root)
        assert found == played.truth or not found.exceeds(QUOTA, 1, 1)


PROCESS = """
import os, sys
from mailserver.errors import QuotaExceeded
from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize
root, number = os.fsencode(sys.argv[1]), sys.argv[2]
sys.stdin.read(1)
for serial in range(100):
    enter = lambda: open(root + b"new/%s.%d,S=10" % (number.encode(), serial), "w").write("x" * 10)
    try:
        maildirsize.charge(root, Quota(octets=1000), 10, enter)
        if serial % 7 == 0:
            maildirsize.forget(root)  # and one more count, while the other delivers
    except QuotaExceeded:
        pass
"""


def test_two_processes_at_the_edge_never_pass_it(root: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, f"{root}/", str(number)], stdin=subprocess.PIPE)
        for number in (1, 2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(list((root / "new").iterdir())) == 100
    assert usage(root, Quota(octets=1000)) == Usage(100, 1000)


def test_a_file_that_cannot_be_opened_is_counted_anew_after_deletions(root: Path) -> None:
    message(root, "new/1", 10)
    (root / "elsewhere").write_text("1000S,10C\n900 9\n")
    (root / "maildirsize").symlink_to(root / "elsewhere")
    maildirsize.discounted(octets(root), [Target(b"new/2", 2, 8)], lambda: Removal(0, []))
    assert not (root / "maildirsize").is_symlink()
    assert (root / "elsewhere").read_text() == "1000S,10C\n900 9\n"
    assert usage(root) == Usage(1, 10)


def test_a_message_that_vanishes_during_the_count_counts_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message(root, "new/1", 10)
    sizes = maildirsize.names.sizes

    def vanishing(name: bytes) -> tuple[int | None, int | None]:
        (root / "new/1").unlink()
        return sizes(name)

    monkeypatch.setattr(maildirsize.names, "sizes", vanishing)
    assert usage(root, None) == Usage(0, 0)


def test_a_file_that_cannot_be_read_is_counted_anew(root: Path) -> None:
    (root / "maildirsize").mkdir()
    message(root, "new/1", 10)
    assert usage(root) == Usage(1, 10)
