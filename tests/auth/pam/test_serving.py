"""Whole servers: who asks PAM has the rights that the others have given up."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import ssl
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.auth.pam.stacks import alive, descendants, of_matrix
from tests.rawpop3 import RawPOP3
from tests.servers import TWIST, TWISTD, Server, Site
from tests.waiting import eventually

PAGE = Path(__file__).parents[3] / "docs" / "users-pam.md"
UNITS = PAGE.parents[1] / "etc" / "systemd"
MESSAGE = b"Subject: hello\n\nworld\n"
USERS = {b"alice": b"tanstaaf"}
SERVING = "nobody"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site() as site:
        site.account("alice", "tanstaaf", messages=[MESSAGE])
        site.folder.chmod(0o755)
        if os.geteuid() == 0:
            entry = pwd.getpwnam(SERVING)
            for path in (site.folder, *site.folder.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        yield site


def settings(site: Site, checker: str, **more: Any) -> Mapping[str, Any]:
    return {"auth": {"checkers": [checker]}, "store": {"url": f"maildir:{site.folder}/mail/{{user}}/Maildir"}, **more}


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server, whose log is not checked for all that else may be in it: who becomes another user cannot write its coverage."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert b"tanstaaf" not in server.raw


def logs_in(port: int, tls: ssl.SSLContext | None = None) -> None:
    with RawPOP3(port, tls=tls) as client:
        client.login("alice", "tanstaaf")
        assert client.ok(b"STAT").split()[1] == b"1"
        client.quit()


def is_refused(port: int, tls: ssl.SSLContext | None = None) -> None:
    with RawPOP3(port, tls=tls) as client:
        client.ok(b"USER alice")
        assert client.command(b"PASS wrong").startswith(b"-ERR [AUTH]")


def of_root(folder: Path) -> Path:
    """A stack that only root can read."""
    of_matrix(folder, USERS)
    folder.chmod(0o700)
    return folder


@as_root
@pytest.mark.parametrize("workers", [1, 2])
def test_pam_is_asked_as_root_by_a_server_that_is_not(site: Site, tmp_path: Path, workers: int) -> None:
    stack = of_root(tmp_path / "stack")
    made = Server(site, **settings(site, f"pam:mailserver:folder={stack}", user=SERVING, workers=workers))
    with serving(made) as server:
        processes = [server.pid] if workers == 1 else [each["pid"] for each in server.told("worker.serving")]
        uid = pwd.getpwnam(SERVING).pw_uid
        assert {owner(pid) for pid in processes} == {uid}
        logs_in(server.pop3_port)
        is_refused(server.pop3_port)

        def asking() -> list[int]:
            return [each for pid in processes for each in descendants(pid)]

        eventually(lambda: len(asking()) == 2 * workers, lambda: f"{asking()} run")  # the children have ended
        known = asking()
        assert {owner(each) for each in known} == {0}
    eventually(lambda: not any(map(alive, known)), lambda: "who asks PAM outlives the server")


@as_root
def test_also_where_twistd_gives_up_root(site: Site, tmp_path: Path) -> None:
    stack = of_root(tmp_path / "stack")
    uid = pwd.getpwnam(SERVING).pw_uid
    program = (*TWISTD[:-1], f"--uid={uid}", TWISTD[-1])
    with serving(Server(site, program=program, **settings(site, f"pam:mailserver:folder={stack}"))) as server:
        assert owner(server.pid) == uid
        logs_in(server.pop3_port)


def owner(pid: int) -> int:
    return int(re.findall(r"^Uid:\t(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])


def test_a_service_without_a_file_ends_the_start(site: Site, tmp_path: Path) -> None:
    server = Server(site, **settings(site, f"pam:mailserver:folder={tmp_path}"))
    server.launch()
    assert server.wait() == 78
    assert f"there is no {tmp_path}/mailserver, so PAM would refuse everybody: create it" in server.log()


def own_etc(folder: Path, site: Site, rules: str) -> str:
    """A script that runs its arguments where /etc has other users, alice with a password of crypt, and our service's file."""
    shutil.copytree("/etc/pam.d", folder / "pam.d")
    (folder / "pam.d" / "mailserver").write_text(rules)
    entry = pwd.getpwnam(SERVING)
    hashed = subprocess.run(["openssl", "passwd", "-6", "tanstaaf"], capture_output=True, text=True, check=True).stdout
    alice = f"alice:x:4711:4711::{site.folder}/mail/alice:/bin/sh"
    vmail = f"vmail:x:{entry.pw_uid}:{entry.pw_gid}::/:/bin/false"
    more = {"passwd": f"{alice}\n{vmail}\n", "shadow": f"alice:{hashed.strip()}:20000::::::\n"}
    for name, lines in more.items():
        (folder / name).write_text(lines + Path("/etc", name).read_text())  # of two with one name the first counts
    (folder / "shadow").chmod(0o600)
    mounts = [f"mount --bind {folder / name} /etc/{name}" for name in (*more, "pam.d")]
    return " && ".join([*mounts, 'exec "$@"'])


def as_by_the_unit() -> list[str]:
    """A command that has the rights of the systemd unit with its drop-in for PAM, and no more."""
    assert "NoNewPrivileges=yes" in (UNITS / "mailserver.service").read_text("utf-8")
    names = re.findall(r"^CapabilityBoundingSet=(.*)$", (UNITS / "pam.conf").read_text("utf-8"), re.MULTILINE)[
        0
    ].split()
    kept = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in names)
    return ["setpriv", "--no-new-privs", f"--bounding-set=-all{kept}"]


@as_root
@pytest.mark.skipif(not Path("/etc/pam.d/common-auth").is_file(), reason="the page's rules are Debian's")
def test_the_configuration_of_the_page_with_the_systems_own_users(site: Site, tmp_path: Path) -> None:
    """pam_unix, in a namespace with its own /etc, and with the rights of our systemd unit: the machine knows nothing of these users."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace with its own /etc can be made here")
    text = PAGE.read_text("utf-8")
    (configured,) = re.findall(r"```toml\n(user =.*?)```", text, re.DOTALL)
    for old, new in (
        ("/etc/mailserver/cert.pem", str(site.certificate)),
        ("/etc/mailserver/key.pem", str(site.key)),
        ("tcp:995", "tcp:0:interface=127.0.0.1"),
        ("/var/vmail/{user}", f"{site.folder}/mail/{{user}}/Maildir"),
    ):
        assert old in configured
        configured = configured.replace(old, new)
    script = own_etc(tmp_path, site, re.findall(r"```\n(@include.*?)```", text, re.DOTALL)[0])
    server = Server(site, program=("unshare", "-m", "sh", "-c", script, "sh", *as_by_the_unit(), *TWIST))
    server.settings = tomllib.loads(configured)
    with serving(server):
        logs_in(server.pop3s_port, site.client_tls())
        is_refused(server.pop3s_port, site.client_tls())
        server.wait_for_text("wrong password, says PAM")
