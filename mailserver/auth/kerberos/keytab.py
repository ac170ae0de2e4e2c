"""The check of the keytab at the start, when an operator is there to read the error."""

from __future__ import annotations

import os
import pwd
import re
import socket
import stat
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from mailserver.auth.kerberos.krb5 import SERVICE, Krb5
from mailserver.auth.kerberos.libkrb5 import KerberosError, KerberosUnavailable

MAX_SHOWN: Final = 5
"""Principals of a keytab in an error message: a keytab of Active Directory may hold dozens."""

log = Logger()


def service_host(host: str) -> str:
    """A configured host in the form that principals have. Errors: ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9._-]*", host):
        raise ValueError(f'"{host}" is not a host name such as mail.example.org')
    return host.lower()


def check_keytab(krb5: Krb5, path: str, host: str) -> list[str]:
    """The keytab's principals of this service, at least one. Errors: KerberosUnavailable, also if it is unreadable."""
    try:
        mode = _mode_of_readable(path)
    except FileNotFoundError:
        raise KerberosUnavailable(
            f"there is no keytab {path}: {_extract(path, host)}, and bring the file here"
        ) from None
    except OSError as error:
        user = serving_user()
        raise KerberosUnavailable(
            f"the user {user} cannot read the keytab {path} ({error.strerror}): give access to this user alone, "
            f"chown {user} {path} && chmod 600 {path}, or setfacl -m u:{user}:r {path}"
        ) from None
    try:
        ours, others = krb5.keys(path, host)
    except KerberosError as error:
        raise KerberosUnavailable(f"{path} is not a keytab ({error}): look at it with  klist -k {path}") from None
    if not ours:
        found = ", ".join(others[:MAX_SHOWN]) or "nothing"
        raise KerberosUnavailable(
            f"the keytab {path} has no key of {SERVICE}/{host or '*'}, only of {found}: {_extract(path, host)}"
        )
    if mode & stat.S_IRWXO:
        log.warn("everybody on this machine can read the keytab {path}", event="kerberos.keytab.open", path=path)
    return ours


def _extract(path: str, host: str) -> str:
    """How to make the keytab. It may wait for the DNS, so it is asked only where there is trouble."""
    return f'on the KDC run  kadmin -q "ktadd -k {path} {SERVICE}/{host or socket.getfqdn()}"'


def _mode_of_readable(path: str) -> int:
    """The mode of a readable file; libkrb5 would report every error as "not found". Errors: OSError."""
    with Path(path).open("rb") as file:
        return os.fstat(file.fileno()).st_mode


def serving_user() -> str:
    """The name of the user that this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
