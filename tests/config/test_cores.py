"""How many workers are too many."""

import os

import pytest

from mailserver.config.cores import cores, too_many


def machine_of(monkeypatch, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(count)))


@pytest.mark.parametrize(("count", "most"), [(1, 8), (2, 8), (4, 16), (64, 256)])
def test_a_few_per_core_are_enough(monkeypatch, count, most):
    machine_of(monkeypatch, count)
    assert cores() == count
    assert too_many(most) == too_many(0) == ""
    assert too_many(most + 1) == f"{most + 1} workers are too many for {count} cores: {most} at most; 0 is one per core"
