"""``make serve``: what it makes, what it says, and that what it says is so."""

import os
import poplib
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from mailserver.auth.kerberos import libkrb5
from mailserver.demo import demo
from mailserver.demo import realm as demo_realm
from mailserver.demo import user as demo_user
from mailserver.demo.sending import Intake
from tests import gss
from tests.interop.clients import path_of
from tests.servers import START_SECONDS, STOP_SECONDS
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
RUN = """
import signal, sys
from mailserver.auth.kerberos import libkrb5
from mailserver.demo import demo
from mailserver.demo import realm as demo_realm
from tests import gss
from tests.interop.clients import path_of
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as a test run, ignore it
demo.main({"pop3": (0,), "pop3s": (0,), "kpop": (0,), "lmtp": (0,)}, kerberos=demo.wanted(sys.argv[1:]))
"""
LINE = re.compile(r"curl pop3://demo:(\S+)@127\.0\.0\.1:(\d+)/\$\(")


@contextmanager
def started(folder, *arguments):
    """The demonstration's process in a folder. One that hangs is killed, so that the test fails and goes on."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    patience = threading.Timer(START_SECONDS + STOP_SECONDS, process.kill)
    patience.start()
    try:
        with process:
            yield process
    finally:
        patience.cancel()
        patience.join()


@contextmanager
def running(folder, *arguments, last="pop3s"):
    """What it says until it accepts connections."""
    with started(folder, *arguments) as process:
        try:
            seen = ""
            for line in process.stdout:
                seen += line
                if f"{last} is served" in line:
                    break
            yield seen
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    assert process.returncode == -signal.SIGINT


def fetch(said):
    password, port = LINE.search(said).groups()
    with closing(poplib.POP3("127.0.0.1", int(port), timeout=30)) as client:
        client.user(demo.ACCOUNT)
        client.pass_(password)
        assert client.stat()[0] == len(demo.MESSAGES)
        text = b"\n".join(client.retr(2)[1])
        client.quit()
    return text


def copied(said):
    """The lines that it gives to copy, run one after the other; what each shows."""
    path_of("curl")
    lines = re.findall(r"(?m)^    (\S.*)\n", said.partition("It serves")[0])
    return [
        subprocess.run(
            ["sh", "-c", line],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for line in lines
    ]


def test_the_message_that_one_line_sends_is_the_one_that_the_other_fetches():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with running(folder, last="lmtp") as said:
            _sent, fetched, *asked = copied(said)
            assert "operators" not in said, "of a socket that is missing nobody needs to hear"
    assert "Subject: Hello\n\nThis message came in by LMTP.\n" in fetched
    assert [shown.split()[:2] for shown in asked] == ([["WORKER", "PID"]] if os.geteuid() else [])


def test_whoever_is_not_root_can_ask_the_server(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    var, ports, owner = Path("/srv/a:b"), {"pop3": 1, "pop3s": 2}, pwd.getpwnam("nobody")
    assert "--control=/srv/a\\:b/control" in demo.flags(ports, Intake("tcp:3", (), ""), var, owner, None)
    assert "status --socket /srv/a:b/control\n" in demo.instructions(
        ports, Intake("", (), ""), "x", var, "nobody", None
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "--control=" in demo.flags(ports, Intake("tcp:3", (), ""), var, owner, None)
    assert "status" not in demo.instructions(ports, Intake("", (), ""), "x", var, "nobody", None)


def test_what_it_prints_fetches_a_message_and_a_second_run_reuses_the_first():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with running(folder) as said:
            assert b"\n.this line begins with a dot" in fetch(said)
            assert "make serve KERBEROS=demo" in said
            assert Path(folder, "var").stat().st_uid != 0
        with running(folder) as again:
            assert LINE.search(again)[1] == LINE.search(said)[1]
            fetch(again)


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root serves as himself")
def test_root_s_own_folder_is_left_alone_because_nobody_cannot_enter_it():
    with tempfile.TemporaryDirectory() as folder:
        with running(folder) as said:
            fetch(said)
        elsewhere = Path(folder, "var").resolve()
        assert elsewhere.parent == Path("/var/tmp")
        subprocess.run(["rm", "-r", elsewhere], check=True)


def lines_of(said):
    """The indented lines that it gives to copy."""
    return re.sub(r"\\\n", "", "".join(re.findall(r"(?m)^    .*\n", said.partition("Get a ticket")[2])))


def test_what_it_prints_logs_in_with_a_ticket_and_the_kdc_ends_with_it():
    for program in ("curl", *demo_realm.missing()):
        path_of(program)
    gss.library()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with running(folder, "demo", last="kpop") as said:
            port = int(re.search(r"kdc = 127\.0\.0\.1:(\d+)", Path(folder, "var/kerberos/krb5.conf").read_text())[1])
            run = subprocess.run(
                ["sh", "-ec", lines_of(said)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            )
        assert run.stdout.count("Subject:") == len(demo.MESSAGES) + 1  # all by KPOP, and the first by GSSAPI
        assert "Traceback" not in run.stderr
        with running(folder) as again:
            assert LINE.search(again)[1] == LINE.search(said)[1]
        eventually(lambda: not demo_realm._listens(port), lambda: "the KDC goes on")


def test_a_realm_without_its_programs_names_the_packages(monkeypatch):
    monkeypatch.setattr(demo_realm, "PATH", "/nowhere")
    with pytest.raises(SystemExit, match=r"krb5kdc .*apt-get install krb5-kdc krb5-admin-server krb5-user fetchmail"):
        demo.main(kerberos=True)


def test_another_kerberos_than_the_demonstration_s_is_refused():
    with pytest.raises(SystemExit, match="KERBEROS=demo is the only value"):
        demo.wanted(["EXAMPLE.ORG"])


def test_a_realm_whose_program_fails_or_whose_kdc_does_not_serve_says_so(tmp_path, monkeypatch):
    realm = demo_realm.DemoRealm(tmp_path, 1)
    monkeypatch.setattr(demo_realm, "_path_of", lambda _program: "/bin/false")
    with pytest.raises(SystemExit, match=r"kadmin[.]local failed"):
        realm.run("kadmin.local")
    with pytest.raises(SystemExit, match=r"krb5kdc does not serve: see .*kdc\.log"):
        realm.start(pwd.getpwuid(os.geteuid()))


def test_without_libkrb5_the_reason_is_the_library(monkeypatch):
    monkeypatch.setattr(libkrb5, "load", partial(libkrb5.load, "libnowhere.so.3"))
    assert "apt-get install libkrb5-3" in demo.without_kpop()


def test_a_folder_that_cannot_be_entered_and_is_not_empty_is_not_moved(tmp_path):
    closed = tmp_path / "closed"
    (closed / "var" / "mail").mkdir(parents=True)
    closed.chmod(0o700)
    stranger = pwd.struct_passwd(("stranger", "x", 54321, 54321, "", "/", "/bin/sh"))
    with pytest.raises(SystemExit, match="stranger cannot reach"):
        demo_user.reachable(closed / "var", stranger)


def test_a_folder_of_an_owner_is_entered_by_his_own_rights(tmp_path):
    own = pwd.getpwuid(tmp_path.stat().st_uid)
    tmp_path.chmod(stat.S_IRWXU)
    assert demo_user._enters(tmp_path, own)


def test_an_owner_of_the_folder_serves(tmp_path):
    user = demo_user.serving_user(tmp_path)
    assert user.pw_uid == (os.geteuid() or pwd.getpwnam("nobody").pw_uid)


def test_the_first_port_that_is_free_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert demo.choose_port((number, 0)) not in (0, number)
        with pytest.raises(SystemExit, match="ss -ltnp"):
            demo.choose_port((number,))


def test_a_port_that_was_chosen_is_kept_for_who_listens_there():
    number = demo.choose_port((0,))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", number))
    with socket.create_server(("127.0.0.1", number)):  # sets SO_REUSEADDR, as Twisted does
        pass


def test_everything_is_the_owner_s_alone(tmp_path):
    demo.furnish(tmp_path, (b"certificate", b"key"), [b"message"])
    assert {oct(path.stat().st_mode & 0o077) for path in tmp_path.rglob("*") if path.is_file()} == {"0o0"}


ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
PLANTED = [(path, "file") for path in ("users", "cert.pem", "key.pem", "mailserver.toml")]
PLANTED += [("users", "nothing"), ("mail", "folder"), ("mail/demo/Maildir/new", "folder"), (".", "folder")]


@ROOT_ALONE
@pytest.mark.parametrize(("planted", "target"), PLANTED)
def test_a_link_that_the_serving_user_planted_leads_root_nowhere(planted, target):
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        treasure = Path(folder, "treasure")
        treasure.mkdir(mode=0o700)
        victim = treasure / "victim"
        if target == "file":
            victim.write_text("root's")
        elif target == "folder":
            victim.mkdir()
        link = Path(folder, "var") / planted
        link.parent.mkdir(parents=True, exist_ok=True)
        for path in (link.parent, *link.parent.parents):
            if path.is_relative_to(Path(folder, "var")):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        link.symlink_to(victim)
        os.chown(link, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        before = state(treasure)
        with started(folder) as process:
            for line in process.stdout:
                if "pop3s is served" in line:
                    process.send_signal(signal.SIGINT)
        assert state(treasure) == before


def state(folder):
    """What root has there: names, owners, modes and contents."""
    found = [(path, path.lstat()) for path in (folder, *sorted(folder.rglob("*")))]
    return [
        (str(path), status.st_uid, status.st_mode, path.read_bytes() if path.is_file() else b"")
        for path, status in found
    ]


@ROOT_ALONE
def test_what_is_done_as_the_user_is_done_with_his_rights_alone(tmp_path):
    nobody = pwd.getpwnam("nobody")
    assert demo_user.as_user(nobody, lambda: f"{os.getresuid()} {os.getresgid()} {os.getgroups()}") == (
        f"{(nobody.pw_uid,) * 3} {(nobody.pw_gid,) * 3} {[nobody.pw_gid]}"
    )
    for work in (lambda: Path("/etc/shadow").read_text(), lambda: sys.exit("no")):
        with pytest.raises(SystemExit) as ended:
            demo_user.as_user(nobody, work)
        assert ended.value.code == os.EX_SOFTWARE


@ROOT_ALONE
def test_a_folder_that_is_full_or_a_link_is_given_to_nobody(tmp_path):
    nobody = pwd.getpwnam("nobody")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="not empty"):
        demo_user.give(tmp_path / "full", nobody)
    with pytest.raises(OSError, match="link"):
        demo_user.give(tmp_path / "link", nobody)
    assert (tmp_path / "empty").stat().st_uid == 0
    demo_user.give(tmp_path / "empty", nobody)
    demo_user.give(tmp_path / "empty", nobody)
    assert (tmp_path / "empty").stat().st_uid == nobody.pw_uid
