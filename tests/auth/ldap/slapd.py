"""A real OpenLDAP for tests, started once for all tests of a run: on a Unix socket, a port, and a port with TLS.

base = slapd.people({b"alice": b"secret"}, alice={"accountStatus": "disabled"})     # entries of their own
with slapd.frozen(): ...                                                            # see tests/databases.py
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import md5
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.databases import Database, absent, free_port

SUFFIX: Final = "dc=example,dc=org"
ADMIN: Final = f"cn=admin,{SUFFIX}"
SERVICE: Final = f"cn=mailserver,{SUFFIX}"
PASSWORD: Final = "sesame of the directory"

ATTRIBUTES: Final = {
    "mailMessageStore": "1.3.6.1.4.1.7914.1.2.1.4 26 caseExactIA5Match",
    "mailQuotaSize": "1.3.6.1.4.1.7914.1.2.1.16 27 integerMatch",
    "accountStatus": "1.3.6.1.4.1.7914.1.2.1.12 26 caseIgnoreIA5Match",
    "mailAllowNets": "1.3.6.1.4.1.32473.1 26 caseIgnoreIA5Match",
    "mailAppPassword": "1.3.6.1.4.1.32473.2 40 octetStringMatch",
    "mailListeners": "1.3.6.1.4.1.32473.3 26 caseIgnoreIA5Match",
    "sAMAccountName": "1.3.6.1.4.1.32473.4 15 caseIgnoreMatch",
    "userAccountControl": "1.3.6.1.4.1.32473.5 27 integerMatch",
    "accountExpires": "1.3.6.1.4.1.32473.6 27 integerMatch",
    "unixHomeDirectory": "1.3.6.1.4.1.32473.7 26 caseExactIA5Match",
}
"""Attributes that mail servers' schemas and Active Directory have: identifier, syntax and equality."""

CONFIGURATION: Final = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
include {folder}/mail.schema
pidfile {folder}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {folder}/server.crt
TLSCertificateKeyFile {folder}/server.key
sizelimit size.soft=1000 size.hard=1000 size.prtotal=unlimited
database mdb
suffix "{suffix}"
rootdn "{admin}"
rootpw "{password}"
directory {folder}/data
maxsize 67108864
dbnosync
index uid eq
access to attrs=userPassword,mailAppPassword by dn.exact="{service}" read by anonymous auth by * none
access to * by users read by anonymous auth
"""


def schema() -> str:
    """The attributes, and an object class that may have them."""
    lines = []
    for name, words in ATTRIBUTES.items():
        identifier, syntax, equality = words.split()
        lines.append(
            f"attributetype ( {identifier} NAME '{name}' EQUALITY {equality} SYNTAX 1.3.6.1.4.1.1466.115.121.1.{syntax} )"
        )
    may = " $ ".join([*ATTRIBUTES, "homeDirectory"])
    lines.append(f"objectclass ( 1.3.6.1.4.1.7914.1.2.2.1 NAME 'qmailUser' SUP top AUXILIARY MAY ( {may} ) )")
    return "\n".join(lines) + "\n"


class Slapd(Database):
    """A directory with the suffix `SUFFIX`. `SERVICE` may search, with `PASSWORD`, and read hashes."""

    kind = "openldap"

    def __init__(self) -> None:
        self._program = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:/usr/libexec") or ""
        if not self._program or shutil.which("ldapadd") is None:
            absent("OpenLDAP is missing: apt-get install slapd ldap-utils")
        super().__init__()
        self.socket = self.folder / "ldapi"
        self.tls_port = 0
        self._write(self.folder / "mail.schema", schema().encode(), 0o644)
        text = CONFIGURATION.format(folder=self.folder, suffix=SUFFIX, admin=ADMIN, service=SERVICE, password=PASSWORD)
        self._write(self.folder / "slapd.conf", text.encode(), 0o600)
        self.run("mkdir", f"{self.folder}/data")
        self.start()
        self.add(
            entry(SUFFIX, objectClass=["dcObject", "organization"], o="Example", dc="example"),
            entry(SERVICE, objectClass=["organizationalRole", "simpleSecurityObject"], userPassword=PASSWORD),
        )

    @property
    def ldapi(self) -> str:
        """The URL of the Unix socket."""
        return f"ldapi://{self.socket}"

    def command(self) -> Sequence[str]:
        self.tls_port = self.tls_port or free_port()
        socket_url = f"ldapi://{quote(str(self.socket), safe='')}"
        urls = f"{socket_url} ldap://localhost:{self.port} ldaps://localhost:{self.tls_port}"
        return [self._program, "-f", f"{self.folder}/slapd.conf", "-h", urls, "-d", "0"]

    def connect(self, database: str) -> Any:
        found = socket.socket(socket.AF_UNIX)
        try:
            found.connect(str(self.socket))
        except OSError:
            found.close()
            raise
        return found

    def add(self, *entries: str) -> None:
        """Add entries."""
        self._tool("ldapadd", "\n".join(entries))

    def modify(self, *changes: str) -> None:
        """Make changes, in LDIF."""
        self._tool("ldapmodify", "\n\n".join(changes))

    def _tool(self, name: str, text: str) -> None:
        url = f"ldapi://{quote(str(self.socket), safe='')}"
        command = [name, "-x", "-H", url, "-D", ADMIN, "-w", PASSWORD]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def people(self, users: Mapping[bytes, bytes], **more: Mapping[str, Any]) -> str:
        """A new unit with these users and passwords, and `more` attributes of some; its DN."""
        self._names += 1
        base = f"ou=unit{self._names},{SUFFIX}"
        people = (person(base, name.decode(), word, **more.get(name.decode(), {})) for name, word in users.items())
        self.add(entry(base, objectClass="organizationalUnit"), *people)
        return base


def entry(dn: str, **attributes: Any) -> str:
    """An entry in LDIF."""
    lines = [f"dn:: {b64encode(dn.encode()).decode()}"]
    for name, values in attributes.items():
        for value in values if isinstance(values, list) else [values]:
            octets = value if isinstance(value, bytes) else str(value).encode()
            lines.append(f"{name}:: {b64encode(octets).decode()}")
    return "\n".join(lines) + "\n"


def person(base: str, name: str, password: bytes, **more: Any) -> str:
    """A user's entry, whose DN does not say the name, unless `more` has another `dn`."""
    attributes = {
        "objectClass": ["inetOrgPerson", "qmailUser"],
        "uid": name,
        "cn": "x",
        "sn": "x",
        "userPassword": password,
        "homeDirectory": "/home/" + md5(name.encode()).hexdigest(),
        **more,
    }
    dn = attributes.pop("dn", f"employeeNumber={md5(name.encode()).hexdigest()},{base}")
    return entry(dn, **{name: value for name, value in attributes.items() if value is not None})


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    """The OpenLDAP of this run."""
    server = Slapd()
    yield server
    server.close()
