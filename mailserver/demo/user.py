"""The user that serves in ``make serve``, and how root avoids traps that this user could set.

The user owns the folder after the first run, so anything in it may be a planted link: to a file of root's that would be
overwritten, or to a folder whose owner would change. Therefore all work in it is done by a process that has become the user.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path


def serving_user(var: Path) -> pwd.struct_passwd:
    """The user that serves: this process's user; for root, the owner of the folder, or "nobody" if that is root, too."""
    uid = os.geteuid() or var.stat().st_uid
    return pwd.getpwuid(uid) if uid else pwd.getpwnam("nobody")


def reachable(link: Path, user: pwd.struct_passwd) -> Path:
    """The folder, if the user can reach it; otherwise a link to a new one that the user can reach."""
    if all(_enters(folder, user) for folder in link.resolve().parents):
        return link
    if link.is_symlink() or any(link.iterdir()):
        sys.exit(
            f"the user {user.pw_name} cannot reach {link.resolve()}: empty this folder, and it will be made elsewhere"
        )
    elsewhere = Path(tempfile.mkdtemp(prefix="mailserver-", dir="/var/tmp"))
    link.rmdir()
    link.symlink_to(elsewhere)
    return link


def _enters(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    return bool(status.st_mode & (stat.S_IXUSR if status.st_uid == user.pw_uid else stat.S_IXOTH))


def give(var: Path, user: pwd.struct_passwd) -> None:
    """Give the folder to the user if it is root's and empty; a link, or a folder with files, must not change its owner."""
    if os.geteuid() != 0 or var.stat().st_uid == user.pw_uid:
        return
    descriptor = os.open(var, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != 0 or os.listdir(descriptor):  # noqa: PTH208 - of a descriptor
            sys.exit(
                f"{var} is not empty and does not belong to {user.pw_name}: remove it, or give it to the user that serves"
            )
        os.fchown(descriptor, user.pw_uid, user.pw_gid)
    finally:
        os.close(descriptor)


def as_user(user: pwd.struct_passwd, work: Callable[[], str]) -> str:
    """Do the work as the user, and answer its result; as root, by a child process that becomes the user for good."""
    if os.geteuid() != 0:
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_child(user, work, writing))
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answers:
        answer = answers.read()
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(os.waitstatus_to_exitcode(status))
    return answer


def _child(user: pwd.struct_passwd, work: Callable[[], str], writing: int) -> int:
    """Do the work in the child, and answer its exit status; it never raises into the parent's code."""
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.write(writing, work().encode())
    except SystemExit as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return os.EX_SOFTWARE
    except BaseException:  # noqa: BLE001 - the process ends here, so show the error
        traceback.print_exc()
        return os.EX_SOFTWARE
    return os.EX_OK
