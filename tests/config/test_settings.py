"""The settings: what is read, what is refused, and in which words."""

import dataclasses
import re
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mailserver.config.cores import FEW_WORKERS
from mailserver.config.kinds import Listen
from mailserver.config.reading import Flag, decode, load, plain, revive
from mailserver.config.settings import Auth, Config, Limits
from mailserver.errors import ConfigError

ROOT = Path(__file__).parents[2]
ENOUGH = 'listen.pop3 = ["tcp:110"]\nauth.checkers = ["memory:alice:wonderland"]\n'


def problems(tmp_path, text, flags=None):
    path = tmp_path / "mailserver.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(path), flags or {})
    return [problem.replace(f"{path}", "FILE") for problem in caught.value.problems]


def settings(tmp_path, text, flags=None):
    path = tmp_path / "mailserver.toml"
    path.write_text(text)
    return load(str(path), flags or {})


def test_what_a_file_leaves_out_has_its_default(tmp_path):
    assert settings(tmp_path, ENOUGH) == Config(
        listen=Listen(pop3=("tcp:110",)), auth=Auth(checkers=("memory:alice:wonderland",))
    )


def test_every_kind_of_value_is_read(tmp_path):
    config = settings(
        tmp_path,
        """
        workers = 0
        [listen]
        pop3 = ["haproxy:tcp:110", "tcp6:110"]
        pop3s = ["tcp:995"]
        [tls]
        certificate = "a.pem"
        key = "a.key"
        profile = "modern"
        [[tls.certificates]]
        certificate = "b.pem"
        key = "b.key"
        [auth]
        checkers = ["memory:alice:wonderland"]
        [kerberos]
        keytab = "pop.keytab"
        kuserok = true
        deny = []
        [limits]
        idle_seconds = 0x400
        failure_delay_seconds = 0.5
        proxies = ["10.0.0.0/8", "fd00::/8"]
        """,
    )
    assert (config.workers, config.tls.profile, config.tls.certificates[0].key) == (0, "modern", "b.key")
    assert (config.kerberos.kuserok, config.kerberos.deny, config.kerberos.require_tls) == (True, (), False)
    assert (config.limits.idle_seconds, config.limits.failure_delay_seconds) == (1024, 0.5)
    assert config.limits.proxies == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def test_all_problems_of_a_file_come_in_one_run_each_with_its_line(tmp_path):
    text = """hostnam = "a"
workers = "2"
[listen]
pop3 = "tcp:110"
[auth]
checkers = ["memory:a:b"]
cleartext = "tsl"
[limits]
idle_second = 3
proxies = ["10.0.0.1/8"]
connections = 0
login_seconds = true
[store]
url = 3
[kerberos]
keytab = "k"
kuserok = "yes"
[http]
"""
    assert problems(tmp_path, text) == [
        'FILE:1: unknown setting "hostnam"; did you mean "hostname"?',
        "FILE:2: workers must be a whole number of at least 0",
        "FILE:4: listen.pop3 must be an array, as in [...]",
        'FILE:7: auth.cleartext must be one of tls, loopback, always; did you mean "tls"?',
        'FILE:9: unknown setting "limits.idle_second"; did you mean "idle_seconds"?',
        'FILE:10: limits.proxies holds "10.0.0.1/8", which is no network such as 192.0.2.0/24',
        "FILE:11: limits.connections must be a whole number of at least 1",
        "FILE:12: limits.login_seconds must be a number of at least 1",
        "FILE:14: store.url must be a string, in quotes",
        "FILE:17: kerberos.kuserok must be true or false",
        'FILE:18: unknown setting "http"',
    ]


def test_what_does_not_fit_hides_nothing_else_of_its_table(tmp_path):
    text = """
listen.pop3 = ["tcp:110"]
[auth]
checkers = ["passwd-fil:x"]
cleartext = "tsl"
[names]
default_domain = "Example.org"
case = "upper"
tag_separator = "+"
[delivery]
catch_all = {"Example.net" = "alice"}
max_octet = 3
[tls]
key = "k"
certificates = 3
"""
    assert [problem.partition(": ")[2][:40] for problem in problems(tmp_path, text)] == [
        "auth.cleartext must be one of tls, loopb",
        "names.case must be one of keep, lower",
        'unknown setting "names.tag_separator"; d',
        'unknown setting "delivery.max_octet"; di',
        "tls.certificates must be an array, as in",
        "auth.checkers: no kind of checker is cal",
        '"Example.org" is no domain in lower case',
        '"Example.net" is no domain in lower case',
    ]


@pytest.mark.parametrize("number", ["inf", "nan", "-1", "0", '"180"'])
def test_a_time_is_a_finite_number_above_its_minimum(tmp_path, number):
    (problem,) = problems(tmp_path, f"{ENOUGH}limits.login_seconds = {number}")
    assert problem == "FILE:3: limits.login_seconds must be a number of at least 1"


def test_a_table_that_is_none_is_refused_with_a_flag_inside_of_it_too(tmp_path):
    flags = {("listen", "pop3"): Flag("--pop3", ["tcp:0"])}
    assert problems(tmp_path, 'listen = 3\nauth.checkers = ["unix"]', flags) == [
        "FILE:1: listen must be a table, as in [listen]"
    ]


def test_a_table_of_an_array_is_found_by_its_own_line(tmp_path):
    text = """[tls]
certificate = "a"
key = "a"
[[tls.certificates]]
certificate = "b"
key = "b"
[[tls.certificates]]
certificate = "c"
"""
    assert "FILE:7: each of tls.certificates needs a certificate and a key" in problems(tmp_path, text)


@pytest.mark.parametrize("text", ['workers = 1\nhostname = "a', "workers = 1\nhostname = = 1\n[auth]"])
def test_what_is_not_toml_is_refused_with_its_line(tmp_path, text):
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("FILE:2: this is not TOML: ")


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(str(tmp_path / "none.toml"), {})
    (tmp_path / "latin").write_bytes(b"hostname = '\xe9'")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(str(tmp_path / "latin"), {})


def test_a_flag_wins_over_the_file_and_makes_tables_where_there_are_none(tmp_path):
    flags = {("listen", "pop3"): Flag("--pop3", ["tcp:2"]), ("store", "seen"): Flag("--seen", "retr")}
    config = settings(tmp_path, ENOUGH, flags)
    assert (config.listen.pop3, config.store.seen) == (("tcp:2",), "retr")


def test_a_wrong_flag_is_named_by_itself():
    flags = {
        ("listen", "pop3"): Flag("--pop3", ["tcp:0"]),
        ("auth", "checkers"): Flag("--auth", ["unix"]),
        ("store", "seen"): Flag("--seen", "nevr"),
    }
    with pytest.raises(ConfigError) as caught:
        load(None, flags)
    assert caught.value.problems == ('--seen: store.seen must be one of never, retr; did you mean "never"?',)


def test_a_checker_and_a_store_of_no_kind_are_told_in_the_same_run(tmp_path):
    text = """[listen]
pop3 = ["tcp:110"]
pop3s = ["tcp:995"]
[auth]
checkers = ["passwd-fil:secret"]
[store]
url = "maildri:{home}"
"""
    said = problems(tmp_path, text)
    assert len(said) == 3
    assert "FILE:3: TLS needs a certificate" in said[0]
    assert said[1].startswith(
        'FILE:5: auth.checkers: no kind of checker is called "passwd-fil"; did you mean "passwd-file"?'
    )
    assert said[2] == "FILE:7: store.url: the store 'maildri:{home}' has an unknown scheme; did you mean maildir:?"
    assert not any("secret" in line for line in said)


def test_no_settings_at_all_say_what_is_needed():
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["command line", "command line"]
    assert "--pop3 tcp:110" in str(caught.value)
    assert "--auth passwd-file:FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('listen.pop3s = ["tcp:995"]', "FILE:2: TLS needs a certificate and a key"),
        ('listen.kpop = ["tcp:1109"]', "FILE:2: KPOP needs the keys of its service: give --keytab FILE"),
        ('listen.pop3 = ["tcp:110"]\nkerberos.kuserok = true', "FILE: this serves nothing without the service's keys"),
        ('listen.pop3 = ["tcp:110"]\nauth.mechanisms = ["gssapi"]', "FILE:3: GSSAPI needs the service's keys"),
        (
            'listen.kpop = ["tcp:1109"]\nkerberos.keytab = "k"\nkerberos.require_tls = true',
            "FILE:4: TLS needs a certificate and a key",
        ),
        ('listen.pop3 = ["tcp:110"]\ntls.key = "k"', "FILE: a certificate and its key go together"),
        ('listen.pop3 = ["tcp:110"]\ntls.ticket_file = "t"', "FILE:3: TLS has sessions to resume"),
        ('listen.pop3 = ["tcp:110"]\ntls.client_ca = "ca"', "FILE:3: clients show certificates in TLS"),
        ('listen.pop3 = ["tcp:110"]\nauth.mechanisms = ["external"]', "FILE:3: EXTERNAL needs authorities"),
        ('listen.pop3 = ["haproxy:tcp:110"]', 'FILE:2: "haproxy:tcp:110": no proxy is believed'),
        ('listen.pop3 = ["ssl:995"]', 'FILE:2: "ssl:995": TLS is made by pop3s itself'),
        ('workers = 500\nlisten.pop3 = ["tcp:110"]', "FILE:2: 500 workers are too many for "),
        ('listen.pop3 = ["tcp:110"]\nquota.warn_command = "warn \\" x"', "FILE:3: it has a quote or a backslash"),
        (
            'listen.pop3 = ["tcp:110"]\ndelivery.catch_all = {"Example.org" = "alice"}',
            'FILE:3: "Example.org" is no domain in lower case, such as example.org',
        ),
        ('listen.pop3 = ["tcp:110"]\ndelivery.catch_all = {"" = "alice"}', 'FILE:3: "@" is no domain'),
        ('listen.pop3 = ["tcp:110"]\ndelivery.catch_all = {"example.org" = "a/b"}', "FILE:3: its user has no name"),
    ],
)
def test_settings_that_cannot_stand_together_are_refused(tmp_path, text, said):
    (problem,) = problems(tmp_path, f'auth.checkers = ["unix"]\n{text}')
    assert problem.startswith(said)


def test_a_secret_of_a_checker_is_in_no_repr():
    config = decode({"listen": {"pop3": ["tcp:110"]}, "auth": {"checkers": ["memory:alice:wonderland"]}})
    assert "wonderland" not in repr(config)


MECHANISM = st.text().filter(lambda name: name.upper() not in {"EXTERNAL", "GSSAPI"})  # these want more settings


# A busy machine is no failure.
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Config,
        hostname=st.text(),
        workers=st.integers(0, FEW_WORKERS),
        listen=st.just(Listen(pop3=("tcp:110",))),
        auth=st.builds(
            Auth,
            checkers=st.just(("unix",)),
            mechanisms=st.lists(MECHANISM).map(tuple),
            endpoint_mechanisms=st.dictionaries(st.just("tcp:110"), st.lists(MECHANISM).map(tuple)),
        ),
        limits=st.builds(
            Limits,
            idle_seconds=st.floats(1, 1e9),
            proxies=st.lists(st.ip_addresses().map(ip_network)).map(tuple),
        ),
    )
)
def test_settings_survive_the_way_to_a_worker(config):
    assert revive(plain(config)) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('names.default_domain = "Example.org"', '"Example.org" is no domain in lower case, such as example.org'),
        ('names.at_signs = "x"', '"x" cannot be a separator: names contain it, or a path could climb by it'),
        ('auth.endpoint_mechanisms = {"tcp:111" = ["PLAIN"]}', '"tcp:111" is no endpoint of [listen]'),
        (
            'auth.endpoint_mechanisms = {"tcp:110" = ["external"]}',
            "EXTERNAL needs authorities: give tls.client_ca",
        ),
        (
            'auth.endpoint_mechanisms = {"tcp:110" = "PLAIN"}',
            'auth.endpoint_mechanisms must be a table of arrays of strings, as in { name = ["value"] }',
        ),
        ('names.default_domains = {"tcp:111" = "example.org"}', '"tcp:111" is no endpoint of [listen]'),
        ('names.default_domains = {"tcp:110" = "a@b"}', '"a@b" is no domain in lower case, such as example.org'),
        ("names.default_domains = 3", 'names.default_domains must be a table of strings, as in { name = "value" }'),
        ("sdps.accounts = {a = 3}", 'sdps.accounts must be a table of strings, as in { name = "value" }'),
        ('sdps.accounts = {"a.b" = ""}', 'the account "a.b" must have a name of a-z, 0-9 and "-" alone'),
        ('sdps.separators = "@"', '"@" cannot be a separator: names contain it, or a path could climb by it'),
        ('sdps.sender_headers = ["Return Path"]', '"Return Path" is not the name of a header'),
        ('sdps.recipient_headers = ["To:"]', '"To:" is not the name of a header'),
        ('sdps.greeting = "gr\u00fc\u00df"', "the greeting must be ASCII, of 200 characters at most"),
    ],
)
def test_rules_for_names_that_cannot_be_are_refused(tmp_path, text, said):
    assert problems(tmp_path, ENOUGH + text) == [f"FILE:3: {said}"]


def test_an_endpoint_has_its_own_default_domain(tmp_path):
    config = settings(
        tmp_path,
        """
        auth.checkers = ["unix"]
        [listen]
        pop3 = ["tcp:110", "tcp:111"]
        [names]
        default_domain = "example.org"
        [names.default_domains]
        "tcp:111" = "example.net"
        [sdps.accounts]
        vision25 = "vision25.example.org"
        """,
    )
    read = [config.naming(endpoint).read("john") for endpoint in ("", "tcp:110", "tcp:111")]
    assert read == ["john@example.org", "john@example.org", "john@example.net"]
    assert config.naming("tcp:111").read("john@vision25.example.org") == "john@vision25"
    assert revive(plain(config)) == config


def keys(cls, prefix=""):
    for item in dataclasses.fields(cls):
        if not item.metadata.get("setting", True):
            continue
        if dataclasses.is_dataclass(item.default_factory):
            yield from keys(item.default_factory, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


def flat(data, prefix=""):
    for key, value in data.items():
        if isinstance(value, dict) and (value or not prefix):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key


DEFAULT_FILE = (ROOT / "etc/mailserver.toml").read_text()
UNCOMMENTED = re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", DEFAULT_FILE)
TO_BE_CHOSEN = {"user", "listen.pop3", "listen.pop3s", "tls.certificate", "tls.key", "auth.checkers"}


def test_the_default_file_shows_every_setting_and_no_other():
    assert sorted(flat(tomllib.loads(UNCOMMENTED))) == sorted(keys(Config))


def test_the_default_file_shows_the_defaults_of_all_that_need_not_be_chosen():
    shown = tomllib.loads(UNCOMMENTED)
    shown["tls"]["certificates"] = []
    chosen = decode(tomllib.loads(DEFAULT_FILE))
    assert decode(shown) == chosen
    assert set(flat(tomllib.loads(DEFAULT_FILE))) == TO_BE_CHOSEN


def test_the_default_file_gives_each_setting_a_reason():
    blocks = [block for block in DEFAULT_FILE.split("\n\n") if re.search(r"(?m)^#?[a-z_]+ = ", block)]
    assert all(re.match(r"(\[[a-z]+\]\n)?# ", block) for block in blocks)
