"""Real databases for tests: PostgreSQL and MariaDB, each started once for all tests of a run, and ended by its pid.

    def test_x(postgresql):                                    # or mariadb; a conftest.py imports the fixtures
        name = postgresql.fresh("CREATE TABLE users (name text)", "INSERT INTO users VALUES ('alice')")
        postgresql.rows(name, "SELECT name FROM users")        # [("alice",)]
        with postgresql.frozen(): ...                          # SIGSTOP: it is there, and answers nothing
        with postgresql.down(): ...                            # killed; after the block it has been started again

They listen on a Unix socket and on a port of 127.0.0.1, with TLS (`Database.certificate` is what to trust), for `USER` with
`PASSWORD`. They run as `nobody` where root runs the tests, because they refuse to be root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from mailserver.tls.certificates import self_signed
from tests.waiting import eventually

USER: Final = "mailserver"
PASSWORD: Final = "sesame of 'the' \\database"
UNPRIVILEGED: Final = "nobody"
STOP_SECONDS: Final = 60
TRIES: Final = 3
"""A port that was free a moment ago may have been taken."""


def absent(reason: str) -> None:
    """Skip, or fail where all packages are installed."""
    (pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip)(reason)


class Database:
    """A server in a folder of its own."""

    kind = ""
    """Its name in the settings of a checker."""
    gently = signal.SIGTERM
    """The signal that ends it as a restart does."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mailserver-db-", dir="/tmp")  # a socket's path must be short
        self.folder = Path(self._folder)
        self.socket = self.folder
        self.certificate = self.folder / "server.crt"
        self.port = 0
        self.identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam(UNPRIVILEGED)
            self.identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self.folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self._names = 0
        self._shared: dict[tuple[str, ...], str] = {}
        certificate, key = self_signed(("localhost",))
        self._write(self.certificate, certificate, 0o644)
        self._write(self.folder / "server.key", key, 0o600)

    def _write(self, path: Path, data: bytes, mode: int) -> None:
        path.touch(mode=0o600)
        path.write_bytes(data)
        path.chmod(mode)
        if self.identity:
            os.chown(path, self.identity["user"], self.identity["group"])

    def run(self, *command: str) -> None:
        """Run a program to its end, as the user that serves."""
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            **self.identity,
        )
        assert done.returncode == 0, (command, done.stdout.decode(), done.stderr.decode())

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": self._folder,
            "TMPDIR": self._folder,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }

    # What each kind does in its own way.

    def command(self) -> Sequence[str]:
        """The program that serves."""
        raise NotImplementedError

    def connect(self, database: str) -> Any:
        """A connection of the administrator, by DB API, in autocommit."""
        raise NotImplementedError

    def create(self, database: str) -> None:
        """Make an empty database, which `USER` may read."""
        raise NotImplementedError

    # The server.

    @property
    def pid(self) -> int:
        """The process; of PostgreSQL the one that has all others as children."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it on a free port (after a stop on the same), and wait until it serves."""
        for _ in range(TRIES):
            self.port = self.port or free_port()
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(),
                    cwd=self.folder,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **self.identity,
                )
            eventually(lambda: self._process.poll() is not None or self._serves(), self.log)  # type: ignore[union-attr]
            if self._process.poll() is None:
                return
            self.port = 0
        pytest.fail(f"{type(self).__name__} does not start: {self.log()}")

    def _serves(self) -> bool:
        try:
            self.connect("").close()
        except Exception:  # noqa: BLE001 - each driver has its own; `eventually` shows the log in the end
            return False
        return True

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text("utf-8", "replace")[-4000:]

    def kill(self, signal_number: signal.Signals = signal.SIGKILL) -> None:
        """End it and all its children; idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        everyone = _family(process.pid)
        for pid in everyone:
            _send(pid, signal.SIGCONT)
        process.send_signal(signal_number)
        process.wait(STOP_SECONDS)
        if signal_number == signal.SIGKILL:
            for pid in everyone[1:]:
                _send(pid, signal.SIGKILL)
        eventually(lambda: not any(map(_lives, everyone)), lambda: everyone)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped by SIGSTOP for the block: connections are accepted by the kernel, and nobody answers."""
        stopped = []
        while new := [pid for pid in _family(self.pid) if pid not in stopped]:  # a child may have been born meanwhile
            for pid in new:
                _send(pid, signal.SIGSTOP)
            stopped += new
        try:
            yield
        finally:
            for pid in stopped:
                _send(pid, signal.SIGCONT)

    @contextmanager
    def down(self, *, gently: bool = False) -> Iterator[None]:
        """Killed for the block (or ended gently, as a restart does), and started again on the same port after it."""
        self.kill(self.gently if gently else signal.SIGKILL)
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder)

    # Its databases.

    def fresh(self, *statements: str) -> str:
        """The name of a new database, on which the statements were run."""
        self._names += 1
        name = f"test{self._names}"
        self.create(name)
        self.execute(name, *statements)
        return name

    def shared(self, *statements: str) -> str:
        """The name of a database on which the statements were run once in this run of the tests: a new one takes 0.1 s."""
        if statements not in self._shared:
            self._shared[statements] = self.fresh(*statements)
        return self._shared[statements]

    def execute(self, database: str, *statements: str, values: Sequence[object] = ()) -> None:
        """Run statements, each by itself; `values` are for all of them, in the driver's way (%s)."""
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement, values or None)
        finally:
            connection.close()

    def script(self, database: str, text: str) -> None:
        """Run many statements, as they stand in a schema's file."""
        raise NotImplementedError

    def rows(self, database: str, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a question answers."""
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())
        finally:
            connection.close()


class PostgreSQL(Database):
    """A cluster whose superuser is `postgres`, without a password over the Unix socket."""

    kind = "postgresql"
    gently = signal.SIGINT  # SIGTERM would wait until all clients have left

    def __init__(self) -> None:
        found = shutil.which("postgres")
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
        program = found or (folders[-1] if folders else None)
        if program is None:
            absent("PostgreSQL is missing: apt-get install postgresql")
        self._bin = Path(str(program)).parent
        super().__init__()
        initdb = (str(self._bin / "initdb"), "--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256")
        self.run(*initdb, "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", f"--pgdata={self.folder}/data")
        self.start()
        role = f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'"
        self.execute("postgres", role)

    def command(self) -> Sequence[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": str(self.certificate),
            "ssl_key_file": f"{self.folder}/server.key",
            "shared_buffers": "16MB",
            "max_connections": "60",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", f"{self.folder}/data", "-p", str(self.port), *words]

    def connect(self, database: str) -> Any:
        import psycopg

        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database or "postgres", autocommit=True
        )

    def create(self, database: str) -> None:
        self.execute("", f"CREATE DATABASE {database}")
        self.execute(database, f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {USER}")

    def script(self, database: str, text: str) -> None:
        self.execute(database, text)


class MariaDB(Database):
    """A server whose `root` has no password over the Unix socket."""

    kind = "mysql"

    def __init__(self) -> None:
        path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"))
        programs = [shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db")]
        if None in programs:
            absent("MariaDB is missing: apt-get install mariadb-server")
        self._program = str(programs[0])
        super().__init__()
        self.socket = self.folder / "socket"
        make = (str(programs[1]), "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db")
        self.run(*make, f"--datadir={self.folder}/data")
        self.start()
        quoted = PASSWORD.replace("\\", "\\\\").replace("'", "''")
        self.execute("", f"CREATE USER {USER} IDENTIFIED BY '{quoted}'", "DROP USER IF EXISTS ''@'localhost'")

    def command(self) -> Sequence[str]:
        options = {
            "datadir": f"{self.folder}/data",
            "socket": str(self.socket),
            "port": str(self.port),
            "bind-address": "127.0.0.1",
            "ssl-cert": str(self.certificate),
            "ssl-key": f"{self.folder}/server.key",
            "innodb-flush-log-at-trx-commit": "2",  # what was committed outlives a kill, though no power cut
            "innodb-buffer-pool-size": "16M",
            "pid-file": f"{self.folder}/pid",
        }
        return [self._program, "--no-defaults", *(f"--{name}={value}" for name, value in options.items())]

    def connect(self, database: str, **more: Any) -> Any:
        import pymysql

        given: dict[str, Any] = {
            "user": "root",
            "database": database or None,
            "charset": "utf8mb4",
            "autocommit": True,
            "ssl_disabled": True,
        }
        connection = pymysql.connect(unix_socket=str(self.socket), defer_connect=True, **given, **more)
        way = socket.socket(socket.AF_UNIX)  # PyMySQL would not close its own where it cannot connect
        try:
            way.connect(str(self.socket))
        except OSError:
            way.close()
            raise
        connection.connect(way)
        return connection

    def create(self, database: str) -> None:
        self.execute("", f"CREATE DATABASE {database} CHARACTER SET utf8mb4", f"GRANT SELECT ON {database}.* TO {USER}")

    def script(self, database: str, text: str) -> None:
        from pymysql.constants import CLIENT

        with self.connect(database, client_flag=CLIENT.MULTI_STATEMENTS) as connection:
            cursor = connection.cursor()
            cursor.execute(text)
            while cursor.nextset():
                pass


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _family(pid: int) -> list[int]:
    """The process and its children."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        words = []
    return [pid, *map(int, words)]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The PostgreSQL of this run."""
    database = PostgreSQL()
    yield database
    database.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """The MariaDB of this run."""
    database = MariaDB()
    yield database
    database.close()
