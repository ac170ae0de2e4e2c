"""``make serve KERBEROS=demo``: a Kerberos realm for one run of the demonstration, with its KDC on loopback.

All its files are in one folder. It does not use the machine's own Kerberos configuration.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "DEMO.TEST"
"""The realm's name; RFC 6761 reserves .test for such uses."""

PACKAGES: Final = "krb5-kdc krb5-admin-server krb5-user fetchmail"
PROGRAMS: Final = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "fetchmail")
PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

START_SECONDS: Final = 10.0
"""A KDC listens after some milliseconds; a busy machine may need longer."""

# Over TCP only: one free port is easier to find than a number that is free for TCP and UDP.
KRB5_CONF: Final = """\
[libdefaults]
default_realm = {name}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
[realms]
{name} = {{
kdc = 127.0.0.1:{port}
}}
[domain_realm]
localhost = {name}
{host} = {name}
"""

KDC_CONF: Final = """\
[kdcdefaults]
kdc_listen = ""
kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{name} = {{
database_name = {folder}/principal
key_stash_file = {folder}/stash
acl_file = {folder}/acl
}}
[logging]
kdc = FILE:{folder}/kdc.log
admin_server = FILE:{folder}/kadmin.log
"""


@dataclass(frozen=True, slots=True)
class DemoRealm:
    """The realm's folder and port; `make_realm` makes it."""

    folder: Path
    port: int

    @property
    def keytab(self) -> Path:
        """The keys of the POP3 server."""
        return self.folder / "pop.keytab"

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables by which Kerberos clients and servers find the realm."""
        return {
            "KRB5_CONFIG": f"{self.folder}/krb5.conf",
            "KRB5_KDC_PROFILE": f"{self.folder}/kdc.conf",
            "KRB5RCACHEDIR": str(self.folder),
        }

    def start(self, user: pwd.struct_passwd) -> None:
        """Start the KDC as `user`. It ends with this process, however that ends."""
        setpriv = ["setpriv", "--pdeathsig", "TERM"]
        if os.geteuid() == 0:
            setpriv += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
        command = [*setpriv, _path_of("krb5kdc"), "-n", "-r", NAME]
        environment = {**os.environ, **self.environment}
        quiet = subprocess.DEVNULL  # it has a log
        kdc = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)  # noqa: S603 - see PROGRAMS
        until = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if kdc.poll() is not None or time.monotonic() > until:
                kdc.kill()
                sys.exit(f"krb5kdc does not serve: see {self.folder}/kdc.log")
            time.sleep(0.02)

    def run(self, program: str, *arguments: str, stdin: str = "") -> None:
        """Run one of Kerberos's programs."""
        ended = subprocess.run(  # noqa: S603 - see PROGRAMS
            [_path_of(program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
            check=False,
        )
        if ended.returncode:
            sys.exit(f"{program} failed: {ended.stderr}")


def missing() -> list[str]:
    """The programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]


def hosts() -> set[str]:
    """The names of this machine's loopback. Call it as root: it loads a codec, which the user may not be able to read."""
    return {"localhost", _canonical("localhost")}


def make_realm(realm: DemoRealm, hosts: set[str], account: str, password: str) -> None:
    """Make a new realm: its database, a principal with this password, and the POP3 server's keytab for these hosts."""
    folder, port = realm.folder, realm.port
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    values = {"name": NAME, "port": port, "folder": folder, "host": max(hosts, key=lambda host: host != "localhost")}
    (folder / "krb5.conf").write_text(KRB5_CONF.format(**values), encoding="utf-8")
    (folder / "kdc.conf").write_text(KDC_CONF.format(**values), encoding="utf-8")
    realm.run("kdb5_util", "create", "-r", NAME, "-s", "-W", "-P", secrets.token_urlsafe())
    commands = [f"addprinc -pw {password} {account}"]
    for host in hosts:
        commands += [f"addprinc -randkey pop/{host}", f"ktadd -k {realm.keytab} pop/{host}"]
    realm.run("kadmin.local", "-r", NAME, stdin="".join(f"{command}\n" for command in commands))


def _canonical(host: str) -> str:
    """The host's canonical name, which fetchmail uses: the first in /etc/hosts."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    return found[0][3] or host


def _path_of(program: str) -> str:
    return shutil.which(program, path=PATH) or program


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0
