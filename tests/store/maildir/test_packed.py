"""Files that are not the mail itself: compressed, encrypted, damaged, and bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from mailserver.errors import MessageUnreadable
from mailserver.store import body
from mailserver.store.maildir import packed
from mailserver.store.maildir.packed import Kind, Unpacking, Unreadable, kind_of

MAIL = b"Subject: packed\n\nline of text\n" * 40
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress,
}  # fmt: skip
SEALED = {
    "lz4": b"Dovecot-LZ4\r*\x9b\xc5\0\1\0\0\0\0\0\x09octets",
    "crypt": b"CRYPTED\x03\x07\2\0\0\0\0octets",
}


def unpacked(folder: Path, data: bytes, limit: int = 1000) -> bytes:
    path = folder / "message"
    path.write_bytes(data)
    kind = kind_of(data)
    assert kind is not None
    with path.open("rb") as file:
        unpacking = Unpacking(file.fileno(), kind)
        pieces = []
        while piece := unpacking.read(limit):
            assert len(piece) <= limit
            pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("name", PACK)
def test_the_mail_in_it_is_read(tmp_path: Path, name: str) -> None:
    noise = os.urandom(3 * packed._INPUT)
    for mail in (MAIL, b"", noise):
        assert unpacked(tmp_path, PACK[name](mail)) == mail


@pytest.mark.parametrize("name", PACK)
def test_streams_behind_one_another_are_one_mail(tmp_path: Path, name: str) -> None:
    pack = PACK[name]
    assert unpacked(tmp_path, pack(MAIL) + pack(b"") + pack(MAIL)) == 2 * MAIL
    assert unpacked(tmp_path, pack(MAIL) + b"\0" * 100_000) == MAIL


@pytest.mark.parametrize("name", PACK)
def test_one_that_ends_too_early_is_unreadable(tmp_path: Path, name: str) -> None:
    whole = PACK[name](MAIL)
    for length in range(12, len(whole)):
        with pytest.raises(Unreadable, match=r"ends too early|damaged"):
            unpacked(tmp_path, whole[:length])


@pytest.mark.parametrize("name", PACK)
def test_a_damaged_one_is_unreadable(tmp_path: Path, name: str) -> None:
    whole = bytearray(PACK[name](os.urandom(1000)))
    whole[len(whole) // 2] ^= 0x55
    if name == "zstd":  # raw octets have no checksum unless it is asked for
        whole = bytearray(zstd.compress(os.urandom(1000), options={zstd.CompressionParameter.checksum_flag: 1}))
        whole[len(whole) // 2] ^= 0x55
    with pytest.raises(Unreadable, match=f"{name} and"):
        unpacked(tmp_path, bytes(whole))


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_ends_at_a_bound_and_takes_no_memory(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = PACK[name](b"0" * 16 * 1024 * 1024)
    monkeypatch.setattr(packed, "LARGEST", 8 * 1024 * 1024)
    (tmp_path / "bomb").write_bytes(bomb)
    kind = kind_of(bomb)
    assert kind is not None
    with (tmp_path / "bomb").open("rb") as file:
        unpacking = Unpacking(file.fileno(), kind)
        tracemalloc.start()
        with pytest.raises(Unreadable, match="more than"):
            sum(len(piece) for piece in iter(lambda: unpacking.read(body.CHUNK), b""))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024  # xz and zstd look back 8 MiB


def test_a_file_that_asks_for_too_much_memory_is_unreadable(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    with pytest.raises(Unreadable, match="emory"):
        unpacked(tmp_path, lzma.compress(MAIL, filters=filters))
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(Unreadable, match="zstd and damaged"):
        unpacked(tmp_path, compressor.compress(MAIL) + compressor.flush())


@pytest.mark.parametrize("name", SEALED)
def test_what_only_dovecot_reads_names_its_plugin(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unreadable, match="Dovecot's mail_") as refused:
        unpacked(tmp_path, SEALED[name])
    assert "only Dovecot can read" in str(refused.value)


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    kind = packed._with("zstd", ("compression.none", "nowhere_zstd"), lambda _: pytest.fail("nothing to make"), "zstd")
    assert kind.make is None
    assert "nowhere_zstd is not installed: pip install twisted-mailserver[zstd]" in kind.trouble
    assert "mail_compress (zlib) with zstd" in kind.trouble


@given(st.text("abcBZhDCRY19AY&S.-").map(str.encode), st.text("abc 1:\n").map(str.encode))
def test_no_header_is_taken_for_a_packed_file(name: bytes, rest: bytes) -> None:
    assert kind_of(name + b": " + rest) is None


@pytest.mark.parametrize(
    "mail",
    [b"", b"\n", b"BZh91AY&SY: x\n", b"BZh91AY&SY-more : x\n", b"CRYPTED: x\n", b"(PK", b"Date: x\n", b"From x@y\n"],
)
def test_mail_is_mail(mail: bytes) -> None:
    assert kind_of(mail) is None


def test_every_kind_has_a_magic_and_every_magic_its_kind() -> None:
    heads = {name: pack(MAIL) for name, pack in PACK.items()} | SEALED
    assert {name: found.name for name, head in heads.items() if (found := kind_of(head))} == {
        name: name for name in heads
    }
    assert heads.keys() == packed.KINDS.keys() == packed._MAGIC.groupindex.keys()
    empty = kind_of(bz2.compress(b""))
    assert isinstance(empty, Kind)
    assert empty.name == "bzip2"


def test_the_client_is_told_that_the_operator_is_needed() -> None:
    assert MessageUnreadable().line.startswith(b"[SYS/PERM] ")
