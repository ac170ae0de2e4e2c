"""Dovecot's configuration as text: what its own parser takes, and what the real doveconf prints."""

import pytest

from mailserver.migration.users.converted import Unconvertible
from mailserver.migration.users.dovecot_conf import parse


def test_blocks_settings_comments_and_continued_lines_are_read_as_there():
    root = parse(
        """\
# a comment
a = 1   # and one behind it
b = "quoted # text \\" with a quote"
c = it's # no comment behind a quote that is open
d = one \\
    # a comment between
  two \\
  three
a = 2
empty =
plugin {
  quota = maildir:User quota
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
  }
}
protocol pop3 {
  x = "'"
}
""",
        "dovecot.conf",
    )
    assert root.values == {
        "a": "2",
        "b": 'quoted # text " with a quote',
        "c": "it's # no comment behind a quote that is open",
        "d": "one two three",
        "empty": "",
    }
    assert [(each.name, each.label) for each in root.blocks] == [
        ("plugin", ""),
        ("service", "auth"),
        ("protocol", "pop3"),
    ]
    (listener,) = next(root.within("service", "auth")).within("unix_listener")
    assert (listener.label, listener.values) == ("/var/spool/postfix/private/auth", {"mode": "0660"})


def test_a_hidden_value_is_none():
    root = parse("ssl_key = # hidden, use -P to show it\nssl = yes\n", "x")
    assert (root.values, root.hidden) == ({"ssl": "yes"}, ["ssl_key"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("}\n", "x:1: .* too many"),
        ("\na {\n", "is missing"),
        ("!include conf.d/*.conf\n", "x:1: it includes"),
        ("a = 1\nnonsense\n", "x:2: it is no line"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(text, said):
    with pytest.raises(Unconvertible, match=said):
        parse(text, "x")


def test_no_secret_is_in_a_repr_or_an_error():
    text = "connect = host=localhost password=wonderland\n"
    assert "wonderland" not in repr(parse(text, "x"))
    with pytest.raises(Unconvertible) as raised:
        parse(text + "password wonderland\n", "x")
    assert "wonderland" not in str(raised.value)


def test_a_long_hostile_line_takes_no_time():
    parse("a = " + "'\"\\" * 100_000 + "\n", "x")
    parse("a = " + "'" * 99_999 + "\n", "x")
