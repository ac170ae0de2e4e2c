"""The token: how it is read, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailserver.errors import Unusable
from mailserver.web.guard import LONGEST_TOKEN, read_token

TOKEN = b"MTIzNDU2Nzg5MDEyMzQ1Njc4"


def file_of(folder: Path, text: bytes, mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("text", [TOKEN, TOKEN + b"\n", b" " + TOKEN + b"\r\n", TOKEN * (LONGEST_TOKEN // len(TOKEN))])
def test_a_token_is_what_is_in_the_file_but_for_the_space_around_it(tmp_path: Path, text: bytes) -> None:
    assert read_token(file_of(tmp_path, text)) == text.strip()
    assert read_token(file_of(tmp_path, text, 0o440)) == text.strip()  # as systemd gives credentials


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"too short", b"with a space in the middle of it", b"tok\xc3\xa9n" * 9, b"x" * (LONGEST_TOKEN + 1)],
)
def test_a_token_that_anybody_could_guess_or_nobody_send_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Unusable, match="a token has at least 16 visible ASCII characters") as caught:
        read_token(file_of(tmp_path, text))
    assert not text.strip() or text.decode("utf-8")[:9] not in str(caught.value)


def test_a_token_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="everybody may read it: give it to the user that serves, and chmod 600"):
        read_token(file_of(tmp_path, TOKEN, 0o644))


def test_a_token_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(
        Unusable, match="nowhere: No such file or directory: the user that serves must be able to read it"
    ):
        read_token(str(tmp_path / "nowhere"))
