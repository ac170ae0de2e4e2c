"""Where the server takes mail, by its configuration."""

import pytest

from mailserver.cli.places import NoPlace, Place, configured, first


@pytest.mark.parametrize(
    ("endpoints", "place", "shown"),
    [
        (["unix:/run/mailserver/lmtp"], Place("/run/mailserver/lmtp"), "/run/mailserver/lmtp"),
        (["tcp:24", "unix:/run/lmtp:mode=660"], Place("/run/lmtp"), "/run/lmtp"),
        (["unix:mode=660:address=/run/a\\:b"], Place("/run/a:b"), "/run/a:b"),
        (["unix:/run/a\\=b\\\\c:mode=660"], Place("/run/a=b\\c"), "/run/a=b\\c"),
        (["tcp:24"], Place("", "127.0.0.1", 24), "127.0.0.1:24"),
        (["tcp:port=24:interface=0.0.0.0"], Place("", "127.0.0.1", 24), "127.0.0.1:24"),
        (["tcp:24:interface=192.0.2.1"], Place("", "192.0.2.1", 24), "192.0.2.1:24"),
        (["tcp:24:interface=\\:\\:1"], Place("", "::1", 24), "[::1]:24"),
        (["tcp6:24"], Place("", "::1", 24), "[::1]:24"),
        (["tcp:24:192.0.2.1"], Place("", "192.0.2.1", 24), "192.0.2.1:24"),
        (["tcp6:24:5"], Place("", "::1", 24), "[::1]:24"),
        (["tcp6:24:5:2001\\:db8\\:\\:1"], Place("", "2001:db8::1", 24), "[2001:db8::1]:24"),
        (
            ["haproxy:tcp:24", "systemd:domain=UNIX:index=0", "tcp:nowhere", "tcp:25"],
            Place("", "127.0.0.1", 25),
            "127.0.0.1:25",
        ),
    ],
)
def test_an_endpoint_string_says_where_to_connect(endpoints, place, shown):
    found = first(endpoints, "listen.lmtp")
    assert found == place
    assert str(found) == shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[listen\n", "is not TOML"),
        ("[listen]\npop3 = ['tcp:110']\n", "listen.lmtp has no Unix socket and no TCP port"),
        ("listen = 5\n", "listen.lmtp has no"),
        ("[listen]\nlmtp = 'unix:/x'\n", "listen.lmtp has no"),
        ("[listen]\nlmtp = [5, 'haproxy:tcp:24']\n", "listen.lmtp has no"),
        ("\xff", "is not TOML"),
        ("x = " + "[" * 10_000, "is not TOML"),
    ],
)
def test_a_configuration_without_a_place_says_why(tmp_path, text, problem):
    (tmp_path / "mailserver.toml").write_text(text, encoding="latin-1")
    with pytest.raises(NoPlace, match=problem) as error:
        configured(str(tmp_path / "mailserver.toml"))
    assert "\n" not in str(error.value)


def test_a_configuration_that_cannot_be_read_says_what_helps(tmp_path):
    with pytest.raises(NoPlace, match=r"No such file or directory.*--socket"):
        configured(str(tmp_path / "mailserver.toml"))


def test_only_the_one_setting_matters(tmp_path):
    (tmp_path / "mailserver.toml").write_text("nonsense = true\n[listen]\nlmtp = ['unix:/run/lmtp']\n")
    assert configured(str(tmp_path / "mailserver.toml")) == Place("/run/lmtp")
