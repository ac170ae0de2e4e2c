"""What was moved, durably."""

import os
from pathlib import Path

import pytest

from mailserver.migration.state import InUse, Moved, State, StateError

ONE = Moved(b"UID1-77", b"1" * 40)
TWO = Moved(b"UID2-77", b"")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "states"


def opened(folder, user="alice@example.org", origin="old.example.org alice"):
    return State.open(folder, user, origin)


def reopened(folder):
    state = opened(folder)
    known = dict(state.known)
    state.close()
    return known


def the_file(folder):
    (path,) = folder.iterdir()
    return path


def test_what_was_added_is_known_to_the_next_run(folder):
    state = opened(folder)
    assert state.known == {}
    state.add([ONE])
    state.add([TWO])
    state.close()
    state.close()
    assert reopened(folder) == {ONE.key: ONE.digest, TWO.key: b""}


def test_only_its_owner_may_read_it(folder):
    opened(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert the_file(folder).stat().st_mode & 0o777 == 0o600


def test_users_and_places_have_their_own(folder):
    for user, origin in (("alice", "a"), ("alice", "b"), ("../alice", "a"), ("\udce4" * 300, "a"), ("ali", "ce\0a")):
        state = opened(folder, user, origin)
        assert state.known == {}
        state.add([Moved(b"1", b"")])
        state.close()
    assert len(list(folder.iterdir())) == 5


def test_a_second_run_is_refused_until_the_first_has_ended(folder):
    state = opened(folder)
    with pytest.raises(InUse, match=r"another run moves the mail of .alice@example\.org."):
        opened(folder)
    opened(folder, origin="elsewhere").close()
    state.close()
    opened(folder).close()


def test_a_line_that_a_crash_has_cut_is_cut_off_and_the_next_one_is_whole(folder):
    state = opened(folder)
    state.add([ONE])
    state.close()
    path = the_file(folder)
    whole = path.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole)):
        path.write_bytes(whole[:length])
        state = opened(folder)
        assert (state.known, state.damaged) == ({}, 0)
        state.add([TWO])
        state.close()
        assert reopened(folder) == {TWO.key: b""}


def test_an_error_leaves_nothing_open(folder):
    state = opened(folder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(InUse):
            opened(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    state.close()


def test_a_beginning_that_a_crash_has_cut_is_written_again(folder):
    opened(folder).close()
    path = the_file(folder)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        state = opened(folder)
        state.add([ONE])
        state.close()
        assert reopened(folder) == {ONE.key: ONE.digest}
        path.unlink()


def test_a_damaged_line_counts_for_nothing(folder):
    state = opened(folder)
    state.add([ONE, TWO])
    state.close()
    path = the_file(folder)
    whole = path.read_bytes()
    at = whole.index(b"UID1")
    path.write_bytes(whole[:at] + b"UID3" + whole[at + 4 :])
    state = opened(folder)
    assert (state.known, state.damaged) == ({TWO.key: b""}, 1)
    state.close()


def test_another_program_s_file_stays_as_it_is(folder):
    opened(folder).close()
    path = the_file(folder)
    path.write_bytes(b"dear diary,\n")
    with pytest.raises(StateError, match="--state"):
        opened(folder)
    assert path.read_bytes() == b"dear diary,\n"


def test_a_link_is_not_followed(folder, tmp_path):
    opened(folder).close()
    path = the_file(folder)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="--state"):
        opened(folder)
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    with pytest.raises(StateError, match="No such file or directory: --state names a directory"):
        opened(tmp_path / "no" / "where")


def test_a_full_disk_leaves_whole_lines(folder, monkeypatch):
    state = opened(folder)
    state.add([ONE])
    room, write = [150], os.pwrite

    def written(file, data, at):
        if not room:
            raise OSError(28, "No space left on device")
        return write(file, bytes(data)[: room.pop()], at)

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", written)
        with pytest.raises(StateError, match="No space left on device"):
            state.add([ONE, TWO, Moved(b"3", b"3" * 40), Moved(b"4", b"4" * 40)])
    state.add([TWO])
    state.close()
    state = opened(folder)
    assert (state.known, state.damaged) == ({ONE.key: ONE.digest, TWO.key: b""}, 0)
    state.close()


def test_a_line_is_durable_when_add_returns_and_so_is_a_new_file_s_name(folder, monkeypatch):
    steps = []

    def noted(name):
        function = getattr(os, name)

        def call(file, *rest):
            steps.append((name, Path(f"/proc/self/fd/{file}").readlink().name))
            return function(file, *rest)

        monkeypatch.setattr(os, name, call)

    noted("pwrite")
    noted("fsync")
    state = opened(folder)
    state.add([ONE])
    state.close()
    name = the_file(folder).name
    once = [("pwrite", name), ("fsync", name)]
    assert steps == [*once, ("fsync", "states"), ("fsync", folder.parent.name), *once]


def test_a_parent_that_only_root_can_list_is_no_obstacle(folder, monkeypatch):
    folder.mkdir()
    open_ = os.open

    def refuse(path, *flags, **more):
        if Path(path) == folder.parent:
            raise PermissionError(13, "Permission denied")
        return open_(path, *flags, **more)

    monkeypatch.setattr(os, "open", refuse)
    opened(folder).close()


def test_a_dry_run_reads_and_makes_nothing(folder):
    assert State.glance(folder, "alice@example.org", "old.example.org alice").known == {}
    assert not folder.exists()
    state = opened(folder)
    state.add([ONE])
    glanced = State.glance(folder, "alice@example.org", "old.example.org alice")
    assert glanced.known == {ONE.key: ONE.digest}
    glanced.close()
    state.close()
