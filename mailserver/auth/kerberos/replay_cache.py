"""The check of the replay cache, which alone prevents that a ticket seen on the wire is used a second time.

libkrb5 keeps it in a file that all processes of a user share. No call tells where; the manual page rcache_def does.
"""

from __future__ import annotations

import os
from typing import Final

from mailserver.auth.kerberos.keytab import serving_user
from mailserver.auth.kerberos.krb5 import Krb5
from mailserver.auth.kerberos.libkrb5 import KerberosUnavailable

DEFAULT_FOLDER: Final = "/var/tmp"  # noqa: S108 - libkrb5's choice; it checks the file's owner
REMEDY: Final = "set KRB5RCACHEDIR to a folder of this user's own"


def check_replay_cache(krb5: Krb5) -> None:
    """Check that there is a replay cache, and that this user can write to it. Errors: KerberosUnavailable."""
    kind, _, place = replay_cache(krb5).partition(":")
    if kind == "none":
        raise KerberosUnavailable(
            "the replay cache is switched off (by KRB5RCACHENAME, KRB5RCACHETYPE, or default_rcache_name in krb5.conf), "
            "and without it an eavesdropper can replay a login: remove that setting"
        )
    if kind == "dfl":
        place = _default_file()
    if kind not in {"dfl", "file2"} or "%{" in place:  # libkrb5 expands "%{...}" and checks other kinds itself
        return
    user = serving_user()
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KerberosUnavailable(
            f"the user {user} cannot write to the replay cache {place} ({error.strerror}): {REMEDY}"
        ) from None
    try:
        owner = os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
    if kind == "dfl" and owner != os.geteuid():
        raise KerberosUnavailable(
            f"the replay cache {place} does not belong to the user {user}: remove it, or {REMEDY}"
        )


def replay_cache(krb5: Krb5) -> str:
    """The cache that libkrb5 will use, ``TYPE:PLACE``: from the environment, from krb5.conf, or the default."""
    if name := os.environ.get("KRB5RCACHENAME"):
        return name
    if kind := os.environ.get("KRB5RCACHETYPE"):
        return f"{kind}:"
    return krb5.setting("default_rcache_name") or "dfl:"


def _default_file() -> str:
    folder = os.environ.get("KRB5RCACHEDIR") or os.environ.get("TMPDIR") or DEFAULT_FOLDER
    return f"{folder}/krb5_{os.geteuid()}.rcache2"
