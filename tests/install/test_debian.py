"""Newcomers, who do on a bare Debian what the pages say, by systemd; with TEST_DEBIANS alone, as it takes minutes and a network.

TEST_DEBIANS=/var/tmp/debians python -m pytest tests/install
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.install.debian import TREES, Debian
from tests.test_packaging import sdist, wheel

__all__ = ["sdist", "wheel"]

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = [
    pytest.mark.skipif(not TREES, reason="takes minutes and a network: TEST_DEBIANS names a folder for its trees"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make and boot a tree"),
]

BEGIN = "set -euv; export PIP_FIND_LINKS=/root/dist\n"
"""Each line is said before it is run, as it stands here: so without the password."""

FETCH = """
fetch() {
    curl --silent --show-error --cacert /etc/mailserver/cert.pem --user "alice:$(cat /root/alice.password)" pop3s://localhost/1 | grep 'It works'
}
"""

AFTER_RESTARTS = """
for each in 1 2 3; do systemctl --no-block restart mailserver; fetch; systemctl is-active --wait mailserver || true; done
test "$(systemctl is-active mailserver)" = active
systemctl reload mailserver
mailserver explain alice
mailserver login
systemctl stop mailserver; fetch
grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/$(systemctl show -P MainPID mailserver)/status
"""

BESIDE = """
test -s /usr/local/share/man/man1/mailserver-explain.1 -a -s /usr/local/share/man/man5/mailserver.toml.5
bash -c '. /usr/local/share/bash-completion/completions/mailserver; complete -p mailserver'
"""

REPLACED_BY_ITSELF = """
before=$(systemctl show -P MainPID mailserver)
mailserver restart; fetch
until test "$(systemctl show -P MainPID mailserver)" != "$before"; do systemctl is-active mailserver; done
while test -e /proc/$before; do systemctl is-active mailserver; done
test "$(systemctl is-active mailserver) $(systemctl show -P NRestarts mailserver)" = "active 0"
mailserver login alice --password-file /root/alice.password
"""

SOCKET_OF_A_GROUP = """
install -d /etc/systemd/system/mailserver.service.d
printf '[Service]\\nSupplementaryGroups=mail\\n' > /etc/systemd/system/mailserver.service.d/lmtp.conf
sed -i 's|^lmtp = .*|lmtp = ["unix:/run/mailserver/lmtp:mode=660:group=mail"]|' /etc/mailserver/mailserver.toml
systemctl daemon-reload; systemctl restart mailserver
test "$(stat -c '%U %G %a' /run/mailserver/lmtp)" = "vmail mail 660"
"""

LOG_IN_A_FILE = """
apt-get install --yes --no-install-recommends logrotate
install -m 644 ../logrotate.d/mailserver /etc/logrotate.d/mailserver
sed -n -e 's|twist |twist --log-file=/var/log/mailserver/mailserver.log |' -e '/^ExecStart=/p' mailserver.service > start
(echo '[Service]'; echo LogsDirectory=mailserver; echo ExecStart=; cat start) > /etc/systemd/system/mailserver.service.d/log.conf
systemctl daemon-reload; systemctl restart mailserver; fetch
logrotate --force /etc/logrotate.d/mailserver
fetch
systemctl stop mailserver
grep -c retrieved /var/log/mailserver/mailserver.log /var/log/mailserver/mailserver.log.1
test "$(stat -c '%U %G %a' /var/log/mailserver/mailserver.log)" = "vmail adm 640"
rm /etc/systemd/system/mailserver.service.d/log.conf
systemctl daemon-reload; systemctl start mailserver
"""

CREDENTIALS = """
install -m 600 /etc/mailserver/key.pem /root/key.pem
rm /etc/mailserver/key.pem
printf '[Service]\\nLoadCredential=key.pem:/root/key.pem\\n' > /etc/systemd/system/mailserver.service.d/credentials.conf
sed -i 's|^key = .*|key = "/run/credentials/mailserver.service/key.pem"|' /etc/mailserver/mailserver.toml
systemctl daemon-reload; systemctl restart mailserver; fetch
"""

WITH_PAM = """
rm /etc/systemd/system/mailserver.service.d/credentials.conf
install -m 640 -g vmail /root/key.pem /etc/mailserver/key.pem
sed -i 's|^key = .*|key = "/etc/mailserver/key.pem"|' /etc/mailserver/mailserver.toml
cp pam.conf /etc/systemd/system/mailserver.service.d/
systemctl daemon-reload; systemctl restart mailserver; fetch
"""


REMOVED = """
test -z "$(systemctl list-unit-files --legend=no 'mailserver*')$(find /etc/systemd /opt /usr/local/bin -name '*mailserver*')"
test -d /var/vmail/alice -a -f /etc/mailserver/users
"""


def blocks(page, heading=""):
    """The commands of a page, or of a section of it."""
    text = (DOCS / page).read_text("utf-8")
    section = text[text.index(heading) :].partition("\n## ")[0] if heading else text
    return "".join(re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_newcomer_does_the_first_hour_and_lets_systemd_hold_the_ports(suite, sdist, wheel):
    if shutil.which("debootstrap") is None or shutil.which("systemd-nspawn") is None:
        pytest.fail("apt-get install debootstrap systemd-container")
    with Debian.bare(suite) as debian:
        # A release of Python that the wheel is not for builds from the sdist, without a compiler.
        debian.put("/root/dist", sdist, wheel)
        script = [
            BEGIN,
            blocks("first-hour.md"),
            FETCH,
            REPLACED_BY_ITSELF,
            blocks("install.md", "# Installing"),
            BESIDE,
            blocks("install.md", "## systemd"),
            AFTER_RESTARTS,
            REPLACED_BY_ITSELF,
            SOCKET_OF_A_GROUP,
            LOG_IN_A_FILE,
            CREDENTIALS,
            WITH_PAM,
            blocks("install.md", "## Removing it"),
            REMOVED,
        ]
        said = debian.boot("".join(script))
    assert "\nIt works.\n" in said
    assert re.search(r"^WORKER +PID +VERSION .*\n +- +\d+ +\d", said, re.MULTILINE)
    assert re.search(r"^Uid:\t(?!0\t)(\d+)\t\1\t\1\t\1$", said, re.MULTILINE), "it serves as vmail"
    assert re.search(r"^CapEff:\t0000000000000400$", said, re.MULTILINE), "it may bind low ports, and no more"
    assert re.search(r"^NoNewPrivs:\t1\nSeccomp:\t2$", said, re.MULTILINE)
