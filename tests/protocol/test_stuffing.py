"""The stuffing in C: octet for octet what Python's does, in every way to cut a message, and done without where it is missing."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.protocol import wire
from mailserver.protocol.stuffing import Stuffing, load
from tests.corpus import CORPUS
from tests.protocol.oracle import thorough

SOURCE = Path(load.__code__.co_filename).with_suffix(".c")
LINES = st.lists(st.sampled_from([b"\n", b".", b"..", b"\n.", b"x", b"\0", b"\xff", b"word "])).map(b"".join)
CHUNKED = st.lists(LINES | st.lists(st.sampled_from([b"\r", b"\r\n", b"\n", b"."])).map(b"".join) | st.binary())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        (pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip)("gcc is missing")
    path = tmp_path_factory.mktemp("library") / "stuffing_of_tests.so"
    strict = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror"]
    subprocess.run([str(compiler), *strict, "-shared", "-fPIC", "-o", path, SOURCE], check=True)
    return path


@pytest.fixture(scope="module")
def stuffing(library: Path) -> Iterator[Stuffing]:
    """The one that the module `wire` uses meanwhile, also for small chunks."""
    found = Stuffing(str(library))
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(wire, "FAST", found)
        patches.setattr(wire, "FAST_LEAST", 1)
        yield found


def sent(chunks: list[bytes]) -> tuple[list[bytes], int]:
    stuffer = wire.Stuffer()
    pieces = [stuffer.feed(chunk) for chunk in chunks]
    return [*pieces, stuffer.end()], stuffer.octets


def in_python(chunks: list[bytes]) -> tuple[list[bytes], int]:
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(wire, "FAST", None)
        return sent(chunks)


@thorough
@given(CHUNKED)
@example([b".", b"\n", b".\n", b"x", b".", b"\n.\n"])
@example([b"a\r", b"\n.b", b"\r", b".", b"\n"])
def test_it_sends_what_python_sends(stuffing: Stuffing, chunks: list[bytes]) -> None:
    assert sent(chunks) == in_python(chunks)


def test_so_it_does_with_messages_as_they_are_cut_by_reads(stuffing: Stuffing) -> None:
    for message in CORPUS.values():
        chunks = [message[at : at + 120 * 1024] for at in range(0, len(message), 120 * 1024)]
        assert sent(chunks) == in_python(chunks)


@thorough
@given(LINES, st.booleans())
def test_it_writes_no_octet_beyond_what_it_counted(stuffing: Stuffing, data: bytes, line_begins: bool) -> None:
    made, added = stuffing(data, line_begins=line_begins)
    room = ctypes.create_string_buffer(b"\xaa" * (len(made) + 64))
    dots = ctypes.c_size_t()
    size = stuffing._stuff(data, len(data), line_begins, ctypes.cast(room, ctypes.c_char_p), dots)
    assert room.raw == made + b"\xaa" * 64 + b"\0"
    assert (size, dots.value) == (len(made), added)


def test_where_it_is_missing_or_broken_there_is_none(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torn_stuffing.so").write_bytes(b"\x7fELF")
    shutil.copy(library, tmp_path)
    assert load("no_stuffing") is None
    assert load("torn_stuffing") is None
    assert load("_struct") is None  # a library of another purpose, or none at all
    assert isinstance(load(library.stem), Stuffing)
    monkeypatch.setattr(ctypes, "pythonapi", ctypes.PyDLL(str(library)))  # an interpreter that exports no functions
    assert load(library.stem) is None


def test_small_chunks_do_without_it(stuffing: Stuffing, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(data: bytes, *, line_begins: bool) -> tuple[bytes, int]:
        calls.append(len(data))
        return stuffing(data, line_begins=line_begins)

    calls: list[int] = []
    monkeypatch.setattr(wire, "FAST", counted)
    monkeypatch.setattr(wire, "FAST_LEAST", 10)
    sent([b"123456789", b"1234567890", b"123456789\r", b"1234567890"])
    assert calls == [10]
