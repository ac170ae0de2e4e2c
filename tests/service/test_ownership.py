"""Whose a Unix socket's file is."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.config.kinds import Listen
from mailserver.errors import ConfigError
from mailserver.service.binding import bind
from mailserver.service.ownership import Ownership, owned

ME, MINE = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())

ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away, or become somebody else")


def test_the_options_are_taken_out_of_the_endpoint() -> None:
    assert owned("unix:/run/pop3:mode=660:backlog=5") == ("unix:/run/pop3:mode=660:backlog=5", Ownership())
    assert owned(f"unix:/run/pop3:user={ME.pw_name}:mode=660") == ("unix:/run/pop3:mode=660", Ownership(ME.pw_uid))
    named = owned(f"unix:address=/a\\:user=b:group={MINE.gr_name}")
    assert named == ("unix:address=/a\\:user=b", Ownership(gid=MINE.gr_gid))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("user=nobody-of-this-name", 'there is no user "nobody-of-this-name" on this machine'),
        ("group=no-such-group", 'there is no group "no-such-group" on this machine'),
        (f"group={MINE.gr_name}:group={MINE.gr_name}", "its group is given twice"),
    ],
)
def test_a_name_of_nobody_is_told(options: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        owned(f"unix:/run/pop3:{options}")


class OwnershipTests(TestCase):
    def path(self) -> Path:
        folder = TemporaryDirectory(dir="/tmp")  # a socket's path must be short, wherever the tests are
        self.addCleanup(folder.cleanup)
        return Path(folder.name) / "socket"

    async def bound(self, options: str) -> Path:
        path = self.path()
        (bound,) = await bind(Listen(pop3=(f"unix:{path}:{options}",)), reactor)
        self.addCleanup(bound.port.stopListening)
        return path

    async def test_the_file_is_theirs_before_anybody_is_served(self) -> None:
        status = (await self.bound(f"mode=660:user={ME.pw_name}:group={MINE.gr_name}")).lstat()
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert (status.st_uid, status.st_gid) == (ME.pw_uid, MINE.gr_gid)

    @ROOT_ALONE
    async def test_root_gives_it_to_a_group_of_others(self) -> None:
        status = (await self.bound("mode=660:group=mail")).lstat()
        assert (status.st_uid, status.st_gid) == (0, grp.getgrnam("mail").gr_gid)

    async def test_where_nobody_logs_in_the_file_is_open_to_everybody_only_if_the_endpoint_says_so(self) -> None:
        modes = {}
        for options in ("", ":backlog=5", ":mode=666", ":666"):
            path = self.path()
            (bound,) = await bind(Listen(lmtp=(f"unix:{path}{options}",)), reactor)
            self.addCleanup(bound.port.stopListening)
            modes[options] = stat.S_IMODE(path.lstat().st_mode)
        assert modes == {"": 0o660, ":backlog=5": 0o660, ":mode=666": 0o666, ":666": 0o666}
        assert stat.S_IMODE((await self.bound("backlog=5")).lstat().st_mode) == 0o666  # POP3 has its login

    async def test_a_mode_counts_also_where_it_stands_before_the_path(self) -> None:
        path = self.path()
        (bound,) = await bind(Listen(lmtp=(f"unix:mode=600:address={path}",)), reactor)
        self.addCleanup(bound.port.stopListening)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600

    async def test_a_name_of_nobody_is_a_problem_of_its_endpoint_and_leaves_nothing(self) -> None:
        path = self.path()
        with pytest.raises(ConfigError) as caught:
            await bind(Listen(pop3=(f"unix:{path}:group=no-such-group",)), reactor)
        (problem,) = caught.value.problems
        assert problem.startswith(f'listen.pop3: "unix:{path}:group=no-such-group" is not an endpoint such as unix:/')
        assert not path.exists()


@ROOT_ALONE
def test_a_group_that_only_root_could_give_it_to_is_told_and_leaves_nothing() -> None:
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # else the path would be the reason
        _give_as_nobody(Path(folder) / "socket")


def _give_as_nobody(path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    os.chown(path, nobody.pw_uid, nobody.pw_gid)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            with pytest.raises(PermissionError):
                Ownership(gid=grp.getgrnam("mail").gr_gid).give(os.fsencode(path))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
