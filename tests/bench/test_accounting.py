"""Where the CPU time and the memory of a server are read."""

import os
import subprocess
import sys

import pytest

from bench.accounting import Cgroup2, Cgroups1, Processes


def test_without_cgroups_a_session_of_processes_is_the_server():
    account = Processes("any")
    command = [sys.executable, "-c", "import subprocess; subprocess.run(['cat'])"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        account.leader = process.pid
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"x\n"  # both run
        assert len(account.pids()) == 2
        assert process.pid in account.pids()
        assert os.getpid() not in account.pids()
        assert account.rss_mb() > 1
        assert account.cpu_seconds() >= 0
        process.stdin.close()
        process.wait()
    assert account.pids() == []
    account.close()


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.accounting.GROUPS", tmp_path)
    return tmp_path


def test_a_cgroup_of_version_2(groups):
    assert not Cgroup2.usable()
    (groups / "cgroup.controllers").touch()
    (groups / "cgroup.procs").touch()
    assert Cgroup2.usable()
    account = Cgroup2("bench")
    (groups / "bench/cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
    account.enter()
    assert account.pids() == [os.getpid()]
    assert account.cpu_seconds() == 1.5
    assert account.rss_mb() > 1


def test_cgroups_of_version_1(groups):
    assert not Cgroups1.usable()
    for kind in ("cpuacct", "memory"):
        (groups / kind).mkdir()
        (groups / kind / "tasks").touch()
    assert Cgroups1.usable()
    account = Cgroups1("bench")
    (groups / "cpuacct/bench/cpuacct.usage").write_text("2500000000\n")
    (groups / "memory/bench/memory.stat").write_text("cache 7\nrss 3000000\nrss_huge 5\n")
    account.enter()
    assert account.pids() == [os.getpid()]
    assert account.cpu_seconds() == 2.5
    assert account.rss_mb() == 3
