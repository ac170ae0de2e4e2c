"""The table of the kinds of listeners: it is true, and a line in it is all that a new kind needs to be bound."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mailserver
from mailserver.cli.launch import Options
from mailserver.config.kinds import KINDS, Listen
from mailserver.config.reading import decode
from mailserver.demo.demo import PORTS
from mailserver.errors import ConfigError

PACKAGE = Path(mailserver.__file__).parent
ROOT = Path(__file__).parents[2]

ANOTHER = '    mtqp: tuple[str, ...] = _kind("MTQP", port=1038, demo_port=11038, tls=True)\n'
SERVED = """
import sys
from twisted.internet import defer, reactor, task
from mailserver.cli.launch import Options
from mailserver.demo.demo import PORTS
from mailserver.errors import ConfigError
from mailserver.service.binding import bind

async def main(reactor):
    options = Options()
    options.parseOptions(["--mtqp=tcp:0:interface=127.0.0.1", "--auth=memory:alice:wonderland", *sys.argv[1:]])
    for bound in await bind(options.settings().listen, reactor):
        print(bound.kind, bound.endpoint, bound.port.getHost().host, PORTS[bound.kind][0])
        await defer.maybeDeferred(bound.port.stopListening)

try:
    task.react(lambda reactor: defer.Deferred.fromCoroutine(main(reactor)))
except ConfigError as error:
    print(error)
"""


def test_the_table_is_what_clients_expect():
    rows = {kind.name: (kind.protocol, kind.port, kind.tls, kind.keytab) for kind in KINDS.values()}
    assert rows == {
        "pop3": ("POP3", 110, False, False),
        "pop3s": ("POP3", 995, True, False),
        "kpop": ("KPOP", 1109, False, True),
        "lmtp": ("LMTP", 24, False, False),
        "http": ("HTTP", 8110, False, False),
        "https": ("HTTP", 8111, True, False),
    }


def served(folder, *flags):
    """What a server with one more kind in its table says."""
    shutil.copytree(PACKAGE, folder / "mailserver", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "twisted", folder / "twisted", ignore=shutil.ignore_patterns("__pycache__", "*.cache"))
    table = folder / "mailserver/config/kinds.py"
    text = table.read_text()
    table.write_text(re.sub(r"(?m)^    kpop: ", f"{ANOTHER}\\g<0>", text, count=1))
    ended = subprocess.run(
        [sys.executable, "-c", SERVED, *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout, ended.stderr


def test_a_line_in_the_table_is_a_flag_a_setting_and_a_bound_port(tmp_path):
    said, errors = served(tmp_path, "--tls-certificate=c.pem", "--tls-key=k.pem")
    assert said == "mtqp tcp:0:interface=127.0.0.1 127.0.0.1 1038\n", errors


def test_a_line_in_the_table_says_what_the_kind_needs(tmp_path):
    _, errors = served(tmp_path)
    assert "--mtqp: TLS needs a certificate and a key" in errors


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_table_and_what_is_made_of_it_agree(kind):
    assert KINDS[kind.name] is kind
    assert PORTS.get(kind.name) == (None if kind.pages else (kind.port, kind.demo_port))
    assert kind.demo_port > 1023
    assert Options().docs[kind.name] == kind.help
    assert f"`listen.{kind.name}`" in (row := row_of(kind.name))
    assert f"Port {kind.port} " in row
    config = decode({"listen": {**MAIL, kind.name: [LOCAL]}, **ENOUGH})
    assert config.listen.of(kind.name) == (LOCAL,)
    assert set(config.listen.endpoints) == {LOCAL, *config.listen.pop3}


LOCAL = "tcp:1:interface=127.0.0.1"
MAIL = {"pop3": ["tcp:2:interface=127.0.0.1"]}
ENOUGH = {
    "auth": {"checkers": ["memory:alice:wonderland"]},
    "tls": {"certificate": "c", "key": "k"},
    "kerberos": {"keytab": "t"},
}


def row_of(name):
    rows = (ROOT / "docs/configuration.md").read_text().splitlines()
    return next(row for row in rows if row.startswith(f"| `listen.{name}`"))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_a_kind_needs_is_wanted_of_it_alone(kind):
    told = ""
    try:
        decode({"listen": {**MAIL, kind.name: [LOCAL]}, "auth": ENOUGH["auth"]})
    except ConfigError as error:
        told = str(error)
    assert ("TLS needs a certificate" in told) == kind.tls
    assert (f"{kind.protocol} needs the keys" in told) == kind.keytab


EVERYWHERE = [
    *("tcp:24", "tcp6:24", "haproxy:tcp:24", "tcp:24:interface=", "tcp:24:backlog=5", "tcp:port=24"),
    *("tcp:24::5", "tcp6:24:5"),  # a backlog, and of tcp6 that comes before an interface
    *("tcp", "tcp6:"),  # which nobody can bind either, as they are
]
SOMEWHERE = [
    "tcp:24:interface=127.0.0.1",
    "tcp:24:192.0.2.1",
    "tcp:24:interface=0.0.0.0",  # whoever writes it means it, as in a container
    "tcp6:24:backlog=5:interface=\\:\\:1",
    "tcp6:24:5:\\:\\:1",
    "tcp:interface=127.0.0.1:port=24",
    "unix:/run/lmtp",
    "systemd:domain=INET:index=0",
]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("endpoint", EVERYWHERE + SOMEWHERE)
def test_who_serves_without_a_login_says_where(kind, endpoint):
    told = ""
    try:
        decode({"listen": {kind.name: [endpoint]}, "limits": {"proxies": ["127.0.0.1"]}, **ENOUGH})
    except ConfigError as error:
        told = str(error)
    wanted = not (kind.login or kind.pages) and endpoint in EVERYWHERE
    assert ("LMTP has no login: name an interface" in told) == wanted, told


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.pages], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        *[
            (each, "")
            for each in ("tcp:0", "tcp6:0", "tcp:0:backlog=5", "tcp:0:interface=127.0.0.2", "tcp:0:localhost")
        ],
        *[(each, "") for each in ("tcp6:0:interface=\\:\\:1", "unix:/run/http", "systemd:domain=INET:index=0")],
        *[
            (f"tcp:0:{each}", "name a token in web.token_file")
            for each in ("interface=0.0.0.0", "192.0.2.1", "interface=host")
        ],
        ("tcp6:0:interface=\\:\\:", "name a token in web.token_file"),
        ("haproxy:tcp:0", "a PROXY header would hide"),
        ("ssl:0", "TLS is made by https itself: use listen.https"),
    ],
)
def test_pages_for_other_machines_need_a_token(kind, endpoint, told):
    settings = {"listen": {**MAIL, kind.name: [endpoint]}, "limits": {"proxies": ["127.0.0.1"]}, **ENOUGH}
    if not told:
        decode(settings)
        return
    with pytest.raises(ConfigError, match=told):
        decode(settings)
    if "token" in told:
        decode({**settings, "web": {"token_file": "/etc/mailserver/token"}})


def test_pages_alone_are_no_mail_server():
    with pytest.raises(ConfigError, match="nothing to listen on"):
        decode({"listen": {"http": [LOCAL]}, **ENOUGH})


@pytest.mark.parametrize(
    ("listen", "told"),
    [
        (["lmtp"], "mail would be for nobody"),
        (["lmtp", "pop3"], "mail would be for nobody"),
        (["pop3"], "nobody could log in"),
    ],
)
def test_users_are_wanted_of_every_site(listen, told):
    with pytest.raises(ConfigError, match=f"{told}: give --auth passwd-file:FILE, or auth.checkers"):
        decode({"listen": {name: [LOCAL] for name in listen}})


def test_tickets_alone_are_no_users_to_deliver_to():
    settings = {"tls": ENOUGH["tls"], "kerberos": ENOUGH["kerberos"]}
    decode({"listen": {"kpop": [LOCAL]}, **settings})
    with pytest.raises(ConfigError, match="mail would be for nobody"):
        decode({"listen": {"kpop": [LOCAL], "lmtp": [LOCAL]}, **settings})


def kinds_named(path):
    """Whether a module names a kind that nothing but a list of the kinds would name."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return any(getattr(node, "attr", getattr(node, "value", None)) == "pop3s" for node in nodes)


def test_nobody_else_lists_the_kinds():
    naming = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if kinds_named(path)}
    ours = {str(path) for path in naming if path.parts[0] != "migration"}  # which has the protocols of other servers
    # One shows how to use each port that it serves; two know one of two kinds, to log in and to serve, without settings.
    assert ours == {"cli/login.py", "demo/demo.py", "testing/controller.py"}
    assert [*KINDS, "control"] == [*Listen.__dataclass_fields__]  # which serves no mail
