"""The user that serves, and how a process started by root becomes this user for good."""

from __future__ import annotations

import os
import pwd

from twisted.logger import Logger

from mailserver.errors import ConfigError

log = Logger()


def become(name: str) -> None:
    """Take on the user's uid, gid and groups; there is no way back. Empty: stay. Errors: ConfigError."""
    if not name:
        if os.geteuid() == 0:
            log.warn("serving as root: give --user, the owner of the maildrops", event="service.root")
        return
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError([f'user: there is no user "{name}"; create it: adduser --system --group {name}']) from None
    if os.geteuid() == entry.pw_uid:
        return
    if os.geteuid() != 0:
        raise ConfigError([f"user: only root can become {name}: start as root, or leave user out"])
    os.initgroups(name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
