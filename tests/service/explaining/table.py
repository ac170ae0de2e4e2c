"""The table of all reasons for a refused login: a login for each, and what must become of it."""

from __future__ import annotations

from mailserver import reasons
from mailserver.auth.kerberos.tickets import KerberosChecker
from mailserver.foresight import Attempt
from mailserver.store.maildir import promise
from mailserver.store.maildir.locking import NAME
from tests.service.explaining.rows import (
    ALICE,
    HASHED,
    MAILDIR,
    Row,
    Tokens,
    damaged,
    entered,
    failed,
    held,
    impatient,
    in_maildir,
    let_in,
    with_checkers,
    with_tickets,
)

FOREIGN = promise.encode([]).replace(b" 3\0", b" 99\0", 1)
IN_DATABASE = {"auth": {"checkers": ["sql:{folder}/sql.toml"]}}
BEHIND_MEMORY = {"auth": {"checkers": ["memory:bob:s3same", "sql:{folder}/sql.toml"]}}
BY_MASTER = Attempt("bob", mechanism="PLAIN", master="alice")
BY_SCRAM = Attempt("alice", mechanism="SCRAM-SHA-256")
BY_DIGEST = Attempt("alice", mechanism="DIGEST-MD5")
WITH_DIGEST = {"auth": {"mechanisms": ["DIGEST-MD5", "PLAIN"]}}
BY_TOKEN = Attempt("alice", mechanism="XOAUTH2")
BOB = "bob:{PLAIN}other::::/x::\n"
TWO = f"{ALICE}\nbob:{{PLAIN}}other::::{{folder}}/bob::\n"
TWO_PORTS = {"listen": {"pop3": ["tcp:0"], "pop3s": ["tcp:0"], "control": ""}}

ROWS: dict[str, Row] = {
    "let in": Row(None),
    "let in, in a Maildir": Row(None, settings=MAILDIR, act=in_maildir(lambda _: None)),
    "let in, with a quota": Row(None, "userdb_quota_rule=*:bytes=1M", settings=MAILDIR, act=in_maildir(lambda _: None)),
    "let in, in a Maildir that is to be made": Row(
        None, settings=MAILDIR, act=lambda _, folder, __: (folder / "alice").mkdir()
    ),
    "let in where and from where the user may": Row(None, extra="allow_nets=127.0.0.0/8 listeners=pop3"),
    "let in by an app password": Row(
        None, users="alice:::::/x::app_password=old::1:{PLAIN}gone app_password=phone:::{PLAIN}s3same\n"
    ),
    "let in by APOP": Row(None, attempt=Attempt("alice", mechanism="APOP")),
    "let in by PLAIN": Row(None, attempt=Attempt("alice", mechanism="PLAIN")),
    "let in by CRAM-MD5": Row(None, attempt=Attempt("alice", mechanism="CRAM-MD5")),
    "let in by SCRAM": Row(None, attempt=BY_SCRAM),
    "let in to a share by SCRAM": Row(
        None,
        users="vision25:{PLAIN}s3same::::::\n",
        attempt=Attempt("john@vision25", mechanism="SCRAM-SHA-256"),
        settings={"sdps": {"accounts": {"vision25": ""}}},
    ),
    "unknown by SCRAM": Row(reasons.UNKNOWN_USER, attempt=Attempt("dora", mechanism="SCRAM-SHA-256")),
    "a name that is none, by SCRAM": Row(reasons.INVALID_NAME, attempt=Attempt("a/b", mechanism="SCRAM-SHA-256")),
    "disabled, by SCRAM": Row(reasons.DENIED, users=f"{ALICE}disabled\n{BOB}", attempt=BY_SCRAM),
    "from another network by SCRAM": Row(reasons.ADDRESS, "allow_nets=192.0.2.0/24", attempt=BY_SCRAM),
    "a hash that cannot serve SCRAM": Row(
        reasons.UNFIT_SECRET,
        users=f"{ALICE}\n{HASHED}",
        attempt=Attempt("bob", mechanism="SCRAM-SHA-256"),
        settings={"auth": {"mechanisms": ["SCRAM-SHA-256", "PLAIN"]}},
    ),
    "an app password, by SCRAM": Row(
        reasons.UNFIT_SECRET,
        users=f"alice:::::/x::app_password=phone:::{{PLAIN}}s3same\n{BOB}",
        attempt=BY_SCRAM,
        settings={"auth": {"mechanisms": ["SCRAM-SHA-256", "PLAIN"]}},
    ),
    "held for too long by SCRAM": Row(
        reasons.HELD, attempt=BY_SCRAM, settings={"limits": {"failure_delay_seconds": 5}}, act=failed, patch=impatient
    ),
    "let in by DIGEST-MD5": Row(None, attempt=BY_DIGEST, settings=WITH_DIGEST),
    "unknown by DIGEST-MD5": Row(
        reasons.UNKNOWN_USER, attempt=Attempt("dora", mechanism="DIGEST-MD5"), settings=WITH_DIGEST
    ),
    "disabled, by DIGEST-MD5": Row(
        reasons.DENIED, users=f"{ALICE}disabled\n{BOB}", attempt=BY_DIGEST, settings=WITH_DIGEST
    ),
    "a hash that cannot serve DIGEST-MD5": Row(
        reasons.UNFIT_SECRET,
        users=f"{ALICE}\n{HASHED}",
        attempt=Attempt("bob", mechanism="DIGEST-MD5"),
        settings=WITH_DIGEST,
    ),
    "DIGEST-MD5 where it is not named": Row(reasons.NOT_OFFERED, attempt=BY_DIGEST),
    "let in by a token": Row(None, attempt=BY_TOKEN, patch=with_checkers(Tokens)),
    "a token of nobody's": Row(
        reasons.NO_ACCOUNT, attempt=Attempt("dora", mechanism="XOAUTH2"), patch=with_checkers(Tokens)
    ),
    "disabled, by a token": Row(reasons.DENIED, "disabled", attempt=BY_TOKEN, patch=with_checkers(Tokens)),
    "a token where none is taken": Row(reasons.NOT_OFFERED, attempt=BY_TOKEN),
    "let in by another spelling": Row(
        None,
        attempt=Attempt("Alice@Example.ORG"),
        settings={"names": {"case": "lower", "local_domains": ["example.org"]}},
    ),
    "let in as a master": Row(None, users=TWO, attempt=BY_MASTER, settings={"auth": {"masters": ["alice"]}}),
    "let in to a share": Row(
        None,
        users="vision25:{PLAIN}s3same::::::\n",
        attempt=Attempt("john+vision25"),
        settings={"sdps": {"accounts": {"vision25": ""}}},
    ),
    "let in by a ticket": Row(
        None,
        attempt=Attempt("alice", principal="alice@KPOP.TEST", listener="kpop"),
        act=with_tickets,
        patch=with_checkers(lambda: KerberosChecker(["alice@KPOP.TEST -> alice"])),
    ),
    "let in from a database": Row(None, settings=IN_DATABASE, patch=lambda _: None),
    "let in by a policy server": Row(None, settings={"auth": {"policy_url": "policy"}}),
    "turned away": Row(reasons.TURNED_AWAY, settings={"limits": {"connections_per_address": 1}}, act=entered),
    "turned away by all": Row(
        reasons.TURNED_AWAY, settings={"limits": {"connections": 1, "connections_per_address": 1}}, act=entered
    ),
    "without TLS": Row(reasons.NEEDS_TLS, settings={"auth": {"cleartext": "tls"}}),
    "without TLS, from elsewhere": Row(
        reasons.NEEDS_TLS, settings={"auth": {"cleartext": "loopback"}}, attempt=Attempt("alice", peer="192.0.2.7")
    ),
    "PLAIN without TLS": Row(
        reasons.NEEDS_TLS, settings={"auth": {"cleartext": "tls"}}, attempt=Attempt("alice", mechanism="PLAIN")
    ),
    "no APOP with hashes": Row(
        reasons.NOT_OFFERED, users=f"{ALICE}\n{HASHED}", attempt=Attempt("alice", mechanism="APOP")
    ),
    "no such mechanism": Row(reasons.NOT_OFFERED, attempt=Attempt("alice", mechanism="EXTERNAL")),
    "a mechanism that is not named": Row(
        reasons.NOT_OFFERED, settings={"auth": {"mechanisms": ["LOGIN"]}}, attempt=Attempt("alice", mechanism="PLAIN")
    ),
    "a name that is none": Row(reasons.INVALID_NAME, attempt=Attempt("a/b")),
    "a name that steers a terminal": Row(reasons.INVALID_NAME, attempt=Attempt("\x1b[31m")),
    "a name that is no UTF-8": Row(reasons.INVALID_NAME, attempt=Attempt("a\udcff")),
    "a name with a hard space": Row(reasons.INVALID_NAME, attempt=Attempt("a\u00a0b")),
    "a name with a colon": Row(reasons.UNKNOWN_USER, attempt=Attempt("a:b")),
    "a name with a space": Row(reasons.UNKNOWN_USER, attempt=Attempt("a b")),
    "a name that is too long": Row(reasons.INVALID_NAME, attempt=Attempt("a" * 300, mechanism="PLAIN")),
    "a line that is too long": Row(reasons.NOT_OFFERED, attempt=Attempt("a" * 4000)),
    "a name that is none, by PLAIN": Row(reasons.INVALID_NAME, attempt=Attempt("../alice", mechanism="PLAIN")),
    "unknown": Row(reasons.UNKNOWN_USER, attempt=Attempt("dora")),
    "unknown by this spelling": Row(reasons.UNKNOWN_USER, attempt=Attempt("Alice")),
    "unknown to a database": Row(reasons.UNKNOWN_USER, attempt=Attempt("dora"), settings=IN_DATABASE),
    "unknown in another domain's file": Row(
        reasons.UNKNOWN_USER, settings={"auth": {"checkers": ["passwd-file:{folder}/users:domain=example.org"]}}
    ),
    "a hash that cannot serve APOP": Row(
        reasons.UNFIT_SECRET,
        users=f"{ALICE}\n{HASHED}",
        attempt=Attempt("bob", mechanism="APOP"),
        settings={"auth": {"mechanisms": ["APOP", "PLAIN"]}},
    ),
    "a secret that cannot be used": Row(reasons.UNUSABLE_SECRET, users="alice:{NOSUCH}secret::::/x::\n"),
    "no secret": Row(reasons.UNUSABLE_SECRET, users="alice:::::/x::\n"),
    "an expired app password": Row(reasons.EXPIRED_SECRET, users="alice:::::/x::app_password=old::1:{PLAIN}s3same\n"),
    "a master where there are none": Row(reasons.NO_CHECKER, users=TWO, attempt=BY_MASTER),
    "no master": Row(reasons.NOT_MASTER, users=TWO, attempt=BY_MASTER, settings={"auth": {"masters": ["bob"]}}),
    "a master for nobody": Row(
        reasons.NOBODY_TO_ACT_FOR,
        attempt=Attempt("dora", mechanism="PLAIN", master="alice"),
        settings={"auth": {"masters": ["alice"]}},
    ),
    "disabled": Row(reasons.DENIED, "disabled=unpaid"),
    "disabled in a database": Row(reasons.DENIED, attempt=Attempt("bob"), settings=IN_DATABASE),
    "not yet": Row(reasons.DENIED, "delay_until=9999999999"),
    "elsewhere by Dovecot's word": Row(reasons.DENIED, "proxy=y host=mail2"),
    "an account's user who is disabled": Row(
        reasons.DENIED,
        users="vision25:{PLAIN}x::::/x::\njohn@vision25:{PLAIN}s3same::::/x::delay_until=9999999999\n",
        attempt=Attempt("john@vision25"),
        settings={"sdps": {"accounts": {"vision25": ""}}},
    ),
    "from another network": Row(reasons.ADDRESS, "allow_nets=192.0.2.0/24"),
    "a master from another network": Row(
        reasons.ADDRESS,
        users=f"{ALICE}allow_nets=192.0.2.0/24\nbob:{{PLAIN}}x::::/x::\n",
        attempt=BY_MASTER,
        settings={"auth": {"masters": ["alice"]}},
    ),
    "at another listener": Row(reasons.LISTENER, "listeners=pop3s"),
    "an app password of another listener": Row(
        reasons.LISTENER, users="alice:::::/x::app_password=phone:pop3s::{PLAIN}s3same\n"
    ),
    "a ticket for another": Row(
        reasons.PRINCIPAL,
        attempt=Attempt("bob", principal="alice@KPOP.TEST", listener="kpop"),
        act=with_tickets,
        patch=with_checkers(lambda: KerberosChecker(["alice@KPOP.TEST -> alice"])),
    ),
    "the policy server's no": Row(
        reasons.POLICY, attempt=Attempt("alice", peer="192.0.2.66"), settings={"auth": {"policy_url": "policy"}}
    ),
    "held for too long": Row(
        reasons.HELD, settings={"limits": {"failure_delay_seconds": 5}}, act=failed, patch=impatient
    ),
    "too soon": Row(reasons.LOGIN_DELAY, settings={"retention": {"login_delay_seconds": 600}}, act=let_in),
    "too soon by the user's own delay": Row(reasons.LOGIN_DELAY, "login_delay=600", act=let_in),
    "a database that is down": Row(reasons.NOT_NOW, settings=IN_DATABASE, act=damaged),
    "a database that is down, behind a list without the user": Row(
        reasons.NOT_NOW, settings=BEHIND_MEMORY, act=damaged
    ),
    "a database that is down, behind a list with the user": Row(
        reasons.NOT_NOW, attempt=Attempt("bob"), settings=BEHIND_MEMORY, act=damaged
    ),
    "no home": Row(reasons.NO_HOME, users="alice:{PLAIN}s3same::::::\n", settings=MAILDIR),
    "nobody's home": Row(
        reasons.NO_HOME,
        users="bob:{PLAIN}x::::/x::\n",
        settings={**MAILDIR, "auth": {"checkers": ["passwd-file:{folder}/users", "memory:alice:s3same"]}},
    ),
    "a format that is not served": Row(reasons.UNSERVED, "userdb_mail=mbox:~/mail"),
    "no place": Row(reasons.NO_MAILDROP, "userdb_mail=maildir:somewhere", settings=MAILDIR),
    "no such store": Row(reasons.NO_MAILDROP, "userdb_mail=sdb:/x"),
    "in use": Row(reasons.IN_USE, settings=MAILDIR, act=held),
    "in use, in memory": Row(reasons.IN_USE, act=entered),
    "a home that is missing": Row(reasons.UNAVAILABLE, settings=MAILDIR),
    "a file in place of new": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(lambda maildir: ((maildir / "new").rmdir(), (maildir / "new").touch())),
    ),
    "a link in place of cur": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(
            lambda maildir: ((maildir / "cur").rename(maildir / "old"), (maildir / "cur").symlink_to("old"))
        ),
    ),
    "a link in place of the lock": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(
            lambda maildir: (
                (maildir / NAME.decode()).rename(maildir / "old"),
                (maildir / NAME.decode()).symlink_to("old"),
            )
        ),
    ),
    "another version's promise": Row(
        reasons.UNAVAILABLE,
        settings=MAILDIR,
        act=in_maildir(lambda maildir: (maildir / "mailserver-journal").write_bytes(FOREIGN)),
    ),
    "a map that is lost": Row(
        reasons.CORRUPT,
        settings=MAILDIR,
        act=in_maildir(
            lambda maildir: (
                (maildir / "mailserver-index").unlink(missing_ok=True),
                (maildir / "mailserver-uidls").write_bytes(b"damaged"),
                (maildir / "new" / "1700000001.M1P1.host").write_bytes(b"Subject: x\n\nx\n"),
            )
        ),
    ),
}

UNSEEN = {
    reasons.TLS_FAILED: "the client's TLS, of which nothing is known",
    reasons.WRONG_PROTOCOL: "what the client speaks",
}
"""The reasons that are no login's by a name and the right password, and why."""
