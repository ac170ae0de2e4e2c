"""``make serve``: a server on loopback only, with an account, a few messages and a certificate of its own.

All its files are in one folder, which the first run makes and later runs use again.
"""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from mailserver.auth.kerberos import libkrb5
from mailserver.config.kinds import KINDS
from mailserver.demo import realm as demo_realm
from mailserver.demo import sending
from mailserver.demo.realm import DemoRealm, make_realm
from mailserver.demo.sending import Intake
from mailserver.demo.sockets import command, escaped, socket_in
from mailserver.demo.user import as_user, give, reachable, serving_user
from mailserver.tls.certificates import self_signed

ACCOUNT: Final = "demo"
PORTS: Final = {kind.name: (kind.port, kind.demo_port) for kind in KINDS.values() if not kind.pages}
"""The ports of each kind, the first that can be bound is taken: those below 1024 are root's."""

CONTROL: Final = "control"
"""The file of the operators' socket."""

MESSAGES: Final = (
    ("Welcome", "This message lies in a Maildir, as your own mail server would deliver it.\n"),
    (
        "A line that begins with a dot",
        ".this line begins with a dot, and arrives with one dot.\n.\nThat was not the end.\n",
    ),
    ("Grüße", "Not every octet is ASCII: naïve café, 你好.\n"),
)


def main(ports: Mapping[str, Sequence[int]] = PORTS, *, kerberos: bool = False) -> None:
    """Set up, print the instructions, and become the server; with `kerberos`, in a realm of its own."""
    if kerberos and (missing := demo_realm.missing()):
        sys.exit(f"not installed: {' '.join(missing)}; as root: apt-get install {demo_realm.PACKAGES}")
    link = Path("var")
    link.mkdir(exist_ok=True)
    owner = serving_user(link)
    var = reachable(link, owner).resolve()
    give(var, owner)
    chosen = {kind: choose_port(candidates) for kind, candidates in ports.items() if kind != "lmtp"}
    lmtp = sending.intake(var, lambda: choose_port(ports["lmtp"]))
    realm = DemoRealm(var / "kerberos", choose_port((0,))) if kerberos else None
    # Done before this process becomes the user, since the user may not be able to read Python's folders.
    pair = self_signed(["localhost", "127.0.0.1"], days=3650)
    hosts = demo_realm.hosts() if kerberos else set()
    messages = [_message(subject, text) for subject, text in MESSAGES]

    def work() -> str:
        password = furnish(var, pair, messages)
        if realm is not None:
            make_realm(realm, hosts, ACCOUNT, password)
        return password

    password = as_user(owner, work)
    if realm is not None:
        realm.start(owner)
    sys.stdout.write(instructions(chosen, lmtp, password, var, owner.pw_name, realm))
    sys.stdout.flush()
    server = [sys.executable, "-P", "-m", "twisted", "--log-format=text", "mailserver"]
    environment = {**os.environ, **(realm.environment if realm else {})}
    # Replace this process, so that Ctrl-C goes to the server and the exit status is the server's.
    os.execve(sys.executable, [*server, *flags(chosen, lmtp, var, owner, realm)], environment)  # noqa: S606


def flags(
    ports: Mapping[str, int], lmtp: Intake, var: Path, owner: pwd.struct_passwd, realm: DemoRealm | None
) -> list[str]:
    """The server's settings, as flags: a file of the user's must not configure a server that root starts."""
    given = {
        "hostname": "localhost",
        "pop3": f"tcp:{ports['pop3']}:interface=127.0.0.1",
        "pop3s": f"tcp:{ports['pop3s']}:interface=127.0.0.1",
        "lmtp": lmtp.endpoint,
        "control": "" if (control := socket_in(var, CONTROL)) is None else escaped(control),
        "tls-certificate": f"{var}/cert.pem",
        "tls-key": f"{var}/key.pem",
        "auth": f"passwd-file:{var}/users",
        "cleartext": "loopback",
    }
    if os.geteuid() == 0:
        given["user"] = owner.pw_name
    if realm is not None:
        given |= {"kpop": f"tcp:{ports['kpop']}:interface=127.0.0.1", "keytab": str(realm.keytab)}
    return [f"--{name}={value}" for name, value in given.items()]


def furnish(var: Path, pair: tuple[bytes, bytes], messages: Sequence[bytes]) -> str:
    """Make the missing files, with this certificate and its key, and answer the account's password."""
    var.chmod(0o700)
    home = var / "mail" / ACCOUNT
    if not (var / "users").exists():
        password = secrets.token_urlsafe(9)
        _write(var / "users", f"{ACCOUNT}:{{PLAIN}}{password}::::{home}\n".encode())
    if not (var / "cert.pem").exists():
        certificate, key = pair
        _write(var / "key.pem", key)
        _write(var / "cert.pem", certificate)
    if not home.exists():
        for folder in ("tmp", "cur", "new"):
            (home / "Maildir" / folder).mkdir(parents=True)
        for number, message in enumerate(messages, 1):
            _write(home / "Maildir/new" / f"{1_750_000_000 + number}.M{number}P1.localhost", message)
    return (var / "users").read_text(encoding="utf-8").partition("{PLAIN}")[2].partition(":")[0]


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _message(subject: str, text: str) -> bytes:
    message = EmailMessage()
    message["From"] = "mailserver <postmaster@localhost>"
    message["To"] = f"{ACCOUNT}@localhost"
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message.set_content(text, cte="8bit")
    return message.as_bytes()


def choose_port(candidates: Sequence[int]) -> int:
    """The first of the ports that can be bound.

    It stays bound, also in the server that this process becomes, so that no other process gets it meanwhile. The listener
    needs SO_REUSEADDR, which Twisted and the KDC set.
    """
    for port in candidates:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            number = int(trial.getsockname()[1])
            os.set_inheritable(trial.detach(), True)
            return number
    sys.exit(
        f"ports {' and '.join(map(str, candidates))} of 127.0.0.1 are in use: stop the programs that use them (ss -ltnp)"
    )


def instructions(  # noqa: PLR0913, PLR0917 - all that it tells
    ports: Mapping[str, int], lmtp: Intake, password: str, var: Path, user: str, realm: DemoRealm | None
) -> str:
    """The text for a newcomer: how to use the server."""
    url = f"pop3://{ACCOUNT}:{password}@127.0.0.1:{ports['pop3']}"
    kpop = (
        f"127.0.0.1, port {ports['kpop']} (a Kerberos ticket first, then POP3; STLS is offered)"
        if realm
        else f"left out: {without_kpop()}"
    )
    tickets = with_a_ticket(ports, password, var, realm) if realm else ""
    control = socket_in(var, CONTROL)
    asking = f"\n  Ask the server what runs:\n\n    {command('status', '--socket', str(control))}\n" if control else ""
    return f"""
  Account    {ACCOUNT}
  Password   {password}

  POP3       127.0.0.1, port {ports["pop3"]} (STLS is offered)
  POP3S      127.0.0.1, port {ports["pop3s"]} (TLS from the first byte; self-signed: {var}/cert.pem)
  KPOP       {kpop}
  LMTP       {lmtp.shown} (for mail servers, and for the first of these lines)

  Send a message to the account, in another shell:

    {sending.line(lmtp, ACCOUNT)}

  Fetch the newest message:

    {sending.newest(url)}
{asking}{tickets}
  It serves as user {user}, from {var}. Ctrl-C stops it.

"""


def without_kpop() -> str:
    """Why there is no KPOP, and the remedy."""
    try:
        libkrb5.load()
    except libkrb5.KerberosUnavailable as error:
        return str(error)
    return "it needs a Kerberos realm and a keytab. `make serve KERBEROS=demo` makes both"


def with_a_ticket(ports: Mapping[str, int], password: str, var: Path, realm: DemoRealm) -> str:
    """The instructions for a login without a password."""
    folder = realm.folder
    try:
        import gssapi  # noqa: F401 - imported to see whether it is installed
    except ImportError:
        sasl = "SASL GSSAPI is left out; for it, as root: apt-get install gcc libkrb5-dev"
    else:
        sasl = f"""The same by SASL GSSAPI:

    curl --login-options AUTH=GSSAPI --user {ACCOUNT}@{demo_realm.NAME}: pop3://localhost:{ports["pop3"]}/1"""
    return f"""
  Get a ticket of the realm {demo_realm.NAME}, in another shell, and fetch all messages with it:

    export KRB5_CONFIG={folder}/krb5.conf KRB5CCNAME={folder}/tickets FETCHMAILHOME={folder}
    echo {password} | kinit {ACCOUNT}
    fetchmail --protocol KPOP --plugin '{sys.executable} -P -m mailserver.demo.connect {ports["kpop"]}' \\
        --sslcertfile {var}/cert.pem --user {ACCOUNT} --fetchall --keep --mda cat \\
        --nodetach --fetchmailrc /dev/null localhost

  {sasl}
"""


def wanted(arguments: Sequence[str]) -> bool:
    """Whether ``make serve`` was called with ``KERBEROS=demo``."""
    if arguments not in ([], ["demo"]):
        sys.exit("make serve KERBEROS=demo is the only value; for a realm of your own see docs/kerberos.md")
    return bool(arguments)


if __name__ == "__main__":
    main(kerberos=wanted(sys.argv[1:]))
