"""Where the demonstration takes mail."""

import os
from pathlib import Path

import pytest

from mailserver.cli.places import Place, first
from mailserver.demo.sending import Intake, intake, line
from mailserver.demo.sockets import LONGEST_PATH


def never():
    pytest.fail("no port is needed")


def test_whoever_is_not_root_has_a_unix_socket_in_the_folder(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    where = intake(Path("/srv/a:b=c\\d"), never)
    assert first([where.endpoint], "lmtp") == Place("/srv/a:b=c\\d/lmtp.sock")
    assert where.endpoint.endswith(":mode=600")
    assert where.options == ("--socket", "/srv/a:b=c\\d/lmtp.sock")


def test_a_folder_whose_path_is_too_long_for_a_socket_gets_a_port(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    longest = Path("/" + "x" * (LONGEST_PATH - len("//lmtp.sock")))
    assert intake(longest, never).options[0] == "--socket"
    where = intake(Path(f"{longest}y"), lambda: 10024)
    assert where == Intake("tcp:10024:interface=127.0.0.1", ("--lmtp", "tcp:10024"), "127.0.0.1, port 10024")


def test_root_makes_no_socket_in_a_folder_of_another_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert intake(Path("/srv"), lambda: 24).endpoint == "tcp:24:interface=127.0.0.1"


def test_the_line_has_the_installed_command_where_it_is_installed(monkeypatch, tmp_path):
    where = Intake("tcp:24", ("--lmtp", "tcp:24"), "port 24")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert f"| {tmp_path}/python -P -m mailserver deliver --lmtp tcp:24 demo" in line(where, "demo")
    (tmp_path / "mailserver").touch()
    assert f"| {tmp_path}/mailserver deliver --lmtp tcp:24 demo" in line(where, "demo")
