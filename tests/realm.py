"""A Kerberos realm of the tests' own: a KDC on loopback, its principals and keytabs, and a client's side of an exchange.

    def test_a_ticket_is_taken(realm):                      # from tests.realm import realm
        with Initiator(realm, "alice") as client:
            ...                                             # client.ap_req goes out, client.check(ap_rep) afterwards

A `unittest.TestCase` gets it by an autouse fixture method: ``def _realm(self, realm): self.realm = realm``. The KDC is
started once for a whole run, whoever asks first, and ends with it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import pytest

PACKAGES: Final = "krb5-kdc krb5-admin-server krb5-user"
PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
START_SECONDS: Final = 120

USERS: Final = ("alice", "bob", "alice/admin", "root")
SERVICES: Final = ("pop/localhost", "pop/mail.kpop.test", "host/localhost")
"""All of them are in `Realm.keytab`."""

KRB5_CONF: Final = """
[libdefaults]
default_realm = {name}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
clockskew = {clockskew}
[realms]
{name} = {{
kdc = 127.0.0.1:{port}
{local}
}}
[domain_realm]
localhost = {name}
.kpop.test = {name}
"""

KDC_CONF: Final = """
[kdcdefaults]
kdc_listen = 127.0.0.1:{port}
kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{name} = {{
database_name = {folder}/principal
key_stash_file = {folder}/stash
acl_file = {folder}/kadm5.acl
max_life = 10h
supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
}}
[logging]
kdc = FILE:{folder}/kdc.log
"""


def password_of(user: str) -> str:
    """What `kinit` and the checker of passwords want to hear."""
    return f"sesame of {user}"


class Realm:
    """A realm with `USERS` and `SERVICES`. A second one of the same name has other keys: it plays the spoofed KDC."""

    def __init__(self, name: str = "KPOP.TEST") -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="mailserver-realm-")
        self.folder = Path(self._folder.name)
        self.keytab = self.folder / "pop.keytab"
        self._bound, self.port = _free_port()
        self.config = self.configuration("krb5.conf")
        (self.folder / "kdc.conf").write_text(KDC_CONF.format(name=name, folder=self.folder, port=self.port))
        self._caches: dict[str, Path] = {}
        self._kdc: subprocess.Popen[bytes] | None = None
        try:
            self._create()
            self.start()
        except BaseException:
            self.stop()
            raise

    def configuration(self, file: str, *, clockskew: int = 300, local: str = "", port: int | None = None) -> Path:
        """Another krb5.conf for this realm; `local` are further lines on the realm (``auth_to_local = ...``)."""
        path = self.folder / file
        port = self.port if port is None else port
        path.write_text(KRB5_CONF.format(name=self.name, port=port, clockskew=clockskew, local=local))
        return path

    def environment(self, user: str = "", config: Path | None = None) -> dict[str, str]:
        """The variables by which programs find this realm, and the ticket cache of `user`."""
        return {
            "KRB5_CONFIG": str(config or self.config),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),
            "KRB5_KTNAME": f"FILE:{self.keytab}",
            "KRB5CCNAME": f"FILE:{self.tickets(user) if user else self.folder / 'no-tickets'}",
            "KRB5RCACHEDIR": str(self.folder),
        }

    def tickets(self, user: str) -> Path:
        """A ticket cache with the TGT of `user`, got once."""
        if user not in self._caches:
            self._caches[user] = self.folder / f"tickets-{len(self._caches)}"
            self.kinit(user, self._caches[user])
        return self._caches[user]

    def kinit(self, user: str, cache: Path, *options: str) -> None:
        """Get tickets into a cache: ``"-l", "2s", "-S", "pop/localhost"`` gets a short one for the service itself."""
        self.run("kinit", *options, "-c", f"FILE:{cache}", user, stdin=password_of(user) + "\n")

    def kadmin(self, *commands: str) -> None:
        """Run ``kadmin.local``, with a line for each command."""
        self.run("kadmin.local", "-r", self.name, stdin="\n".join(commands) + "\n")

    def extract(self, keytab: Path, *services: str, rotate: bool = False) -> Path:
        """Add keys to a keytab: those in force, or with `rotate` new ones, which make the old worthless."""
        keep = "" if rotate else "-norandkey"
        self.kadmin(*(f"ktadd -k {keytab} {keep} {service}" for service in services))
        return keytab

    def run(self, program: str, *arguments: str, stdin: str = "") -> str:
        """Run a program of Kerberos's in this realm; its output."""
        ended = subprocess.run(
            [_path_of(program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", **self.environment()},
            check=False,
        )
        assert ended.returncode == 0, (program, arguments, ended.stdout, ended.stderr)
        return ended.stdout

    def start(self) -> None:
        """Start the KDC, on the port that it had before."""
        kdc = _path_of("krb5kdc")
        # However this process ends, the KDC ends with it.
        command = [_path_of("setpriv"), "--pdeathsig", "TERM", kdc, "-n", "-r", self.name]
        self._kdc = subprocess.Popen(
            command, env={"PATH": PATH, **self.environment()}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            assert self._kdc.poll() is None, "krb5kdc ended: " + (self.folder / "kdc.log").read_text()
            assert time.monotonic() < until, "krb5kdc does not listen"
            time.sleep(0.02)

    def halt(self) -> None:
        """Stop the KDC; `start` brings it back."""
        kdc, self._kdc = self._kdc, None
        if kdc is not None:
            kdc.terminate()
            kdc.wait(20)

    def stop(self) -> None:
        """Stop the KDC, and remove all that there was."""
        self.halt()
        self._bound.close()
        self._folder.cleanup()

    def _create(self) -> None:
        self.run("kdb5_util", "create", "-r", self.name, "-s", "-W", "-P", "master of the realm")
        self.kadmin(
            *(f'addprinc -pw "{password_of(user)}" {user}' for user in USERS),
            *(f"addprinc -randkey {service}" for service in SERVICES),
        )
        self.extract(self.keytab, *SERVICES)


@cache
def shared_realm() -> Realm:
    """The realm of this run of tests."""
    realm = Realm()
    atexit.register(realm.stop)
    return realm


@pytest.fixture
def realm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Realm]:
    """The shared realm, with this process in it as long as the test lasts."""
    realm = shared_realm()
    for name, value in realm.environment().items():
        monkeypatch.setenv(name, value)
    return realm


def _path_of(program: str) -> str:
    """Where a program is. Where the packages were installed for the tests, a missing one is a failure."""
    if (path := shutil.which(program, path=PATH)) is not None:
        return path
    missing = f"{program} is missing: apt-get install {PACKAGES}"
    if os.environ.get("TEST_PACKAGES") == "installed":
        raise AssertionError(missing)
    pytest.skip(missing)


def _free_port() -> tuple[socket.socket, int]:
    """A port that nobody has, for UDP and TCP alike: krb5kdc cannot be handed a socket, nor asked which it got.

    As long as the socket that comes with it is open, the kernel gives the port to nobody who asks for any: neither before
    the KDC starts nor while it is halted. krb5kdc sets SO_REUSEADDR, so to it the port is free.
    """
    while True:
        tcp = socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                tcp.close()
                continue
        return tcp, int(tcp.getsockname()[1])


def _listens(port: int) -> bool:
    with closing(socket.socket()) as tcp:
        return tcp.connect_ex(("127.0.0.1", port)) == 0


class _Data(ctypes.Structure):
    _fields_ = (("magic", ctypes.c_int32), ("length", ctypes.c_uint), ("data", ctypes.c_void_p))


class _Creds(ctypes.Structure):
    """The head of krb5_creds, which is all that a request needs; the rest is room."""

    _fields_ = (
        ("magic", ctypes.c_int32),
        ("client", ctypes.c_void_p),
        ("server", ctypes.c_void_p),
        ("rest", ctypes.c_byte * 256),
    )


MUTUAL: Final = 0x20000000
_P: Final = ctypes.c_void_p
_CALLS: Final[dict[str, tuple[Any, ...]]] = {
    "profile_init_path": (ctypes.c_char_p, _P),
    "krb5_init_context_profile": (_P, ctypes.c_int32, _P),
    "krb5_set_real_time": (_P, ctypes.c_int32, ctypes.c_int32),
    "krb5_cc_resolve": (_P, ctypes.c_char_p, _P),
    "krb5_cc_get_principal": (_P, _P, _P),
    "krb5_parse_name": (_P, ctypes.c_char_p, _P),
    "krb5_get_credentials": (_P, ctypes.c_int32, _P, _P, _P),
    "krb5_mk_req_extended": (_P, _P, ctypes.c_int32, _P, _P, _P),
    "krb5_rd_rep": (_P, _P, _P, _P),
    "krb5_sendauth": (_P, _P, _P, ctypes.c_char_p, _P, _P, ctypes.c_int32, _P, _P, _P, _P, _P, _P),
}
_FREES: Final = (
    *("profile_release", "krb5_free_context", "krb5_cc_close", "krb5_free_principal", "krb5_free_creds"),
    *("krb5_auth_con_free", "krb5_free_data_contents", "krb5_free_ap_rep_enc_part", "krb5_free_error"),
)


class KerberosError(Exception):
    """What libkrb5 answered a client: `args[1]` is its number."""


@cache
def _libkrb5() -> ctypes.CDLL:
    """Declared here once more, so that a wrong declaration of the server's cannot hide behind itself."""
    library = ctypes.CDLL("libkrb5.so.3")
    for name, arguments in _CALLS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_int32, arguments
        function.errcheck = _checked
    for name in _FREES:
        function = getattr(library, name)
        function.restype, function.argtypes = None, (_P,) if name == "profile_release" else (_P, _P)
    library.krb5_free_context.argtypes = (_P,)
    return library


def _checked(result: int, function: Any, _arguments: Any) -> int:
    if result:
        raise KerberosError(function.__name__, result)
    return result


class Initiator:
    """One client's side of one exchange with `service`, which needs no environment.

    `tickets` are a user's, or those of a cache. `mutual`: ask for an AP-REP. `skew`: by how many seconds the client's clock
    is wrong. It may be used in any one thread.
    """

    def __init__(
        self,
        realm: Realm,
        tickets: str | Path = "alice",
        service: str = "pop/localhost",
        *,
        mutual: bool = True,
        skew: int = 0,
    ) -> None:
        self._options = MUTUAL if mutual else 0
        self._lib = lib = _libkrb5()
        self._profile, self._context, self._cache = _P(), _P(), _P()
        self._client, self._server, self._auth = _P(), _P(), _P()
        cache = realm.tickets(tickets) if isinstance(tickets, str) else tickets
        lib.profile_init_path(os.fsencode(realm.config), ctypes.byref(self._profile))
        lib.krb5_init_context_profile(self._profile, 0, ctypes.byref(self._context))
        lib.krb5_cc_resolve(self._context, b"FILE:" + os.fsencode(cache), ctypes.byref(self._cache))
        lib.krb5_cc_get_principal(self._context, self._cache, ctypes.byref(self._client))
        lib.krb5_parse_name(self._context, service.encode(), ctypes.byref(self._server))
        self.ap_req = self._request(skew)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, skew: int) -> bytes:
        lib, creds, out = self._lib, _P(), _Data()
        wanted = _Creds(client=self._client.value, server=self._server.value)
        lib.krb5_get_credentials(self._context, 0, self._cache, ctypes.byref(wanted), ctypes.byref(creds))
        if skew:  # after the ticket was got, lest the KDC minds
            lib.krb5_set_real_time(self._context, int(time.time()) + skew, 0)
        try:
            auth = ctypes.byref(self._auth)
            lib.krb5_mk_req_extended(self._context, auth, self._options, None, creds, ctypes.byref(out))
            return ctypes.string_at(out.data, out.length)
        finally:
            lib.krb5_free_data_contents(self._context, ctypes.byref(out))
            lib.krb5_free_creds(self._context, creds)

    def check(self, ap_rep: bytes) -> None:
        """Whether the AP-REP proves that the server could read the ticket. Errors: KerberosError."""
        buffer = ctypes.create_string_buffer(ap_rep, len(ap_rep))
        data, reply = _Data(0, len(ap_rep), ctypes.addressof(buffer)), _P()
        self._lib.krb5_rd_rep(self._context, self._auth, ctypes.byref(data), ctypes.byref(reply))
        self._lib.krb5_free_ap_rep_enc_part(self._context, reply)

    def sendauth(self, connection: socket.socket, version: bytes = b"KPOPV1.0") -> None:
        """The whole exchange of KPOP on a blocking socket, as libkrb5 does it; call it in a thread. Errors: KerberosError.

        It makes an AP-REQ of its own, and leaves the connection at the server's greeting.
        """
        descriptor, auth, error, reply = ctypes.c_int(connection.fileno()), _P(), _P(), _P()
        try:
            self._lib.krb5_sendauth(
                *(self._context, ctypes.byref(auth), ctypes.byref(descriptor), version, self._client, self._server),
                *(self._options, None, None, self._cache, ctypes.byref(error), ctypes.byref(reply), None),
            )
        finally:
            self._lib.krb5_free_ap_rep_enc_part(self._context, reply)
            self._lib.krb5_free_error(self._context, error)
            self._lib.krb5_auth_con_free(self._context, auth)

    def close(self) -> None:
        """Free everything; idempotent."""
        context, self._context = self._context, _P()
        if not context:
            return
        self._lib.krb5_auth_con_free(context, self._auth)
        self._lib.krb5_free_principal(context, self._client)
        self._lib.krb5_free_principal(context, self._server)
        self._lib.krb5_cc_close(context, self._cache)
        self._lib.krb5_free_context(context)
        self._lib.profile_release(self._profile)


def ap_req(realm: Realm, tickets: str | Path = "alice", service: str = "pop/localhost", **options: Any) -> bytes:
    """An AP-REQ as a client would send it; no two are the same."""
    with Initiator(realm, tickets, service, **options) as client:
        return client.ap_req
