"""Dovecot's settings, as the real doveconf prints them, as ours."""

import subprocess
import tomllib

import pytest

from mailserver.migration.users.converted import Unconvertible
from mailserver.migration.users.dovecot import read_dovecot

RICH = """\
protocols = pop3 imap lmtp
listen = 192.0.2.1, ::
ssl = required
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
ssl_min_protocol = TLSv1
auth_mechanisms = plain login ntlm cram-md5
auth_default_realm = example.org
auth_username_translation = "%@!@"
auth_master_user_separator = *
login_trusted_networks = 192.0.2.0/24
mail_location = maildir:/srv/%d/%Ln/Maildir:INDEX=/x:CONTROL=/c
mail_uid = mail
hostname = mail.example.org
haproxy_trusted_networks = 192.0.2.0/24 2001:db8::/32
mail_debug = yes
passdb {
  driver = passwd-file
  args = {folder}/masters
  master = yes
}
passdb {
  driver = passwd-file
  args = {folder}/denied
  deny = yes
}
passdb {
  driver = passwd-file
  args = username_format=%u {folder}/users
}
passdb {
  driver = passwd-file
  args = scheme=PLAIN {folder}/plain
}
passdb {
  driver = passwd-file
  args = username_format=%n {folder}/%d/users
  override_fields = allow_nets=192.0.2.0/24
}
passdb {
  driver = sql
  args = {folder}/sql.conf
}
passdb {
  driver = ldap
  args = {folder}/ldap.conf
}
passdb {
  driver = pam
}
passdb {
  driver = checkpassword
  args = /bin/checkpassword
}
userdb {
  driver = static
  args = uid=mail gid=mail home=/home/%d/%n
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1G:messages=1000
  quota_rule2 = Trash:storage=+100M
  quota_warning = storage=80%% quota-warning 80 %u
  sieve = ~/.dovecot.sieve
}
service pop3-login {
  inet_listener pop3 {
    port = 1110
  }
  inet_listener extra {
    port = 2110
    address = 2001:db8::1
    haproxy = yes
  }
  inet_listener off {
    port = 0
  }
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = mail
    group = mail
  }
}
protocol pop3 {
  pop3_uidl_format = %v-%u
  pop3_no_flag_updates = yes
}
protocol imap {
  mail_max_userip_connections = 20
}
"""


def doveconf(folder, text):
    """What the real one prints of a configuration."""
    (folder / "dovecot.conf").write_text(text.replace("{folder}", str(folder)))
    for name in ("cert.pem", "key.pem"):
        (folder / name).touch()
    command = ["doveconf", "-c", folder / "dovecot.conf", "-nP"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_rich_configuration_comes_along(tmp_path):
    converted = read_dovecot(doveconf(tmp_path, RICH), "dovecot.conf")
    assert tomllib.loads(converted.text) == {
        "hostname": "mail.example.org",
        "user": "mail",
        "listen": {
            "pop3": [
                "haproxy:tcp6:2110:interface=2001\\:db8\\:\\:1",
                "tcp:1110:interface=192.0.2.1",
                "tcp6:1110:interface=\\:\\:",
            ],
            "pop3s": ["tcp:995:interface=192.0.2.1", "tcp6:995:interface=\\:\\:"],
            "lmtp": ["unix:/var/spool/postfix/private/dovecot-lmtp:mode=600:user=mail:group=mail"],
        },
        "tls": {"certificate": f"{tmp_path}/cert.pem", "key": f"{tmp_path}/key.pem", "profile": "old"},
        "auth": {
            "checkers": [
                f"passwd-file:{tmp_path}/users",
                "passwd-file:/etc/mailserver/users",
                "sql:/etc/mailserver/sql.toml",
                "dovecot-auth:/run/dovecot/auth-client:userdb=/run/dovecot/auth-userdb",
                "pam:mailserver",
            ],
            "cleartext": "tls",
        },
        "names": {"tag_separators": "+", "case": "lower", "default_domain": "example.org", "at_signs": "%!"},
        "store": {"url": "maildir:/srv/{domain}/{local}/Maildir", "former": "dovecot:%v-%u"},
        "limits": {"proxies": ["192.0.2.0/24", "2001:db8::/32"]},
        "quota": {"octets": 1 << 30, "messages": 1000, "warn_percent": 80},
    }
    assert "# " in converted.text.partition("mail_debug")[0].splitlines()[-1]  # told as not looked at


def test_what_cannot_be_taken_over_is_told_with_what_to_do(tmp_path):
    remarks = read_dovecot(doveconf(tmp_path, RICH), "dovecot.conf").remarks
    assert [(about, said) for about, text in remarks for said in SAID if said in text] == [
        ("passdb passwd-file", "auth.masters; they"),
        ("passdb passwd-file", "must not log in"),
        ("passdb passwd-file", f"mailserver migrate users dovecot-users {tmp_path}/plain --scheme PLAIN"[:44]),
        ("passdb passwd-file", ":domain=example.org"),
        ("passdb passwd-file", "override_fields"),
        ("passdb sql", "mailserver migrate users dovecot-sql"),
        ("passdb ldap", "docs/users-ldap.md"),
        ("passdb pam", "/etc/pam.d"),
        ("passdb checkpassword", "this kind has no place here"),
        ("auth_mechanisms", "ntlm"),
        ("auth_master_user_separator", "user*master is no login"),
        ("login_trusted_networks", "PROXY"),
        ("mail_location", "CONTROL"),
        ("plugin", "sieve"),
    ]
    assert len(remarks) == len(SAID)


SAID = (
    *(
        "auth.masters; they",
        "must not log in",
        "mailserver migrate users dovecot-users /tmp/"[:44],
        ":domain=example.org",
    ),
    *(
        "override_fields",
        "mailserver migrate users dovecot-sql",
        "docs/users-ldap.md",
        "/etc/pam.d",
        "this kind has no place here",
    ),
    *("ntlm", "user*master is no login", "PROXY", "CONTROL", "sieve"),
)


def settings(text):
    converted = read_dovecot(text, "dovecot.conf")
    return tomllib.loads(converted.text), dict(converted.remarks)


def test_what_doveconf_leaves_out_is_dovecot_s_default():
    made, told = settings(
        "mail_location = maildir:~/Maildir\npassdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\n"
    )
    assert made == {
        "user": "vmail",
        "listen": {"pop3": ["tcp6:110"]},
        "auth": {"checkers": ["passwd-file:/etc/dovecot/users"], "cleartext": "loopback"},
        "names": {"case": "lower"},
        "store": {"url": "maildir:{home}/Maildir", "former": "dovecot", "seen": "retr"},
    }
    assert set(told) == {"mail_uid", "ssl"}


def test_version_2_4_says_the_same_in_other_words():
    made, told = settings("""\
dovecot_config_version = 2.4.0
protocols {
  imap = yes
  pop3 = yes
}
mail_driver = maildir
mail_home = /srv/%{user | domain}/%{user | username | lower}
mail_path = ~/Maildir
mail_uid = vmail
auth_allow_cleartext = yes
ssl_server_cert_file = /etc/cert.pem
ssl_server_key_file = # hidden, use -P to show it
ssl_min_protocol = TLSv1.3
pop3_uidl_format = %{uidvalidity}.%{uid}
auth_username_format = %{user}
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
passdb sql {
  query = SELECT 1
}
quota "User quota" {
  quota_storage_size = 5G
}
""")
    assert made == {
        "user": "vmail",
        "listen": {"pop3": ["tcp6:110"], "pop3s": ["tcp6:995"]},
        "tls": {"certificate": "/etc/cert.pem", "key": "/etc/mailserver/key.pem", "profile": "modern"},
        "auth": {"checkers": ["passwd-file:/etc/dovecot/users", "sql:/etc/mailserver/sql.toml"], "cleartext": "always"},
        "store": {
            "url": "maildir:/srv/{domain}/{local}/Maildir",
            "former": "dovecot:%{uidvalidity}.%{uid}",
            "seen": "retr",
        },
        "quota": {"octets": 5 << 30},
    }
    assert set(told) == {"ssl_key", "passdb sql"}


@pytest.mark.parametrize(
    ("location", "home", "url"),
    [
        ("maildir:~/Maildir", "", "maildir:{home}/Maildir"),
        ("maildir:%h/mail", "/srv/%u", "maildir:/srv/{user}/mail"),
        ("maildir:/srv/%n:INBOX=/srv/in/%n", "", "maildir:/srv/in/{local}"),
        ("maildir:/srv/a{b}/%u", "", "maildir:/srv/a{{b}}/{user}"),
        ("maildir:", "", "maildir:{home}/Maildir"),
    ],
)
def test_the_place_of_the_mail_is_that_of_there(location, home, url):
    made, _ = settings(f"mail_location = {location}\nmail_home = {home}\n")
    assert made["store"]["url"] == url


@pytest.mark.parametrize(
    ("line", "about", "said"),
    [
        ("mail_location = mbox:~/mail", "mail_location", "mail in mbox: only Maildirs"),
        ("mail_location = mdbox:~/mail", "mail_location", "mailserver migrate mail"),
        ("mail_debug = no", "mail_location", "place of the mail is not said"),
        ("mail_location = maildir:/srv/%1n/%u", "mail_location", "the variable %1n"),
        ("mail_location = maildir:/srv/mail", "mail_location", "share one maildrop"),
        ("pop3_reuse_xuidl = yes", "pop3_reuse_xuidl", "downloaded again"),
        ("pop3_deleted_flag = $POP3Deleted", "pop3_delete_type", "come back"),
        ("pop3_enable_last = yes", "pop3_enable_last", "LAST"),
        ("pop3_uidl_duplicates = rename", "pop3_uidl_duplicates", "copies"),
        ("mail_plugins = quota mail_crypt", "mail_plugins", "nobody but Dovecot"),
        ("auth_username_format = %Ln", "auth_username_format", "names.local_domains"),
        ("protocols = imap", "protocols", "POP3 is not served"),
        ("protocols = pop3 lmtp", "service lmtp", "/run/mailserver/lmtp"),
        ("local_name a.example.org {\n}", "local_name a.example.org", "tls.certificates"),
        ("plugin {\n  quota_rule = *:storage=much\n}", "quota_rule", "not understood"),
        ("mail_uid = 4294967294", "mail_uid", "no name on this machine"),
        ("userdb {\n  driver = passwd\n}", "userdb passwd", "chown"),
        ("userdb {\n  driver = vpopmail\n}", "userdb vpopmail", "no place here"),
        ("passdb {\n  driver = static\n}", "passdb static", "passwd-file"),
    ],
)
def test_each_thing_without_a_place_here_is_told(line, about, said):
    certificate = "ssl_cert = </c\nssl_key = </k\n" * ("local_name" in line)
    _, told = settings(f"{certificate}{line}\n")
    assert said in told[about]


def test_no_place_is_written_that_all_would_share():
    made, _ = settings("mail_location = maildir:/srv/mail\n")
    assert "url" not in made["store"]


def test_what_is_no_configuration_is_refused():
    with pytest.raises(Unconvertible, match="doveconf -nP"):
        read_dovecot("", "x")
    with pytest.raises(Unconvertible, match="doveconf -nP"):
        read_dovecot("!include conf.d/*.conf\n", "x")
