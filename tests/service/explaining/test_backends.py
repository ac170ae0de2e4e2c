"""What is said of logins whose users others know, beside what becomes of them: PAM, Dovecot, a directory, databases."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.process import reapAllProcesses

from mailserver import reasons
from mailserver.answers import awaited
from mailserver.foresight import Attempt
from tests.auth.dovecot.dovecots import Dovecot, dovecot
from tests.auth.ldap import checkers as directories
from tests.auth.ldap.fake import ALICE, BIND, DONE, NONE, SEARCH, Answer, Liar, result
from tests.auth.ldap.slapd import PASSWORD as OF_SERVICE
from tests.auth.ldap.slapd import SERVICE, Slapd, person, slapd
from tests.auth.outages import password
from tests.auth.pam.stacks import of_matrix
from tests.auth.sql.sites import SqlSite
from tests.databases import PostgreSQL, postgresql
from tests.service.explaining.cases import IN_CLEAR, Case, differences, server_of
from tests.service.explaining.logins import PASSWORD, Login, lookups, spin

__all__ = ["dovecot", "postgresql", "slapd"]

SCRAM = "SCRAM-SHA-256"
WRONG = "quite another"


def test_users_of_pam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailserver.auth.pam.checker.LONGEST_DELAY", 0.0)
    monkeypatch.setattr("mailserver.auth.pam.link.END_SECONDS", 0.01)  # no reactor runs, which would see the end
    known = {name: PASSWORD.encode() for name in (b"games", b"mail", b"root", b"only-pam")}
    folder = of_matrix(tmp_path / "pam.d", known)
    with (folder / "mailserver").open("a") as stack:
        stack.write("account required pam_succeed_if.so quiet user != mail\n")
    cases = {
        "let in": Case(Attempt("games"), doubts="checker", tells="see `passwd -S`"),
        "wrong": Case(Attempt("games"), secret=WRONG, doubts="checker", real=reasons.BACKEND),
        "locked": Case(Attempt("mail"), doubts="checker", real=reasons.BACKEND, tells="`chage -l`"),
        "unknown": Case(Attempt("dora"), doubts="checker", real=reasons.BACKEND, tells="`getent passwd`"),
        "known to PAM alone": Case(Attempt("only-pam"), doubts="checker"),
        "root": Case(Attempt("root"), reasons.UNKNOWN_USER, tells="uid 0 is not for mail"),
        "in clear": Case(Attempt("games", **IN_CLEAR), reasons.NEEDS_TLS),
        "by SCRAM": Case(Attempt("games", mechanism=SCRAM), reasons.NOT_OFFERED),
    }
    with server_of(tmp_path, f"pam:mailserver:folder={folder}:min_uid=1") as server:
        assert differences(server, cases) == []
        (folder / "mailserver").unlink()
        assert differences(server, {"down": Case(Attempt("games"), reasons.NOT_NOW, tells="does not answer")}) == []
    reapAllProcesses()


def test_users_of_dovecot(tmp_path: Path, dovecot: Dovecot) -> None:
    def of(user: str) -> str:
        return password(user).decode()

    cases = {
        "let in": Case(Attempt("homely"), secret=of("homely"), doubts="checker", tells="`doveadm auth test`"),
        "wrong": Case(Attempt("homely"), secret=WRONG, doubts="checker", real=reasons.BACKEND),
        "elsewhere": Case(Attempt("moved"), secret=of("moved"), doubts="checker", real=reasons.DENIED),
        "not from here": Case(Attempt("near"), secret=of("near"), doubts="checker", real=reasons.BACKEND),
        "unknown": Case(Attempt("dora"), doubts="checker", real=reasons.BACKEND),
        "in clear": Case(Attempt("homely", **IN_CLEAR), reasons.NEEDS_TLS),
        "by CRAM-MD5": Case(Attempt("homely", mechanism="CRAM-MD5"), reasons.NOT_OFFERED),
    }
    with_homes = {
        "let in": Case(Attempt("homely"), secret=of("homely"), doubts="checker"),
        "unknown": Case(
            Attempt("dora"), reasons.NO_HOME, doubts="checker", real=reasons.BACKEND, tells="userdb has no such user"
        ),
        "not served": Case(Attempt("mbox"), reasons.UNSERVED, secret=of("mbox"), doubts="checker"),
    }
    down = {"down": Case(Attempt("homely"), reasons.NOT_NOW, of("homely"), tells="does not answer now")}
    checker = f"dovecot-auth:{dovecot.client}"
    with (
        server_of(tmp_path, checker) as alone,
        server_of(tmp_path, f"{checker}:userdb={dovecot.userdb}", store={"url": "maildir:{home}/Maildir"}) as whole,
    ):
        assert differences(alone, cases) == []
        assert differences(whole, with_homes) == []
        with dovecot.down():
            assert differences(alone, down) + differences(whole, down) == []


def test_users_of_a_directory(tmp_path: Path, slapd: Slapd) -> None:
    base = slapd.people({})
    users: dict[str, dict[str, Any]] = {
        "alice": {},
        "bob": {"accountStatus": "disabled"},
        "carl": {"userPassword": None},
    }
    people = [person(base, name, PASSWORD.encode(), dn=f"uid={name},{base}", **more) for name, more in users.items()]
    slapd.add(*people)
    found = {
        "let in": Case(Attempt("alice"), doubts="checker", tells="may be locked or expired"),
        "wrong": Case(Attempt("alice"), secret=WRONG, doubts="checker", real=reasons.BACKEND),
        "disabled": Case(Attempt("bob"), reasons.DENIED, doubts="checker"),
        "unknown": Case(Attempt("dora"), reasons.UNKNOWN_USER),
        "without a password": Case(Attempt("carl"), doubts="checker", real=reasons.BACKEND),
        "in clear": Case(Attempt("alice", **IN_CLEAR), reasons.NEEDS_TLS),
        "by SCRAM": Case(Attempt("alice", mechanism=SCRAM), reasons.NOT_OFFERED),
    }
    compared = found | {
        "let in": Case(Attempt("alice")),
        "wrong": Case(Attempt("alice"), secret=WRONG, real=reasons.WRONG_PASSWORD),
        "disabled": Case(Attempt("bob"), reasons.DENIED),
        "without a password": Case(Attempt("carl"), reasons.UNUSABLE_SECRET),
    }
    bound = found | {
        "let in": Case(Attempt("alice"), doubts="checker user", tells="with service_dn it is told here"),
        "wrong": Case(
            Attempt("alice"),
            secret=WRONG,
            doubts="checker user",
            real=reasons.BACKEND,
            tells="`mailserver login` tries",
        ),
        "disabled": Case(Attempt("bob"), doubts="checker user", real=reasons.DENIED),
        "unknown": Case(Attempt("dora"), doubts="checker user", real=reasons.BACKEND),
        "without a password": Case(Attempt("carl"), doubts="checker user", real=reasons.BACKEND),
    }
    down = {"down": Case(Attempt("alice"), reasons.NOT_NOW, tells="does not answer now")}
    seen = found | {"unknown": Case(Attempt("dora"), reasons.BACKEND, tells="the directory has no such user")}
    service = f'service_dn = "{SERVICE}"\nservice_password = "{OF_SERVICE}"\n'
    modes = {
        "bind, with a service": (directories.BIND.replace("employeeNumber={{user}}", "uid={{user}}") + service, seen),
        "search": (directories.SEARCH, found),
        "compare": (directories.COMPARE, compared),
        "bind": (directories.BIND.replace("employeeNumber={{user}}", "uid={{user}}"), bound),
    }
    wrong = []
    with ExitStack() as stack:
        servers = []
        for mode, (text, cases) in modes.items():
            path = tmp_path / f"{mode}.toml"
            settings = text.format(base=base, service=SERVICE, password=OF_SERVICE)
            path.write_text(f'servers = ["{slapd.ldapi}"]\n{settings}[attributes]\ndisabled = "accountStatus"\n')
            servers.append(stack.enter_context(server_of(tmp_path, f"ldap:{path}")))
            wrong += [(mode, each) for each in differences(servers[-1], cases)]
        with slapd.down():
            wrong += [each for server in servers for each in differences(server, down)]
    assert wrong == []


def test_a_directory_that_cannot_prove_passwords_now(tmp_path: Path) -> None:
    """Its servers may find users and be unable to tell whether a password is right, which is remembered for some time."""
    answers: dict[int, Answer] = {SEARCH: lambda _: [ALICE, NONE]}
    liar, path = Liar(answers), tmp_path / "ldap.toml"
    given = f'servers = ["{liar.listen()}"]\nbase = "dc=example,dc=org"\nfilter = "(uid={{user}})"\nstart_tls = false\n'
    either = Case(Attempt("alice"), reasons.NOT_NOW, doubts="checker", unless=True, tells="still remembered")
    with lookups():
        for more, cases in (
            ("", {"down": Case(Attempt("alice"), reasons.NOT_NOW)}),
            (
                "remember_seconds = 60\n",
                {"down, but remembered": either._replace(is_let_in=True), "down": either._replace(secret=WRONG)},
            ),
        ):
            path.write_text(given + more)
            with server_of(tmp_path, f"ldap:{path}") as server:
                answers.pop(BIND, None)
                assert Login(server, Attempt("alice")).run().let_in
                answers[BIND] = lambda asked: [result(DONE[asked.kind], 51)]
                assert differences(server, cases) == []
    spin(awaited(liar.stop()))


def test_a_pam_that_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailserver.auth.pam.link.END_SECONDS", 0.01)
    folder = of_matrix(tmp_path / "pam.d", {b"games": PASSWORD.encode()})
    either = Case(Attempt("games"), reasons.NOT_NOW, doubts="checker", unless=True, tells="still remembered")
    cases = {
        "remembered": either._replace(is_let_in=True),
        "down": either._replace(secret=WRONG),
        "nobody": Case(Attempt("mail"), reasons.NOT_NOW),
    }
    with server_of(tmp_path, f"pam:mailserver:folder={folder}:min_uid=1:remember=60") as server:
        assert Login(server, Attempt("games")).run().let_in
        (folder / "mailserver").unlink()
        assert differences(server, cases) == []
    reapAllProcesses()


def test_checkers_behind_one_that_tells_nothing_before(tmp_path: Path, dovecot: Dovecot) -> None:
    either = Case(Attempt("alice"), reasons.NOT_NOW, doubts="checker", unless=True, tells="takes it; else refused")
    checker, nobody = f"dovecot-auth:{dovecot.client}", f"dovecot-auth:{tmp_path}/nobody"
    with server_of(tmp_path, checker, nobody) as server:
        let_in = either._replace(attempt=Attempt("homely"), secret=password("homely").decode(), is_let_in=True)
        assert differences(server, {"down": either, "taken before": let_in}) == []
    with server_of(tmp_path, checker, "passwd-file:{folder}/users", users="alice:{NOSUCH}x::::/x::\n") as server:
        assert differences(server, {"unusable": either._replace(why=reasons.UNUSABLE_SECRET)}) == []
    with server_of(tmp_path, "memory:bob:s3same", nobody) as server:
        listed = {"elsewhere": Case(Attempt("alice"), reasons.NOT_NOW), "listed": Case(Attempt("bob"))}
        assert differences(server, listed) == []
    (tmp_path / "listed").write_text("bob:s3same\n")
    both = f"file:{tmp_path}/listed", "passwd-file:{folder}/users"
    with server_of(tmp_path, both[0]) as server:
        assert differences(server, {"bob": Case(Attempt("bob")), "dora": Case(Attempt("dora"), reasons.OTHER)}) == []
    with server_of(tmp_path, *both, users="alice:{PLAIN}s3same::::/x::\n") as server:
        (tmp_path / "listed").unlink()
        assert differences(server, {"in the second": Case(Attempt("alice"))}) == []


@pytest.fixture
def site(tmp_path: Path, postgresql: PostgreSQL) -> SqlSite:
    made = SqlSite(tmp_path, postgresql)
    made.add("alice", "{PLAIN}s3same", home="/x")
    made.add("bob", "{PLAIN}s3same", disabled="unpaid")
    made.add("carl", "{SSHA}X3zfZ9FZ6zYeQYW1bYlQ0n7tqjBhYmNk")
    made.add("eve", None)
    return made


def test_users_of_postgresql(tmp_path: Path, site: SqlSite, postgresql: PostgreSQL) -> None:
    cases = {
        "let in": Case(Attempt("alice")),
        "let in by SCRAM": Case(Attempt("alice", mechanism=SCRAM)),
        "wrong": Case(Attempt("alice"), secret=WRONG, real=reasons.WRONG_PASSWORD),
        "disabled": Case(Attempt("bob"), reasons.DENIED),
        "a hash, by SCRAM": Case(Attempt("carl", mechanism=SCRAM), reasons.UNFIT_SECRET),
        "without a password": Case(Attempt("eve"), reasons.UNUSABLE_SECRET),
        "unknown": Case(Attempt("dora"), reasons.UNKNOWN_USER),
        "in clear": Case(Attempt("alice", **IN_CLEAR), reasons.NEEDS_TLS),
    }
    down = {
        "down": Case(Attempt("alice"), reasons.NOT_NOW, tells="does not answer now"),
        "down, by SCRAM": Case(Attempt("alice", mechanism=SCRAM), reasons.NOT_NOW),
    }
    with server_of(tmp_path, f"sql:{site.write(secrets='clear')}") as server:
        assert differences(server, cases) == []
        with postgresql.down():
            assert differences(server, down) == []
