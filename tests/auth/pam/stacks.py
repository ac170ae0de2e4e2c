"""PAM stacks for tests: a folder with a service's file, whose modules need neither root nor a change of the system."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

SERVICE: Final = "mailserver"
PROBE: Final = Path(__file__).with_name("probe.c")


def absent(reason: str) -> None:
    """Skip, or fail where all packages are installed."""
    (pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip)(reason)


@cache
def module(name: str, package: str) -> str:
    """Where a module of the system is."""
    places = [f"{folder}/{name}.so" for folder in ("*", "*/*")]  # a search of all folders takes seconds
    found = sorted(
        path for root in ("/lib", "/usr/lib", "/usr/lib64") for place in places for path in Path(root).glob(place)
    )
    if not found:
        absent(f"{name} is missing: apt-get install {package}")
    return str(found[0])


@cache
def probe() -> str:
    """Our own module, whose arguments say what it does (probe.c)."""
    compiler = shutil.which("gcc")
    if compiler is None:
        absent("gcc is missing: apt-get install gcc")
    folder = tempfile.mkdtemp(prefix="mailserver-pam-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = f"{folder}/probe.so"
    subprocess.run([str(compiler), "-shared", "-fPIC", "-o", made, PROBE], check=True)
    os.chmod(folder, 0o755)  # noqa: PTH101 - a string is what the stack needs
    return made


def service(folder: Path, *lines: str) -> Path:
    """Write the service's file; its folder."""
    folder.mkdir(exist_ok=True)
    (folder / SERVICE).write_text("".join(f"{line}\n" for line in lines))
    return folder


def of_probe(folder: Path, *lines: str) -> Path:
    """A stack of the probe, with its arguments in each line; the first also does the account's part."""
    return service(
        folder, *(f"auth required {probe()} {line}" for line in lines), f"account required {probe()} {lines[0]}"
    )


def of_matrix(folder: Path, users: Mapping[bytes, bytes], *before: str) -> Path:
    """A stack with these users, behind other lines; its folder."""
    folder.mkdir(exist_ok=True)
    passwords = folder / "passwords"
    passwords.write_bytes(b"".join(b"%b:%b:%b\n" % (name, secret, SERVICE.encode()) for name, secret in users.items()))
    rule = f"required {module('pam_matrix', 'libpam-wrapper')} passdb={passwords}"
    return service(folder, *before, f"auth {rule}", f"account {rule}")


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet seen the end of."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> Iterator[int]:
    """These, and theirs."""
    for each in children(pid):
        yield each
        yield from descendants(each)


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has seen off does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def descriptors(pid: int) -> list[str]:
    """What a process has open."""
    return sorted(str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir())


def inheritable(pid: int) -> list[int]:
    """Which of these a program gets that the process starts."""
    flags = {int(each.name): each.read_text() for each in Path(f"/proc/{pid}/fdinfo").iterdir()}
    return sorted(
        number for number, text in flags.items() if not int(text.split("flags:")[1].split()[0], 8) & os.O_CLOEXEC
    )


def core_limit(pid: int) -> list[str]:
    """How large a core file of the process may be."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if "core" in line).split()[4:6]


def of_userdb(folder: Path, users: str) -> Path:
    """A stack with a Berkeley database, of names and passwords line by line; its folder."""
    folder.mkdir(exist_ok=True)
    load = shutil.which("db_load")
    if load is None:
        absent("db_load is missing: apt-get install db-util")
    command = [str(load), "-T", "-t", "hash", str(folder / "users.db")]
    subprocess.run(command, input=users.encode(), check=True)
    rule = f"required {module('pam_userdb', 'libpam-modules')} db={folder}/users"
    return service(folder, f"auth {rule}", f"account {rule}")
