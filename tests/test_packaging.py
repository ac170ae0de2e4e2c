"""What is shipped: the wheel and the sdist carry the plugin, and an installed wheel is found by twist."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mailserver

ROOT = Path(__file__).parent.parent
PLUGINS = {"twisted/plugins/mailserver_plugin.py", "twisted/plugins/mailserver_checkers.py"}
LITTER = shutil.ignore_patterns(".*", "var", "build", "dist", "tests.*", "*.egg-info", "__pycache__", "dropin.cache")

AS_DATA = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""How an archive is unpacked; Debian 12's Python 3.11.2 has no filters yet."""

COMPILED = "mailserver/protocol/_stuffing."

SHARE = "share/mailserver"
"""Where an installed environment has what stands in etc/."""

COMPLETIONS = {
    "bash": "share/bash-completion/completions",
    "fish": "share/fish/vendor_completions.d",
    "zsh": "share/zsh/site-functions",
}
"""Where each shell looks."""

ELSEWHERE = {
    "man": lambda name: f"share/man/man{name.name[-1]}/{name.name}",
    "completion": lambda name: f"{COMPLETIONS[name.parts[1]]}/{name.name}",
}
"""Folders of etc/ whose files the system looks for at a place of theirs, and that place for each path."""

DEBIAN_13 = {
    "argon2-cffi": ("argon2", "21.1.0"),
    "bcrypt": ("bcrypt", "4.2.0"),
    "click": ("click", "8.1.8"),
    "cryptography": ("cryptography", "43.0.0"),
    "gssapi": ("gssapi", "1.9.0"),
    "prometheus-client": ("prometheus-client", "0.21.1"),
    "psycopg": ("psycopg", "3.2.6"),
    "PyMySQL": ("pymysql", "1.1.1"),
    "pyopenssl": ("openssl", "25.0.0"),
    "rich": ("rich", "13.9.4"),
    "service-identity": ("service-identity", "24.2.0"),
    "twisted": ("twisted", "24.11.0"),
    "zope.interface": ("zope.interface", "7.2"),
}
"""What Debian 13 has of our dependencies, without its python3-, and in which version; the package in debian/ runs with it."""

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""


def build(kind, source, target, **environment):
    """Build with the backend alone, as a front end does: what it needs is installed, so no network."""
    run = subprocess.run(
        [sys.executable, "-c", BUILD, kind, target],
        cwd=source,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return target / run.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    tree = shutil.copytree(ROOT, tmp_path_factory.mktemp("tree") / "tree", ignore=LITTER)
    return build("sdist", tree, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the sdist, so that what is missing there is missed."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **AS_DATA)
    return build("wheel", next(folder.iterdir()), sdist.parent)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel in it; its dependencies are those of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    pip = [sys.executable, "-m", "pip", f"--python={python}", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def expected():
    """The package's files in a wheel, except what a compiler made of them."""
    sources = [path for suffix in ("py", "c", "css") for path in (ROOT / "mailserver").rglob(f"*.{suffix}")]
    return {str(path.relative_to(ROOT)) for path in sources} | {"mailserver/py.typed"}


def shared():
    """Where each file of etc/ is in an installed environment."""
    for path in sorted((ROOT / "etc").rglob("*")):
        if path.is_file():
            name = path.relative_to(ROOT / "etc")
            place = ELSEWHERE.get(name.parts[0])
            yield place(name) if place else f"{SHARE}/{name.as_posix()}", path


def twist(python, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-P", "-m", "twisted", "mailserver", *arguments]
    run = subprocess.run(command, cwd=python.parent, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_wheel_holds_the_package_and_the_plugins_and_nothing_of_twisted_s_own(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.startswith("twisted/")} == PLUGINS
    assert {name for name in names if name.startswith("mailserver/") and not name.startswith(COMPILED)} == expected()


def test_the_wheel_holds_what_the_system_is_to_have_beside_the_packages(wheel):
    archive = zipfile.ZipFile(wheel)
    data = {name.partition(".data/data/")[2]: name for name in archive.namelist() if ".data/data/" in name}
    assert data.keys() == dict(shared()).keys(), "setup.cfg, [options.data_files]"
    for place, path in shared():
        assert archive.read(data[place]) == path.read_bytes()


def test_an_installed_wheel_has_them_where_the_pages_say(installed):
    environment = installed.parent.parent
    for place, path in shared():
        assert (environment / place).read_bytes() == path.read_bytes()


def test_without_a_compiler_the_wheel_is_the_same_but_for_what_it_would_have_made(sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "tree", **AS_DATA)
    wheel = build("wheel", next((tmp_path / "tree").iterdir()), tmp_path, CC="false")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.startswith("mailserver/")} == expected()


def test_an_installed_wheel_stuffs_in_c_where_there_was_a_compiler(wheel, installed):
    built = any(name.startswith(COMPILED) for name in zipfile.ZipFile(wheel).namelist())
    assert built or os.environ.get("TEST_PACKAGES") != "installed"
    code = "from mailserver.protocol.wire import FAST, Stuffer; print(FAST is not None, Stuffer().feed(b'.\\n' * 10000)[:7])"
    run = subprocess.run(
        [installed, "-P", "-c", code], cwd=installed.parent, capture_output=True, text=True, check=True
    )
    assert run.stdout == f"{built} {b'..' + bytes([13, 10]) + b'..' + bytes([13])}\n"


def test_the_sdist_holds_what_a_packager_needs(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        *PLUGINS,
        "LICENSE",
        "README.md",
        "Makefile",
        "Containerfile",
        "debian/control",
        "tests/test_packaging.py",
        *(path.relative_to(ROOT).as_posix() for _place, path in shared()),
    ):
        assert name in names


def test_an_installed_wheel_is_a_command_of_twist(installed):
    assert "--tls-certificate=" in twist(installed, "--help")
    code = "import mailserver; print(mailserver.__file__)"
    run = subprocess.run(
        [installed, "-P", "-c", code], cwd=installed.parent, capture_output=True, text=True, check=True
    )
    assert Path(run.stdout).is_relative_to(installed.parent.parent)


def test_an_installed_wheel_offers_its_checkers(installed):
    kinds = twist(installed, "--help-auth")
    assert "passwd-file" in kinds
    assert "kerberos-password" in kinds


def test_an_installed_wheel_is_a_command_of_its_own(installed):
    command = [installed.with_name("mailserver"), "--version"]
    run = subprocess.run(command, cwd=installed.parent, env={}, capture_output=True, text=True, check=True)
    assert run.stdout == f"mailserver {mailserver.__version__}\n"


def test_the_version_stands_in_both_places():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["metadata"]["version"] == mailserver.__version__


def test_all_is_what_comes_as_wheels_and_gssapi_which_is_built():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    wheels = re.search(r"(?m)^WHEELS := (.*)$", (ROOT / "Makefile").read_text())[1].split(",")
    built = [name for name in extras if name not in {"all", "test", "dev", "docs", *wheels}]
    assert built == ["gssapi"]
    assert set(extras["all"].split()) == set(" ".join(extras[name] for name in [*wheels, *built]).split())
    assert set(extras["test"].split()) >= set(" ".join(extras[name] for name in wheels).split())


def test_every_package_is_listed():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    listed = {line for line in settings["options"]["packages"].split() if line.startswith("mailserver")}
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".") for path in (ROOT / "mailserver").rglob("__init__.py")
    }
    assert listed == found


def test_what_setup_cfg_asks_for_debian_13_has():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    core = settings["options"]["install_requires"].strip().splitlines()
    extras = settings["options.extras_require"]["all"].strip().splitlines()
    bounds = {need.name: need.specifier for need in map(Requirement, [*core, *filter(None, extras)])}
    packaged = re.findall(
        r"(?m)^ python3-([\w.-]+)(?: \(>= (.*)\))?,", (ROOT / "debian/control").read_text().split("\n\n")[1]
    )
    names = {debian: name for name, (debian, _version) in DEBIAN_13.items()}
    assert {Requirement(each).name for each in core} | {
        names[debian] for debian, _bound in packaged
    } == DEBIAN_13.keys()
    for name, (_debian, version) in DEBIAN_13.items():
        assert version in bounds[name], name
    for debian, bound in packaged:
        assert not bound or f">={bound}" == bounds[names[debian]], debian
