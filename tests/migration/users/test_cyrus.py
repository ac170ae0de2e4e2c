"""Cyrus' imapd.conf, also that of Debian, as our settings."""

import tomllib

import pytest

from mailserver.migration.places import read_place
from mailserver.migration.users.converted import Unconvertible
from mailserver.migration.users.cyrus import read_imapd_conf
from tests.interop.unpacked import unpacked

FILE = """\
# imapd.conf
configdirectory: /var/lib/cyrus
defaultpartition: main
partition-main: /srv/cyrus
servername: mail.example.org
admins: cyrus \\
  root
virtdomains: userid
defaultdomain: example.org
sasl_pwcheck_method: auxprop
sasl_sasldb_path: /srv/sasldb2
tls_server_cert: /etc/cert.pem
tls_server_key: /etc/key.pem
allowplaintext: no
pop3_allowplaintext: yes
uidl_format: dovecot
popuseimapflags: yes
popminpoll: 1h30m
poptimeout: 5
autocreate_quota: 1G
quotawarnpercent: 80
lmtp_over_quota_perm_failure: 1
"""


def settings(text):
    converted = read_imapd_conf(text, "imapd.conf")
    return tomllib.loads(converted.text), {each.about: each.text for each in converted.remarks}


def test_a_rich_configuration_comes_along():
    made, told = settings(FILE)
    assert made == {
        "hostname": "mail.example.org",
        "user": "vmail",
        "listen": {"pop3": ["tcp:110"], "pop3s": ["tcp:995"]},
        "tls": {"certificate": "/etc/cert.pem", "key": "/etc/key.pem"},
        "auth": {"cleartext": "always", "checkers": ["passwd-file:/etc/mailserver/users"]},
        "names": {"case": "lower", "at_signs": "%", "local_domains": ["example.org"]},
        "store": {"url": "maildir:/srv/mail/{user}", "seen": "retr"},
        "limits": {"idle_seconds": 600},
        "retention": {"login_delay_seconds": 5400},
        "quota": {"octets": 1 << 30, "warn_percent": 80, "over": "permanent"},
    }
    assert set(told) == {"sasl_pwcheck_method", "partitions"}
    assert "mailserver migrate users sasldb /srv/sasldb2 --output" in told["sasl_pwcheck_method"]
    place = read_place(told["partitions"].split("'")[-2])
    assert (place.kind, place.where, place.options) == (
        "cyrus",
        "/srv/cyrus",
        {"uidl": "dovecot", "popuseimapflags": "yes"},
    )


def test_debian_s_own_is_read():
    made, told = settings(unpacked("etc/imapd.conf", "cyrus-common").read_text())
    assert (made["retention"], "quota" in made) == ({"login_delay_seconds": 60}, False)
    assert "'cyrus:/var/spool/cyrus/mail'" in told["partitions"]


@pytest.mark.parametrize(
    ("lines", "about", "said"),
    [
        ("popuseacl: 1", "popuseacl", "read_only"),
        ("popsubfolders: yes", "popsubfolders", "no login"),
        ("popexpiretime: 30d", "popexpiretime", "removes"),
        ("sasl_pwcheck_method: saslauthd", "sasl_pwcheck_method", "users-pam.md"),
        ("sasl_auxprop_plugin: sql", "sasl_auxprop_plugin", "users-sql.md"),
        ("virtdomains: on", "virtdomains", "default_domains"),
        ("virtdomains: off", "virtdomains", "local_domains"),
        ("loginrealms: a b", "loginrealms", "domains"),
    ],
)
def test_each_thing_without_a_place_here_is_told(lines, about, said):
    _, told = settings(f"configdirectory: /x\n{lines}\n")
    assert said in told[about]


@pytest.mark.parametrize(
    ("lines", "cleartext"),
    [("", "tls"), ("allowplaintext: 1", "always"), ("allowplaintext: 1\ntls_required: 1", "tls")],
)
def test_passwords_cross_unencrypted_lines_where_they_did(lines, cleartext):
    assert settings(f"configdirectory: /x\n{lines}\n")[0]["auth"]["cleartext"] == cleartext


def test_what_is_off_is_not_told():
    _, told = settings(
        "configdirectory: /x\npopuseacl: 0\npopexpiretime: -1\nmaxlogins_per_host: 0\npopsubfolders: no\n"
    )
    assert set(told) == {"sasl_pwcheck_method", "virtdomains", "partitions"}


@pytest.mark.parametrize(
    "text", ["", "a: b\n", "configdirectory: /x\n@include: /y\n", "configdirectory: /x\nnonsense\n"]
)
def test_what_is_no_imapd_conf_is_refused(text):
    with pytest.raises(Unconvertible, match=r"imapd\.conf"):
        read_imapd_conf(text, "x")
