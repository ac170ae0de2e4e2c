"""A bare Debian that boots, for tests: debootstrap makes it in a folder, and systemd-nspawn starts it with a systemd of its own.

    with Debian.bare("bookworm") as debian:
        debian.put("/root/dist", wheel)
        said = debian.boot("set -eux\\n...")

A tree costs a minute and is kept below the folder in TEST_DEBIANS, so that each test starts from a copy of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

TREES: Final = os.environ.get("TEST_DEBIANS", "")
"""The folder of the trees; "": these tests, which take minutes each and a network, are left out."""

PACKAGES: Final = "systemd-sysv,dbus"
"""What any installed Debian has, and debootstrap's smallest variant has not."""

UNIT: Final = """\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
# As a login of root's sets it.
Environment=HOME=/root
PassEnvironment=PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL
StandardOutput=append:/root/said
StandardError=inherit
ExecStart=/bin/bash /root/script
# Whatever became of it.
ExecStopPost=-/bin/sh -c 'journalctl --boot --no-pager --unit "mailserver*" >/root/journal'
ExecStopPost=/bin/sh -c 'echo $SERVICE_RESULT >/root/result; systemctl --no-block poweroff'
[Install]
WantedBy=default.target
"""

BOOT_SECONDS: Final = 900


class Debian:
    """A copy of a tree, which lasts as long as the ``with``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def bare(cls, suite: str) -> Debian:
        """What debootstrap makes of this release."""
        tree = Path(TREES, suite)
        if not (tree / "etc/debian_version").exists() or (tree / "debootstrap").exists():
            shutil.rmtree(tree, ignore_errors=True)
            run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(tree))
        root = Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=TREES))
        run("cp", "-a", f"{tree}/.", str(root))
        # The names, and the authorities, by which this machine reaches the packages.
        shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
        own = root / "usr/local/share/ca-certificates"
        own.mkdir(parents=True, exist_ok=True)
        for each in Path("/usr/local/share/ca-certificates").rglob("*.crt"):
            shutil.copyfile(each, own / each.name)
        return cls(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def put(self, folder: str, *paths: Path) -> None:
        """Copy files into a folder of its."""
        target = self.root / folder.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copy(path, target)

    def run(self, script: str) -> None:
        """Run this script of sh as root, without a boot. Errors: AssertionError."""
        mounted = f'mount -t proc proc {self.root}/proc && exec chroot {self.root} sh -ec "$1"'
        # Our own folder for temporary files is not in the tree, and ca-certificates cannot be configured without one.
        here = "export DEBIAN_FRONTEND=noninteractive; unset TMPDIR"
        run("unshare", "--mount", "sh", "-ec", mounted, "sh", f"{here}\n{script}")

    def boot(self, script: str, *options: str) -> str:
        """Boot, run this script of bash as root when all is up, and halt; what it said. Errors: AssertionError."""
        root = self.root / "root"
        (root / "script").write_text(script, "utf-8")
        (root / "said").write_bytes(b"")
        unit = self.root / "etc/systemd/system/script.service"
        unit.write_text(UNIT, "utf-8")
        wants = self.root / "etc/systemd/system/default.target.wants"
        wants.mkdir(exist_ok=True)
        link = wants / unit.name
        if not link.is_symlink():
            link.symlink_to(unit.relative_to(self.root / "etc/systemd/system").as_posix().join(("../", "")))
        passed = [f"--setenv={name}={os.environ[name]}" for name in ("PIP_FIND_LINKS",) if name in os.environ]
        command = [
            "systemd-nspawn",
            "-q",
            "--register=no",
            "--keep-unit",
            "--boot",
            *passed,
            *options,
            "-D",
            str(self.root),
        ]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as booted:
            told, _ = booted.communicate(timeout=BOOT_SECONDS)
        said = (root / "said").read_text("utf-8", "replace")
        if not (root / "result").exists():
            raise AssertionError(f"it did not boot:\n{told.decode(errors='replace')[-4000:]}")
        result = (root / "result").read_text("utf-8")
        assert result == "success\n", f"{said[-8000:]}\n{(root / 'journal').read_text('utf-8', 'replace')[-8000:]}"
        return said


def run(*command: str) -> None:
    """Run a command that must succeed; its words are shown where it does not."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-4000:]
