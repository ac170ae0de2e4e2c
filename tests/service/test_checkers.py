"""The checkers of the settings: what is wrong with one is the operator's to mend."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from mailserver.errors import ConfigError
from mailserver.service.checkers import make_checker


@pytest.mark.parametrize("gone", ["crypt", "spwd"])
def test_a_python_without_crypt_says_that_unix_lets_nobody_in(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crypt", ModuleType("crypt"))
    monkeypatch.setitem(sys.modules, "spwd", ModuleType("spwd"))
    make_checker("unix")
    monkeypatch.setitem(sys.modules, gone, None)
    with pytest.raises(ConfigError, match=f"unix: Python 3.* has no module {gone} .* so nobody could log in"):
        make_checker("unix")


def test_a_file_checker_without_a_file_is_the_operator_s_error() -> None:
    with pytest.raises(ConfigError, match="file needs the location of a file"):
        make_checker("file:")
