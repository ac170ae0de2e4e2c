"""The bench of moves: a short run, and its table."""

import os
import shutil
from pathlib import Path

import pytest

from bench import movers, tools
from bench.movers import MOVERS
from bench.moving import Figures, Load, run, table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Below it all work is done: a socket's path is short."""
    root = Path("/tmp") / f"moving-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(movers, "ROOT", root)
        patch.setattr(tools, "ROOT", tmp_path_factory.mktemp("tools"))
        tools.make()
        yield
    assert list(root.rglob("*/")) == [root / "moving"], "each mover removes what it had"
    shutil.rmtree(root)


@pytest.mark.usefixtures("folder")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a Dovecot with users of its own")
def test_a_short_run_moves_all_mail_by_each_mover_of_this_machine():
    names = [name for name in MOVERS if name != "imapsync"]
    found = run(names, Load(users=2, messages=3, octets=100, parallel=2), rounds=1)
    assert list(found) == names
    assert all(each.rate > 0 and each.cpu > 0 for each in found.values())


@pytest.mark.usefixtures("folder")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a Dovecot with users of its own")
def test_a_mover_that_leaves_something_is_an_error(monkeypatch):
    monkeypatch.setattr(movers.Doveadm, "move", lambda _: None)
    with pytest.raises(SystemExit, match="doveadm moved 0 of 3 messages"):
        run(["doveadm"], Load(users=1, messages=3, octets=100, parallel=1), rounds=1)


def test_the_table_has_ratios_to_doveadm():
    found = {"mailserver": Figures(600, 400, 100), "doveadm": Figures(300, 800, 90)}
    assert table(found).splitlines()[2:] == [
        "| mailserver | 600 | 2.00 | 400 us | 0.50 | 100 us |",
        "| doveadm | 300 | 1.00 | 800 us | 1.00 | 90 us |",
    ]
    del found["doveadm"]
    assert table(found).splitlines()[2:] == ["| mailserver | 600 |  | 400 us |  | 100 us |"]
