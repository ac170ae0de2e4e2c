"""What stands behind ``pam:`` in ``--auth``: the service, and options."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from mailserver.names import user_name

SERVICE: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]*", re.ASCII)
"""The name of a service is that of its file; capitals never matter to PAM."""

NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)

MOST_SECONDS: Final = 300
"""No client waits longer, and an old password is to work for no longer."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where PAM's rules are, and for whom."""

    service: str
    """The file in /etc/pam.d."""
    min_uid: int = 1000
    """Users with a lower uid cannot log in, since they are the system's own; Debian and Fedora give people 1000 and more. Root never can."""
    domain: str = ""
    """Users log in as user@domain, and are the system's users by the bare name. Others are refused at once."""
    timeout: int = 15
    """The seconds after which a login without an answer ends with [SYS/TEMP]."""
    remember: int = 0
    """The seconds for which a right password is remembered. PAM tells of no change: so long, an old password or a locked user still works."""
    processes: int = 4
    """How many logins PAM is asked for at a time."""
    folder: str = ""
    """A folder with the service's file, in place of /etc/pam.d."""

    @classmethod
    def read(cls, written: str) -> Self:
        """The options of ``SERVICE[:name=value]...``. Errors: ValueError."""
        service, *words = written.strip().split(":")
        if not SERVICE.fullmatch(service):
            raise ValueError("it needs the name of a service, as that of its file in /etc/pam.d: pam:mailserver")
        given: dict[str, Any] = {}
        kinds: dict[str, type[Any]] = {each.name: type(each.default) for each in fields(cls) if each.name != "service"}
        for name, _, value in (word.partition("=") for word in words):
            if name not in kinds or not value:
                raise ValueError(f'"{name}" is none of {", ".join(f"{each}=" for each in kinds)}')
            if kinds[name] is int and not NUMBER.fullmatch(value):
                raise ValueError(f"{name} must be a number")
            given[name] = kinds[name](value)
        return cls(service, **given)

    def __post_init__(self) -> None:
        if self.domain and (
            user_name(self.domain) != self.domain or self.domain != self.domain.lower() or "@" in self.domain
        ):
            raise ValueError("the domain must be one in lower case, such as example.org")
        if self.folder and not self.folder.startswith("/"):
            raise ValueError("the folder must be a path from the root, such as /etc/mailserver/pam.d")
        for name, least, most in (("timeout", 1, MOST_SECONDS), ("remember", 0, MOST_SECONDS), ("processes", 1, 64)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from {least} to {most}")
