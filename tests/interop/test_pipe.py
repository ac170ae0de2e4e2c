"""A real Postfix hands mail over by its pipe, and what it makes of the command's exit status and words."""

import os
import re
from pathlib import Path

import pytest

from tests.cli.lmtp_server import LMTPServer
from tests.cli.running import ROOT
from tests.interop.postfix import Postfix
from tests.interop.relay import Relay

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a Postfix")

PAGE = (Path(ROOT) / "docs/commands.md").read_text(encoding="utf-8")
LINES = re.search(r"(?m)^ *(mailserver unix .*\n) +(argv=.*\n)", PAGE)
"""Those of master.cf, in the help of the command."""

MAIN = """
transport_maps = inline:{ example.org=mailserver:, wrong.example=wrong:, dead.example=dead: }
mailserver_destination_recipient_limit = 1
relay_domains = example.org, wrong.example, dead.example
"""

REFUSED = {
    "RCPT TO:<nobody@": b"550 5.1.1 no such user here",
    "RCPT TO:<full@": b"452 4.2.2 the maildrop is full",
    "RCPT TO:<over@": b"552 5.2.2 the maildrop is full",
}


@pytest.fixture(scope="module")
def server():
    with LMTPServer(REFUSED) as server:
        Path(server.path).parent.chmod(0o755)
        Path(server.path).chmod(0o777)
        yield server


def service(name, program, *options):
    """The page's lines under another name, for the command that is under test, with these options besides."""
    first, second = LINES.groups()
    first = first.replace("mailserver", name, 1).replace("user=vmail", "user=nobody")
    return first + "  " + second.replace("/usr/bin/mailserver deliver", " ".join([str(program), "deliver", *options]))


@pytest.fixture(scope="module")
def postfix(server):
    with Postfix() as postfix, Relay(postfix.folder, Path(server.path)):
        program = postfix.folder / "mailserver"
        postfix.configure(
            MAIN,
            service("mailserver", program)
            + service("wrong", program, "--sokcet")
            + service("dead", program, "--config", "/nowhere"),
        )
        postfix.start()
        yield postfix


def send(postfix, recipient, sender="carol@example.com"):
    with postfix.connect() as client:
        client.sendmail(sender, recipient, b"Subject: x\r\n\r\n.dot\r\n")


@pytest.mark.parametrize("sender", ["carol@example.com", ""])
def test_a_message_comes_with_its_envelope(postfix, server, sender):
    send(postfix, f"alice+{len(sender)}@example.org", sender)
    postfix.log.wait_for(rf"to=<alice\+{len(sender)}@example.org>.* status=sent")
    assert f"MAIL FROM:<{sender}> BODY=8BITMIME" in server.heard
    assert f"RCPT TO:<alice+{len(sender)}@example.org> ORCPT=rfc822;alice+2B{len(sender)}@example.org" in server.heard
    assert server.data.endswith(b"Subject: x\r\n\r\n..dot\r\n.\r\n")


@pytest.mark.parametrize(
    ("recipient", "status", "code"),
    [
        ("nobody@example.org", "bounced", "5.1.1"),
        ("over@example.org", "bounced", "5.2.2"),
        ("full@example.org", "deferred", "4.2.2"),
        ("alice@dead.example", "deferred", "4.3.5"),
        ("alice@wrong.example", "deferred", "4.3.5"),
    ],
)
def test_what_mends_itself_stays_in_the_queue_and_the_rest_bounces_with_its_code(postfix, recipient, status, code):
    send(postfix, recipient)
    line = postfix.log.wait_for(rf"to=<{recipient}>.* dsn={code}, status={status} \((.*)\)")
    assert "command line usage error" not in line[1]
