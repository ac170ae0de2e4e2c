"""The replay cache: the one thing that keeps a ticket seen on the wire from being used a second time.

libkrb5 keeps it, in a file that all processes of a user share. Where, it says in no call; its manual (rcache_def) does.
"""

from __future__ import annotations

import os
from typing import Final

from mailserver.auth.kerberos.keytab import serving_user
from mailserver.auth.kerberos.krb5 import Krb5
from mailserver.auth.kerberos.libkrb5 import KerberosUnavailable

DEFAULT_FOLDER: Final = "/var/tmp"  # noqa: S108 - libkrb5's choice; it minds who owns the file
REMEDY: Final = "set KRB5RCACHEDIR to a folder of this user's own"


def check_replay_cache(krb5: Krb5) -> None:
    """Make sure that there will be one, and that this user can write to it. Errors: KerberosUnavailable."""
    kind, _, place = replay_cache(krb5).partition(":")
    if kind == "none":
        raise KerberosUnavailable(
            "the replay cache is switched off (by KRB5RCACHENAME, KRB5RCACHETYPE, or default_rcache_name in krb5.conf), "
            "and without it whoever sees a login can repeat it: remove that setting"
        )
    if kind == "dfl":
        place = _default_file()
    if kind not in {"dfl", "file2"} or "%{" in place:  # libkrb5 expands these, and judges what we do not know
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
        raise KerberosUnavailable(f"the replay cache {place} is not the user {user}'s: remove it, or {REMEDY}")


def replay_cache(krb5: Krb5) -> str:
    """The cache that libkrb5 will use, ``TYPE:PLACE``: that of the environment, of krb5.conf, or the default."""
    if name := os.environ.get("KRB5RCACHENAME"):
        return name
    if kind := os.environ.get("KRB5RCACHETYPE"):
        return f"{kind}:"
    return krb5.setting("default_rcache_name") or "dfl:"


def _default_file() -> str:
    folder = os.environ.get("KRB5RCACHEDIR") or os.environ.get("TMPDIR") or DEFAULT_FOLDER
    return f"{folder}/krb5_{os.geteuid()}.rcache2"
