"""The versions of all that a figure depends on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from cryptography.hazmat.backends.openssl.backend import backend

DEBIAN = Path("/usr/bin")


def build() -> str:
    """Name the interpreter that runs mailserver and its build: one with PGO takes a fifth to a third less CPU."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    # Debian's rules build with PGO by `make profile-opt`, which leaves no trace in the options.
    debian = Path("/etc/debian_version").exists() and Path(sys.executable).resolve().parent == DEBIAN
    optimised = debian or "--enable-optimizations" in options
    return f"CPython {sys.version.split()[0]}, built {'with' if optimised else 'without'} PGO"


def versions() -> dict[str, str]:
    """What a table must say beside its figures."""
    found = {
        "kernel": f"{platform.system()} {platform.release()} ({platform.machine()}), {os.cpu_count()} cores",
        "interpreter": build(),
        "Twisted": metadata.version("twisted"),
        "OpenSSL": f"{backend.openssl_version_text()} (of cryptography {metadata.version('cryptography')})",
    }
    if shutil.which("dovecot"):
        told = subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True).stdout
        found["Dovecot"] = told.split()[0]
    found["load before"] = f"{os.getloadavg()[0]:.1f}"
    return found
