"""What is wrong at a start is told in one run, each with its place and what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mailserver.config.problems import Problems
from mailserver.config.reading import Misread, decode
from mailserver.errors import ConfigError
from mailserver.modules import unusable_for, why_not
from tests.servers import TWIST, TWISTD, Server, Site, toml


def test_every_problem_is_kept_once_and_a_fault_passes() -> None:
    problems = Problems({"auth.checkers": "here:7", "tls": "here:9"})
    problems.check()
    with problems.collect("auth.checkers"):
        raise ConfigError(["auth.checkers: one", "user: two"])
    with problems.collect("tls.key"):
        raise FileNotFoundError(2, "No such file or directory", "/no/where")
    with problems.collect("tls.key"):
        raise OSError(5, "Input/output error")
    with problems.collect("user", ValueError):
        raise ValueError("two")
    with pytest.raises(ZeroDivisionError), problems.collect("user"):
        raise ZeroDivisionError
    with pytest.raises(ConfigError) as caught:
        problems.check()
    assert caught.value.problems == (
        "here:7: auth.checkers: one",
        "user: two",
        "here:9: tls.key: /no/where: No such file or directory",
        "here:9: tls.key: Input/output error",
    )


def test_a_package_that_is_not_installed_is_told_with_the_extra_that_brings_it() -> None:
    error = ModuleNotFoundError("No module named 'wonderland'", name="wonderland")
    assert why_not(error, "hashes") == "wonderland is not installed: pip install twisted-mailserver[hashes]"
    assert str(unusable_for(error)) == "wonderland is not installed: install the package that contains it"
    broken = unusable_for(ImportError("libfoo.so: cannot open", name="foo._c"))
    assert str(broken).startswith("foo._c cannot be imported: libfoo")
    assert why_not(ImportError("odd")).startswith("a module cannot be imported: odd")


@pytest.mark.parametrize("package", [False, True])
def test_a_package_that_may_not_be_read_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: bool
) -> None:
    (tmp_path / "wonderland").mkdir()
    closed = tmp_path / "wonderland" if package else tmp_path
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "nowhere"), str(tmp_path)])
    scandir = os.scandir

    def refusing(path: Path) -> object:  # root may read everything
        if Path(path) == closed:
            raise PermissionError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)  # nobody's
    told = why_not(ModuleNotFoundError("No module named 'wonderland.hash'", name="wonderland.hash"), "hashes")
    assert told.startswith(f"wonderland.hash cannot be imported: user 4000000 may not enter {closed}; ")
    assert "pip install" not in told


def test_what_the_path_ends_in_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wonderland").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert "is not installed" in why_not(ModuleNotFoundError(name="wonderland"))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
def test_one_run_tells_all_that_is_wrong_each_with_its_line(program: tuple[str, ...], workers: int) -> None:
    with Site() as site:
        server = Server(
            site,
            program=program,
            workers=workers,
            user="nobody-of-this-name",
            listen={"pop3": ["tcp:x"], "pop3s": ["tcp:"]},
            tls={"certificate": "/no/where.pem", "key": "/no/where.key"},
            auth={"checkers": ["memory:", "passwd-file:/no/where"], "mechanisms": ["PLIAN"]},
            kerberos={"keytab": "/no/where.keytab", "map": ["alice"], "host": "no host"},
            sdps={"greeting": "x" * 200},
            hostname="h" * 255,
        )
        server.launch()
        assert server.wait() == os.EX_CONFIG
        told = [event["text"] for event in server.events if event["text"].startswith("mailserver: ")]
        lines = toml(server.settings).splitlines()
    expected = [
        "listen.pop3",
        "listen.pop3s",
        "user",
        "auth.checkers",
        "auth.mechanisms",
        "kerberos.map",
        "kerberos.host",
    ]
    expected += ["sdps.greeting", "tls"]
    for setting in expected:
        (text, *_more) = [text for text in told if f": {setting}: " in text]
        number = int(text.split(":")[2])
        assert lines[number - 1].startswith((setting.rpartition(".")[2] + " =", f"[{setting}]")), text
    assert any("/no/where: No such file" in text for text in told), told
    assert "Traceback" not in server.log()
    assert "_parse" not in server.log()


MISREAD = {
    "hostnam": "mail.example.org",
    "user": "nobody-of-this-name",
    "workers": 500,
    "listen": {"pop3": ["tcp:x"], "pop3s": ["ssl:0"]},
    "tls": {"certificate": "/no/where.pem", "key": "/no/where.key"},
    "auth": {
        "checkers": ["passwd-file:/no/where", "passwd-fil:/no/where"],
        "mechanisms": ["PLIAN"],
        "cleartxt": "loopback",
    },
    "kerberos": {"keytab": "/no/where.keytab", "map": ["alice"]},
    "names": {"default_domain": "Example.org"},
    "store": {"url": "maildri:/no/where"},
    "limits": {"idle_seconds": "long"},
}
SAID_OF_IT = {
    "hostnam": ['unknown setting "hostnam"'],
    "user": ['there is no user "nobody-of-this-name"'],
    "workers": ["500"],
    "pop3": ['"tcp:x" is not an endpoint'],
    "pop3s": ["TLS is made by pop3s itself"],
    "[tls]": ["/no/where.pem: no such file", "/no/where.key: no such file"],
    "checkers": ["cannot read the passwd-file /no/where", 'no kind of checker is called "passwd-fil"'],
    "mechanisms": ["PLIAN"],
    "cleartxt": ['unknown setting "auth.cleartxt"'],
    "keytab": ["/no/where.keytab"],
    "map": ["alice"],
    "default_domain": ["Example.org"],
    "url": ["maildri"],
    "idle_seconds": ["idle_seconds"],
}


@pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
def test_settings_that_cannot_be_read_do_not_hide_what_is_wrong_with_the_others(program: tuple[str, ...]) -> None:
    with Site() as site:
        server = Server(site, program=program, **MISREAD)
        server.launch()
        assert server.wait() == os.EX_CONFIG
        told = [event["text"] for event in server.events if event["text"].startswith("mailserver: ")]
        lines = toml(server.settings).splitlines()
    assert "Traceback" not in server.log()
    found: dict[str, list[str]] = {}
    for text in told:
        found.setdefault(lines[int(text.split(":")[2]) - 1].partition(" =")[0], []).append(text)
    assert found.keys() == SAID_OF_IT.keys(), told
    for setting, said in SAID_OF_IT.items():
        assert len(found[setting]) == len(said), found[setting]
        assert all(any(each in text for text in found[setting]) for each in said), found[setting]


GIVEN = {"listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["unix"]}}


@pytest.mark.parametrize(
    ("data", "unsound", "sound"),
    [
        ({"usr": "vmail"}, "user", "listen.pop3"),
        ({"store": {"ur": "maildir:/mail"}}, "store.url", "auth.checkers"),
        ({"auth": {"checkers": ["unix"], "checker": []}}, "auth.mechanisms", "auth.checkers"),
        ({"tls": 3}, "tls.key", "auth.checkers"),
        ({"tls": {"certificates": [{"certificate": "a"}]}}, "tls.certificates", "tls.key"),
        ({"limits": {"idle_seconds": "long"}}, "limits", "limits.connections"),
    ],
)
def test_what_was_meant_otherwise_is_not_judged_by_its_default(data: object, unsound: str, sound: str) -> None:
    with pytest.raises(Misread) as caught:
        decode({**GIVEN, **data})
    problems = Problems.after(caught.value)
    assert not problems.sound(unsound)
    assert problems.sound(sound)
    with pytest.raises(ConfigError) as told:
        problems.check()
    assert told.value.problems == caught.value.problems
