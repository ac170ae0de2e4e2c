"""The container: what its file promises, and, with TEST_DEBIANS and podman, an image that is built of it and serves."""

import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

from mailserver.tls.certificates import self_signed
from tests.install.debian import TREES, Debian
from tests.test_packaging import AS_DATA, sdist
from tests.waiting import eventually

__all__ = ["sdist"]

ROOT = Path(__file__).parents[2]
FILE = (ROOT / "Containerfile").read_text("utf-8")

AS_IN_PAGE = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/run/mailserver:mode=1777")

HERE = (
    "--network=none",
    "--no-healthcheck",
    "--cgroups=disabled",
    "--ulimit=nofile=4096:4096",
    "--ulimit=nproc=1024:1024",
)
"""What an engine inside of another one cannot do: a network of its own, timers of systemd, groups, and the limits of the machine."""


def test_the_ports_that_it_publishes_are_those_of_its_settings_and_need_no_root():
    settings = tomllib.loads((ROOT / "etc/container/mailserver.toml").read_text("utf-8"))
    served = {int(endpoint.split(":")[1]) for endpoints in settings["listen"].values() for endpoint in endpoints}
    published = {int(port) for port in re.search(r"(?m)^EXPOSE (.*)$", FILE)[1].split()}
    assert served <= published
    assert min(published) >= 1024


def test_it_has_all_extras_that_a_server_uses_and_that_come_as_wheels():
    given = re.search(r"(?m)^ARG EXTRAS=(.*)$", FILE)[1].split(",")
    wheels = re.search(r"(?m)^WHEELS := (.*)$", (ROOT / "Makefile").read_text("utf-8"))[1].split(",")
    assert {*given, "migrate"} == set(wheels)  # whose bars are for a terminal


def test_what_it_is_made_without_is_what_git_ignores():
    ignored = set((ROOT / ".containerignore").read_text("utf-8").split())
    assert {".git", ".venv", "var", "build", "dist", "**/__pycache__"} <= ignored


def test_the_options_of_the_page_are_those_that_are_tested():
    page = re.sub(r"\\\n *", "", (ROOT / "docs/install.md").read_text("utf-8")).replace("--tmpfs ", "--tmpfs=")
    (line,) = [line for line in page.splitlines() if line.startswith("podman run -d")]
    assert set(AS_IN_PAGE) <= set(line.split())


def podman(*arguments, check=True):
    """Podman in a view of the machine that has one kind of control groups, since crun refuses two kinds."""
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null || true; exec podman "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout[-8000:]
    return done.stdout


@pytest.fixture(scope="module")
def image(sdist, tmp_path_factory):
    """Built from the sdist, on a base that debootstrap made."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("podman is not here, or we are not root")
    folder = tmp_path_factory.mktemp("image")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **AS_DATA)
    with Debian.bare("trixie") as debian, tarfile.open(folder / "base.tar", "w") as archive:
        archive.add(debian.root, ".")
    podman("import", "-q", str(folder / "base.tar"), "localhost/mailserver-test-base")
    base = "--build-arg=BASE=localhost/mailserver-test-base"
    podman(
        "build", "-q", "--isolation=chroot", "--format=docker", base, "-t=mailserver-test", str(next(folder.glob("*/")))
    )
    yield "mailserver-test"
    podman("rmi", "--force", "mailserver-test", "localhost/mailserver-test-base")


@pytest.fixture
def running(image, tmp_path):
    """A container, with a user and a certificate that are mounted into it."""
    certificate, key = self_signed(["localhost"])
    files = {"cert.pem": certificate, "key.pem": key, "users": b"alice:{PLAIN}wonderland\n"}
    mounts = []
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        os.chown(path, 5000, 5000)
        path.chmod(0o400)
        mounts.append(f"--volume={path}:/etc/mailserver/{name}:ro")
    name = f"mailserver-test-{os.getpid()}"
    podman("run", "--detach", "--name", name, *AS_IN_PAGE, *HERE, *mounts, f"--volume={name}:/var/vmail:U", image)
    yield name
    podman("rm", "--force", "--volumes", name)
    podman("volume", "rm", "--force", name)


@pytest.mark.skipif(not TREES, reason="takes minutes and a network: TEST_DEBIANS names a folder for its trees")
def test_it_serves_without_root_without_rights_and_on_a_root_that_cannot_be_written(running):
    eventually(
        lambda: "POP3S" in podman("exec", running, "mailserver", "status", check=False), lambda: podman("logs", running)
    )
    health = re.search(r"(?m)^HEALTHCHECK .* CMD \[(.*)\]$", FILE)[1].replace('"', "").split(", ")
    podman("exec", running, *health)
    assert "no problem found" in podman("exec", running, "mailserver", "check")
    told = podman("exec", running, "sh", "-c", "cat /proc/1/status; touch /etc/x /opt/x /usr/x 2>&1 || true")
    assert re.search(r"^Uid:\t5000\t5000\t5000\t5000$", told, re.MULTILINE)
    assert re.findall(r"^Cap\w+:\t(.*)$", told, re.MULTILINE) == ["0" * 16] * 5
    assert told.count("Read-only file system") == 3
    podman("stop", "--time=20", running)
    assert podman("wait", running) == "0\n"
