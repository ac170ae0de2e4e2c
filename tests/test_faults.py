"""Whose fault a failed start is: the operator's is told in words (78), ours with a traceback (70)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.servers import TWIST, TWISTD, Server, Site

PLUGIN = """
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.internet.defer import fail, succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from mailserver.errors import Unusable
from mailserver.interfaces import IPart

ERRORS = {
    "unusable": Unusable("the table is upside down; turn it over"),
    "os": FileNotFoundError(2, "No such file or directory", "/no/where"),
    "argument": InvalidAuthArgumentString("the argument is odd"),
    "absent": ModuleNotFoundError("No module named 'wonderland'", name="wonderland"),
    "attribute": AttributeError("a slip of ours"),
    "value": ValueError("a slip of ours"),
    "key": KeyError("a slip of ours"),
    "zero": ZeroDivisionError("a slip of ours"),
}


@implementer(IPart)
class Checker:
    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, error):
        self._error = error

    def start(self, reactor):
        return fail(self._error)

    def stop(self):
        return succeed(None)


@implementer(ICheckerFactory, IPlugin)
class Factory:
    authType = "faulty"
    authHelp = argStringFormat = "when:error"
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring):
        when, _, error = argstring.partition(":")
        if when == "make":
            raise ERRORS[error]
        return Checker(ERRORS[error])


faulty = Factory()
"""

PROGRAMS = pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
WORKERS = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Site() as made:
        plugins = made.folder / "plugged" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "faulty.py").write_text(PLUGIN)
        path = [str(made.folder / "plugged"), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
        yield made


def ended(site: Site, program: Sequence[str], description: str, workers: int) -> tuple[int, Server]:
    store = {"url": f"maildir:{site.folder}/{{user}}"}
    server = Server(site, program=program, workers=workers, auth={"checkers": [f"faulty:{description}"]}, store=store)
    server.launch()
    return server.wait(), server


@PROGRAMS
@WORKERS
@pytest.mark.parametrize("description", ["make:attribute", "make:value", "start:attribute", "start:value"])
def test_a_slip_in_a_checker_is_a_fault_with_its_traceback(
    site: Site, program: Sequence[str], workers: int, description: str
) -> None:
    status, server = ended(site, program, description, workers)
    assert status == os.EX_SOFTWARE, server.log()
    assert "Traceback" in server.log()
    assert "a slip of ours" in server.log()
    assert "mailserver: auth" not in server.log()


@pytest.mark.parametrize("description", ["make:key", "start:key", "make:zero", "start:zero"])
def test_so_is_any_other_slip(site: Site, description: str) -> None:
    status, server = ended(site, TWIST, description, 1)
    assert status == os.EX_SOFTWARE, server.log()
    assert "Traceback" in server.log()


TOLD = {
    "make:unusable": "auth.checkers: faulty: the table is upside down; turn it over",
    "start:unusable": "auth.checkers: the table is upside down; turn it over",
    "make:argument": "auth.checkers: faulty: the argument is odd",
    "make:os": "auth.checkers: faulty: /no/where: No such file or directory",
    "start:os": "auth.checkers: /no/where: No such file or directory",
    "make:absent": "auth.checkers: faulty: wonderland is not installed: ",
    "start:absent": "auth.checkers: wonderland is not installed: ",
}


@pytest.mark.parametrize(("description", "said"), TOLD.items(), ids=TOLD)
@WORKERS
def test_what_the_operator_can_mend_is_told_in_words(site: Site, workers: int, description: str, said: str) -> None:
    status, server = ended(site, TWIST, description, workers)
    assert status == os.EX_CONFIG, server.log()
    assert said in server.log()
    assert "Traceback" not in server.log()


@PROGRAMS
def test_a_fault_while_the_settings_are_read_is_none_of_the_operator_s(
    site: Site, program: Sequence[str], tmp_path: Path
) -> None:
    broken = "import mailserver.cli.launch as launch\nlaunch.load = None\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", path)
        server = Server(site, program=program)
        server.launch()
        assert server.wait() == os.EX_SOFTWARE, server.log()
    assert "TypeError" in server.log()
