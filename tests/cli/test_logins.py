"""`mailserver explain` and `mailserver login`, as an operator uses them, beside a real server."""

from __future__ import annotations

import json
import os
import pwd
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mailserver.cli.asking import put_or
from mailserver.cli.explain import explain, show
from mailserver.cli.logging_in import NoKind, NoPort, Visit, address
from tests.cli.running import run
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

WHOEVER = pwd.getpwuid(os.geteuid()).pw_name
"""Who runs the tests is the user that serves, root as well."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as made:
        made.account("alice", messages=[b"Subject: one\n\n1\n", b"Subject: two\n\n2\n"])
        made.account("bob", extra="allow_nets=192.0.2.0/24")
        made.account("carl", extra="login_delay=600")
        yield made


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    with Server(site, workers=2, listen={"control": str(site.folder / "control")}) as running:
        yield running


def settings(site: Site, server: Server, **listen: str) -> str:
    """A file as an operator has it, by which the commands find the server."""
    path = site.folder / "mailserver.toml"
    ports = {"pop3": f"tcp:{server.pop3_port}", "pop3s": f"tcp:{server.pop3s_port}"}
    lines = [f'{kind} = ["{endpoint}:interface=127.0.0.1"]' for kind, endpoint in ports.items()]
    control = listen.get("control", str(site.folder / "control"))
    path.write_text(
        "\n".join(
            [
                f'user = "{WHOEVER}"',
                "[listen]",
                *lines,
                f'control = "{control}"',
                "[tls]",
                f'certificate = "{site.certificate}"',
                f'key = "{site.key}"',
                "[auth]",
                f'checkers = ["passwd-file:{site.users}"]',
                "",
            ]
        )
    )
    return str(path)


def rows(*arguments: str) -> tuple[list[dict[str, Any]], int]:
    told = run(*arguments, "--json")
    return [json.loads(line) for line in told.stdout.splitlines()], told.returncode


def test_the_running_server_says_what_would_become_of_a_login(site: Site, server: Server) -> None:
    path = settings(site, server)
    found, status = rows("explain", "alice", "-c", path)
    assert (status, found[-1]["verdict"], found[-1]["doubts"]) == (0, "let in", [])
    doors = {row["door"]: row for row in found}
    assert doors["checker"]["says"].startswith(f"passwd-file:{site.users} knows 'alice'")
    assert doors["checker"]["place"] == f"{site.users}, line 1"
    assert doors["checker"]["secrets"][0]["scheme"] == "PLAIN"
    assert (doors["maildrop"]["messages"], doors["listener"]["listener"], doors["listener"]["tls"]) == (
        2,
        "pop3s",
        True,
    )
    refused = run("explain", "bob", "-c", path)
    assert refused.returncode == 1
    assert refused.stdout.decode().splitlines()[-1].startswith("would be refused: not from this address (allow_nets of")
    assert run("explain", "bob", "-c", path, "--from", "192.0.2.9").returncode == 0


def test_what_only_the_server_knows_is_told_of_all_its_processes(site: Site, server: Server) -> None:
    path = settings(site, server)
    with RawPOP3(server.pop3s_port, tls=site.client_tls()) as client:
        client.login("alice", "sesame of alice")
        found, status = rows("explain", "alice", "-c", path)
        assert (status, found[-1]["why"]) == (1, "in-use")
        holder = next(row["holder"] for row in found if row["door"] == "maildrop")
        assert "pop3s 127.0.0.1" in holder
    with RawPOP3(server.pop3s_port, tls=site.client_tls()) as client:
        client.login("carl", "sesame of carl")
    found, status = rows("explain", "carl", "-c", path)
    assert (status, found[-1]["why"]) == (1, "login-delay")
    offline, status = rows("explain", "carl", "-c", path, "--offline")
    assert (status, offline[-1]["doubts"]) == (0, ["connection", "hold", "delay"])


def test_where_no_server_runs_the_command_looks_itself(site: Site, server: Server) -> None:
    path = settings(site, server, control=str(site.folder / "nobody"))
    told = run("explain", "dora", "-c", path)
    assert (told.returncode, told.stdout.decode().splitlines()[-1].partition(";")[0]) == (
        1,
        "would be refused: unknown user",
    )
    assert run("explain", "dora", "--socket", str(site.folder / "nobody")).returncode == 69


@pytest.mark.parametrize("extra", [[], ["--offline"]])
def test_a_listener_that_is_not_there_cannot_be_asked_about(site: Site, server: Server, extra: list[str]) -> None:
    told = run("explain", "alice", "--listener", "kpop", "-c", settings(site, server), *extra)
    assert (told.returncode, told.stdout) == (64, b"")
    assert b"there is no listener 'kpop' for logins: there are pop3 (tcp:" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a\nb"], "no client can send such a name"),
        ([""], "no client can send such a name"),
        (["x" * 5000], "no client can send such a name"),
        (["alice", "--from", "nowhere"], "'nowhere' is no address"),
        (["bob", "--master", "alice", "-m", "user"], "USER names no user to act for"),
        (["bob", "--master", "alice", "-m", "apop"], "APOP names no user to act for"),
        (["bob", "--principal", "bob@X", "-m", "plain"], "PLAIN takes no ticket"),
        (["bob", "-m", "gssapi"], "say whose by --principal"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: list[str], said: str) -> None:
    told = CliRunner().invoke(explain, [*arguments, "-c", "/nowhere"])
    assert (told.exit_code, said in told.output) == (2, True)


def test_a_master_logs_in_by_what_names_both(site: Site, server: Server) -> None:
    found, status = rows("explain", "bob", "--master", "alice", "-c", settings(site, server))
    assert (status, found[-1]["why"]) == (1, "no-checker"), "there are no masters here"


def test_the_answer_of_a_client_s_odd_name_steers_no_terminal(site: Site, server: Server) -> None:
    told = run("explain", "a\x1b[31m\udcff", "-c", settings(site, server))
    assert (told.returncode, b"would be refused: no user can have such a name" in told.stdout) == (1, True)
    assert b"\x1b" not in told.stdout


@pytest.mark.parametrize("said", [b'{"error":"of another version","status":69}\n', b""])
def test_beside_a_server_that_does_not_answer_nothing_is_said_as_if_none_ran(tmp_path: Path, said: bytes) -> None:
    path = str(tmp_path / "control")
    settings = tmp_path / "mailserver.toml"
    settings.write_text(f'[listen]\npop3 = ["tcp:0"]\ncontrol = "{path}"\n')
    with socket.socket(socket.AF_UNIX) as listening, ThreadPoolExecutor(1) as pool:
        listening.bind(path)
        listening.listen()

        def answer() -> None:
            with listening.accept()[0] as asking:
                asking.recv(1000)
                asking.sendall(said)

        answered = pool.submit(answer)
        assert put_or(lambda: pytest.fail("as if none ran"), "explain", None, str(settings), len) == 69
        answered.result()
    Path(path).unlink()
    assert put_or(lambda: 7, "explain", None, str(settings), len) == 7


# mailserver login


def logged_in(site: Site, server: Server, *arguments: str, **options: Any) -> tuple[dict[str, Any], int, str]:
    told = run("login", *arguments, "--json", "-c", settings(site, server), **options)
    return json.loads(told.stdout or b"{}"), told.returncode, told.stderr.decode()


@pytest.mark.parametrize("listener", ["pop3", "pop3s"])
@pytest.mark.parametrize("mechanism", ["USER", "PLAIN"])
def test_a_login_tells_what_it_saw(site: Site, server: Server, listener: str, mechanism: str) -> None:
    seen, status, said = logged_in(site, server, "alice", "-l", listener, "-m", mechanism, stdin=b"sesame of alice\n")
    assert (status, said) == (0, "")
    assert (seen["messages"], seen["octets"], seen["listener"]) == (2, 38, listener)
    assert seen["tls"].startswith("TLSv1.")
    assert seen["certificate_days"] > 0
    assert "UIDL" in seen["capabilities"]
    assert {"connect_seconds", "login_seconds", "quit_seconds"} <= seen.keys()
    assert "sesame" not in json.dumps(seen)


def test_without_a_user_only_the_server_is_seen(site: Site, server: Server) -> None:
    seen, status, _ = logged_in(site, server)
    assert (status, "login_seconds" in seen, seen["listener"]) == (0, False, "pop3s")
    told = run("login", "-c", settings(site, server))
    assert told.stdout.startswith(b"server            127.0.0.1:")


def test_the_password_comes_from_a_file_or_the_environment(site: Site, server: Server, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"sesame of alice\r\n")
    assert logged_in(site, server, "alice", "--password-file", str(tmp_path / "password"))[1] == 0
    assert logged_in(site, server, "alice", MAILSERVER_PASSWORD="sesame of alice")[1] == 0
    assert logged_in(site, server, "alice", "--password-file", str(tmp_path / "none"))[1] == 64
    assert logged_in(site, server, "alice", "--password-file", "-", stdin=b"\n")[1] == 64


def test_who_is_not_let_in_is_told_so_without_the_password(site: Site, server: Server) -> None:
    seen, status, said = logged_in(site, server, "dora", stdin=b"hush hush\n")
    assert (status, "messages" in seen) == (1, False)
    assert "[AUTH] authentication failed" in said
    assert "hush" not in said


def test_what_may_be_different_later_is_told_apart(site: Site, server: Server) -> None:
    with RawPOP3(server.pop3s_port, tls=site.client_tls()) as client:
        client.login("alice", "sesame of alice")
        _, status, said = logged_in(site, server, "alice", stdin=b"sesame of alice\n")
    assert status == 75
    assert "[IN-USE]" in said


def test_a_certificate_is_believed_by_its_authority_alone(site: Site, server: Server) -> None:
    here = ["--host", "127.0.0.1", "--port", str(server.pop3s_port), "-l", "pop3s"]
    assert logged_in(site, server, *here, "--ca", str(site.certificate))[1] == 0
    _, status, said = logged_in(site, server, *here, "--tls", "verify")
    assert status == 76
    assert "is not valid" in said


@pytest.mark.parametrize(
    ("listen", "given", "where"),
    [
        ('pop3 = ["tcp:110"]\npop3s = ["tcp6:995"]', {}, "pop3s [::1]:995"),
        ('pop3 = ["tcp:110"]\npop3s = ["tcp6:995"]', {"listener": "pop3"}, "pop3 127.0.0.1:110"),
        ('pop3 = ["tcp:110"]\npop3s = ["haproxy:tcp:995", "tcp:996:192.0.2.1"]', {}, "pop3s 192.0.2.1:996"),
        ('pop3 = ["tcp:110"]\npop3s = ["haproxy:tcp:995", "unix:/run/pop3s"]', {}, "pop3 127.0.0.1:110"),
        ('pop3s = ["systemd:domain=INET6:name=pop3s"]', {}, "pop3s 127.0.0.1:995"),
        ('pop3s = ["tcp:995"]', {"port": 1995}, "pop3s 127.0.0.1:1995"),
        ("", {"host": "pop.example.org"}, "pop3s pop.example.org:995"),
        ("", {"host": "pop.example.org", "port": 110}, "pop3 pop.example.org:110"),
        ("", {"host": "pop.example.org", "port": 995, "listener": "pop3"}, "pop3 pop.example.org:995"),
        ('pop3s = ["haproxy:tcp:995"]', {}, "listen.pop3s or listen.pop3 has no TCP port that can be asked from here"),
        ('pop3 = ["tcp:110"]', {"listener": "pop3s"}, "listen.pop3s has no TCP port that can be asked from here"),
        (
            'kpop = ["tcp:1109"]',
            {"listener": "kpop"},
            "'kpop' is no kind of listener to log in to: there are pop3s, pop3",
        ),
    ],
)
def test_the_settings_say_where_the_server_is(tmp_path: Path, listen: str, given: dict[str, Any], where: str) -> None:
    path = tmp_path / "mailserver.toml"
    path.write_text(f"[listen]\n{listen}\n")
    visit = Visit("alice", "", config=str(path), **given)
    if " has no TCP port " in where or " is no kind " in where:
        with pytest.raises((NoKind, NoPort), match=where):
            address(visit)
        return
    found = address(visit)
    assert f"{found.protocol} {found}" == where


def test_where_no_server_is_is_told_apart_from_what_is_none(site: Site, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        _, status, _ = logged_in(site, server, "--host", "127.0.0.1", "-p", port, "-l", "pop3", "--timeout", "0.2")
        assert status == 75, "it is there, and says nothing"
    assert logged_in(site, server, "--host", "127.0.0.1", "-p", port, "-l", "pop3")[1] == 69
    told = run("login", "-c", "/nowhere/mailserver.toml")
    assert told.returncode == 78


def test_an_end_that_depends_on_the_password_is_no_yes(capsys: pytest.CaptureFixture[str]) -> None:
    end = {
        "door": "end",
        "verdict": "depends",
        "says": "let in only if x takes it; else \x1brefused",
        "remedy": "see x",
        "doubts": ["checker"],
    }
    assert show([{"door": "name", "verdict": "passes", "says": "read"}, end], as_json=False) == 1
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "let in only if x takes it; else \N{REPLACEMENT CHARACTER}refused; see x"
    )
