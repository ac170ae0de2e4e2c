"""A server that is forked is the one that its command would start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import COMMAND
from tests.dynasty import Dynasty
from tests.forking import commands, forks
from tests.servers import PATH, TWIST, TWISTD, Server, Site

PROGRAMS = pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])


TIME = re.compile(rb"\d{4}-\d\d-\d\dT[\d:]+\+0000 ")
"""A line of twistd's begins with it."""


def environment(*path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*PATH, *map(str, path)]), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("tests.servers.STARTS", "forked")
    with Site() as made:
        yield made


@PROGRAMS
@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--workers=many", os.EX_CONFIG)])
def test_it_says_the_same_and_ends_as_the_command(
    tmp_path: Path, program: tuple[str, ...], flag: str, status: int
) -> None:
    forking, command, env = forks(PATH), [*program, flag], {**environment(), "TZ": "UTC"}
    assert forking.fits(command, env)
    forked = forking.start(command, env, tmp_path)
    with forked.stdout:
        said = forked.stdout.read()
    ended = subprocess.run(
        command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert TIME.sub(b"", said) == TIME.sub(b"", ended.stdout)
    assert (forked.wait(30), ended.returncode) == (status, status)


@pytest.mark.parametrize(
    ("words", "given", "status"),
    [
        (["password", "--scheme", "PLAIN"], b"sesame\nnot this\n", 0),
        (["password", "--scheme", "ROT13"], b"sesame\n", os.EX_CONFIG),
        (["quota", "--config", "nowhere", "alice"], b"", os.EX_CONFIG),
        (["nonsense"], b"", os.EX_USAGE),
    ],
)
def test_a_command_says_the_same_and_ends_as_one_that_is_started(
    tmp_path: Path, words: list[str], given: bytes, status: int
) -> None:
    forking, command, env = commands(PATH), [*COMMAND, *words], {**os.environ, "PYTHONPATH": os.pathsep.join(PATH)}
    assert forking.fits(command, env)
    forked = forking.start(command, env, tmp_path, given)
    said = forked.communicate(30)
    ended = subprocess.run(command, env=env, cwd=tmp_path, input=given, capture_output=True, check=False)
    assert said == (ended.stdout, ended.stderr)
    assert said != (b"", b"")
    assert (forked.wait(0), ended.returncode) == (status, status)


def test_a_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    silent = tmp_path / "config"
    os.mkfifo(silent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(PATH)}
    forked = commands(PATH).start([*COMMAND, "config", "--config", str(silent)], env, tmp_path, b"")
    with pytest.raises(subprocess.TimeoutExpired):
        forked.communicate(0.1)
    assert forked.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LC_ALL", "PYTHONIOENCODING"])
def test_what_its_start_reads_makes_a_start_of_its_own(name: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(PATH)}
    assert commands(PATH).fits(COMMAND, env)
    assert not commands(PATH).fits(COMMAND, {**env, name: "x"})


@PROGRAMS
def test_it_is_the_tests_own_process(site: Site, program: tuple[str, ...]) -> None:
    with Server(site, program=program) as server:
        assert server.process.poll() is None
        assert Path(f"/proc/{server.pid}/cwd").resolve() == site.folder.resolve()
        server.kill()
        assert server.process.returncode == -signal.SIGKILL


def inherited(pid: int) -> dict[str, object]:
    """What a process has from the one that started it: what the kernel says of it, its limits, and the kinds of its descriptors."""
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    names = ("PPid", "Umask", "Uid", "Gid", "Groups", "CapEff", "NoNewPrivs")
    # posix_spawn(3) leaves one of the C library's own ignored, and takes back what a shell ignored in the background.
    signals = ~(1 << 31 | 1 << signal.SIGINT - 1 | 1 << signal.SIGQUIT - 1)
    ends = {each.name: str(each.readlink()).partition(":")[0] for each in (proc / "fd").iterdir()}
    return {
        **{name: status[name] for name in names},
        **{name: int(status[name], 16) & signals for name in ("SigBlk", "SigIgn", "SigCgt")},
        "cwd": (proc / "cwd").readlink(),
        "limits": (proc / "limits").read_text(),
        "descriptors": ends,
    }


def test_a_worker_that_is_forked_has_what_one_that_is_started_has(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    workers: list[dict[str, object]] = []
    for starts in ("forked", "real"):
        monkeypatch.setattr("tests.servers.STARTS", starts)
        with Server(site, workers=2) as server:
            of_server = [each["pid"] for each in server.told("worker.serving")]
            names = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in of_server]
            assert all((b"forking.py" in name) is (starts == "forked") for name in names)
            workers.append(inherited(of_server[0]))
            assert workers[-1].pop("PPid") == str(server.pid)
            os.kill(of_server[0], signal.SIGKILL)
            assert "signal 9" in server.wait_for("worker.ended")["text"]
            server.events[:] = [event for event in server.events if event.get("event") != "worker.ended"]
    assert workers[0] == workers[1]


def test_a_process_that_takes_the_place_of_a_forked_one_is_forked_as_are_its_workers(site: Site) -> None:
    server = Dynasty(site, workers=2, listen={"control": str(site.folder / "control")})
    server.start()
    try:
        first = inherited(server.pid)
        assert server.restart()["problems"] == []
        server.wait_for("restart.done")
        later = inherited(server.now)
        processes = [server.now, *(each["pid"] for each in server.told("worker.serving")[2:])]
        assert all(b"forking.py" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes)
    finally:
        server.end()
    own = {"PPid", "descriptors"}
    assert {name: later[name] for name in later.keys() - own} == {name: first[name] for name in later.keys() - own}


def test_what_an_interpreter_finds_at_its_start_is_found_by_one_that_starts(tmp_path: Path) -> None:
    forking = forks(PATH)
    assert forking.fits(TWIST, environment(tmp_path))
    (tmp_path / "sitecustomize.py").touch()
    assert not forking.fits(TWIST, environment(tmp_path))
    assert not forking.fits(TWIST, {**environment(), "LD_LIBRARY_PATH": str(tmp_path)})
    assert not forking.fits(["prlimit", *TWIST], environment())
