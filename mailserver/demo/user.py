"""Who serves in ``make serve``, and how root touches nothing that this user could have prepared for it.

The folder is his from the first run on, so anything in it may be a link that he planted: to a file of root's that would be
written, or a folder whose owner would change. So what is done in it is done as him, by a process that has become him.
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
    """Who serves: we ourselves; when we are root, the owner of the folder, or nobody instead of root."""
    uid = os.geteuid() or var.stat().st_uid
    return pwd.getpwuid(uid) if uid else pwd.getpwnam("nobody")


def reachable(link: Path, user: pwd.struct_passwd) -> Path:
    """The folder, if the user can come to it; else one where he can, and the link leads there."""
    if all(_enters(folder, user) for folder in link.resolve().parents):
        return link
    if link.is_symlink() or any(link.iterdir()):
        sys.exit(f"{user.pw_name} cannot come to {link.resolve()}: empty this folder, and it will be made elsewhere")
    elsewhere = Path(tempfile.mkdtemp(prefix="mailserver-", dir="/var/tmp"))
    link.rmdir()
    link.symlink_to(elsewhere)
    return link


def _enters(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    return bool(status.st_mode & (stat.S_IXUSR if status.st_uid == user.pw_uid else stat.S_IXOTH))


def give(var: Path, user: pwd.struct_passwd) -> None:
    """Give the folder to the user, if it is root's and there is nothing in it yet: a link or a full one is somebody's."""
    if os.geteuid() != 0 or var.stat().st_uid == user.pw_uid:
        return
    descriptor = os.open(var, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != 0 or os.listdir(descriptor):  # noqa: PTH208 - of a descriptor
            sys.exit(f"{var} is not {user.pw_name}'s, and not empty: remove it, or give it to who is to serve")
        os.fchown(descriptor, user.pw_uid, user.pw_gid)
    finally:
        os.close(descriptor)


def as_user(user: pwd.struct_passwd, work: Callable[[], str]) -> str:
    """The work's answer, done as the user: by a child that becomes him for good, if we are root."""
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
    """Never returns into the parent's code, whatever happens."""
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.write(writing, work().encode())
    except SystemExit as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return os.EX_SOFTWARE
    except BaseException:  # noqa: BLE001 - it ends here, and must be seen
        traceback.print_exc()
        return os.EX_SOFTWARE
    return os.EX_OK
