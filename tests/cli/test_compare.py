"""``mailserver uidl compare``: two servers, files, and what the command says of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailserver.cli.formers import formers
from mailserver.migration.places import Login
from mailserver.migration.sides import read_side
from tests.cli.running import COMMAND, environment, run
from tests.corpus import SMALL
from tests.servers import Server, Site

MESSAGES = [SMALL["usual"], SMALL["leading-dots"], SMALL["no-final-newline"], SMALL["only-dots"]]


class Pair:
    """Two servers of the same users, and the table of them."""

    def __init__(self, old: Server, new: Server) -> None:
        self.old, self.new = old, new
        self.users = new.site.folder / "table"
        self.rows: list[str] = []

    def user(self, name: str, *, renamed: int = 0) -> None:
        """A user with the same mail at both, of which so many messages have other names at the new one."""
        before = self.old.site.account(name, messages=MESSAGES)
        after = self.new.site.account(name, before.password)
        for number, path in enumerate(before.files()):
            other = path.name.replace("host", "other") if number < renamed else path.name
            shutil.copy(path, after.maildir / "new" / other)
        self.new.site.secrets.add(before.password.encode())
        self.rows.append(f"{name}::{before.password}")

    def place(self, server: Server, tls: bool = False) -> str:
        where = f"pop3s://127.0.0.1:{server.pop3s_port}" if tls else f"127.0.0.1:{server.pop3_port}"
        return f"{where}?ca={server.site.certificate}"

    def compare(self, *arguments: str, tls: bool = False):
        self.users.write_text("\n".join(self.rows), encoding="utf-8")
        places = [self.place(self.old, tls), self.place(self.new, tls)]
        told = run(*("uidl", "compare", "--old", places[0], "--new", places[1], "--users", str(self.users)), *arguments)
        assert not [each for each in self.old.site.secrets | self.new.site.secrets if each in told.stdout + told.stderr]
        return told


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with Site() as one, Site() as two:
        two.account("boss", "sesame of the boss")
        with Server(one) as old, Server(two, auth={"masters": ["boss"]}) as new:
            yield old, new


@pytest.fixture
def pair(servers: tuple[Server, Server]) -> Pair:
    return Pair(*servers)


def octets(pair: Pair, name: str) -> int:
    [account] = [each for each in pair.new.site.accounts if each.name == name]
    side = read_side(f"127.0.0.1:{pair.new.pop3_port}?tls=none")(Login(name, account.password), formers)
    try:
        return sum(message.octets or 0 for message in side.listing())
    finally:
        side.close()


@pytest.mark.parametrize("tls", [False, True])
def test_servers_with_the_same_unique_ids_are_fine(pair, tls):
    pair.user(f"alice{tls}")
    told = pair.compare(tls=tls)
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.decode().splitlines() == [
        f"alice{tls}: nothing would be downloaded again (4 messages)",
        "1 user in sum: nothing would be downloaded again (4 messages)",
    ]


def test_each_user_is_told_and_the_sum_and_who_cannot_be_compared(pair):
    pair.user("bob", renamed=4)
    pair.user("carol")
    pair.rows.insert(1, "nobody::wrong")
    told = pair.compare("--line", "1kbit", "--jobs", "2")
    size = octets(pair, "bob")
    lines = told.stdout.decode().splitlines()
    again = f"would be downloaded again: {size:,} octets, {size * 8 / 1000:.1f} s at 1kbit"
    assert lines[0] == f"bob: 4 of 4 messages {again}"
    assert lines[1].startswith("  again: 1 1700000001.M1P1.host -> 1 1700000001.M1P1.other")
    assert lines[-3:] == [
        "carol: nothing would be downloaded again (4 messages)",
        f"2 users in sum: 4 of 8 messages {again}",
        "  1 user could not be compared",
    ]
    assert told.returncode == os.EX_TEMPFAIL
    assert told.stderr.startswith(b"mailserver: nobody: 127.0.0.1:")


def test_a_download_is_status_1_and_programs_get_objects(pair):
    pair.user("dave", renamed=1)
    told = pair.compare("--json")
    dave, total = map(json.loads, told.stdout.splitlines())
    assert (dave["user"], dave["again"], dave["same"], dave["safe"]) == ("dave", 1, 3, False)
    assert (total["users"], total["failed"], total["again"]) == (1, 0, 1)
    assert told.returncode == 1


def test_nothing_changes_at_either_server(pair):
    pair.user("erin", renamed=2)
    [before] = [each for each in pair.old.site.accounts if each.name == "erin"]
    [after] = [each for each in pair.new.site.accounts if each.name == "erin"]
    files = [before.files(), after.files()]
    pair.compare("--thorough")
    assert [before.files(), after.files()] == files


def test_files_are_compared_without_a_server(pair):
    pair.user("frank", renamed=1)
    pair.users.write_text("frank\n")
    places = [f"maildir:{server.site.folder}/mail/{{user}}/Maildir" for server in (pair.old, pair.new)]
    arguments = ("uidl", "compare", "--users", str(pair.users))
    told = run(*arguments, "--old", places[0], "--new", places[1])
    assert told.returncode == 1
    assert b"frank: 1 of 4 messages would be downloaded again" in told.stdout
    told = run(*arguments, "--old", places[0], "--new", places[0])
    assert told.returncode == 0, told


def test_a_master_user_needs_no_secrets_in_the_table(pair):
    pair.user("grace")
    master = pair.new.site.folder / "master"
    master.write_text("boss:sesame of the boss\n")
    pair.users.write_text("grace\n")
    told = run(
        *("uidl", "compare", "--users", str(pair.users), "--new-master", str(master)),
        *("--old", f"maildir:{pair.old.site.folder}/mail/{{user}}/Maildir", "--new", pair.place(pair.new)),
    )
    assert (told.returncode, told.stderr) == (0, b""), told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--old", "mbx:/x", "--new", "h:1"], b"mbx:/x"),
        (["--old", "h:1", "--new", "h:1?tls=maybe"], b"tls=maybe"),
        (["--old", "h:1", "--new", "h:1", "--line", "fast"], b"such as 100Mbit"),
        (["--old", "h:1"], b"Missing option '--new'"),
    ],
)
def test_a_wrong_command_line_is_64(arguments, told):
    found = run("uidl", "compare", "--users", "/nowhere", *arguments)
    assert found.returncode == os.EX_USAGE
    assert told in found.stderr


def test_files_that_cannot_be_read_are_78(tmp_path):
    users, master = tmp_path / "users", tmp_path / "master"
    servers = ("uidl", "compare", "--old", "h:1", "--new", "h:1", "--users", str(users))
    assert run(*servers).returncode == os.EX_CONFIG
    users.write_text(":sesame")
    told = run(*servers)
    assert told.returncode == os.EX_CONFIG
    assert (
        told.stderr
        == f"mailserver: {users}: 1 lines are wrong\n{users}:1: there is no name before the first colon\n".encode()
    )
    users.write_text("alice")
    master.write_text("sesame")
    told = run(*servers, "--old-master", str(master))
    assert told.returncode == os.EX_CONFIG
    assert told.stderr == f"mailserver: {master}: it must have one line NAME:PASSWORD\n".encode()


def test_a_server_that_does_not_answer_is_75(tmp_path):
    users = tmp_path / "users"
    users.write_text("alice::sesame")
    with socket.socket() as deaf:  # its port is nobody else's, and nobody listens there
        deaf.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{deaf.getsockname()[1]}"
        told = run("uidl", "compare", "--old", where, "--new", where, "--users", str(users))
    assert told.returncode == os.EX_TEMPFAIL
    assert told.stderr.startswith(f"mailserver: alice: {where}".encode())
    assert told.stdout.decode().splitlines()[-1] == "  1 user could not be compared"


def test_an_answer_that_cannot_be_written_is_74(pair):
    pair.user("heidi")
    pair.users.write_text(pair.rows[0])
    arguments = ("uidl", "compare", "--old", pair.place(pair.old), "--new", pair.place(pair.new))
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, *arguments, "--users", str(pair.users)],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    assert ended.returncode == os.EX_IOERR
    assert b"standard output" in ended.stderr
