"""Places that mail comes from, as an operator writes them."""

import pytest

from mailserver.migration.places import KINDS, Login, read_place
from mailserver.migration.source import SourceError
from tests.migration.spools import FROM, opened


def test_a_place_is_taken_apart():
    place = read_place("mbox:/var/mail/{user}?uidl=dovecot:%08Xu%08Xv&lines=any")
    assert place == ("mbox", "/var/mail/{user}", {"uidl": "dovecot:%08Xu%08Xv", "lines": "any"})
    assert read_place("maildir:/home/{user}/Maildir") == ("maildir", "/home/{user}/Maildir", {})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("alice@example.org", "/mail/example.org/alice/alice@example.org{x}"),
        ("a.l-i_c+e@x", "/mail/x/a.l-i_c+e/a.l-i_c+e@x{x}"),
        ("älice@x", "/mail/x/älice/älice@x{x}"),
        ("a@b@x", "/mail/x/a@b/a@b@x{x}"),
    ],
)
def test_a_path_has_the_parts_of_the_user_s_name(name, path):
    assert read_place("maildir:/mail/{domain}/{local}/{user}{{x}}").path(Login(name)) == path


@pytest.mark.parametrize("name", ["../root", "a/b", "..", ".", "", "a\0b", "a\nb", "@x", "/etc/passwd"])
def test_a_name_that_would_lead_out_of_the_path_is_refused(name):
    with pytest.raises(SourceError, match="could be part of a path"):
        read_place("maildir:/mail/{local}").path(Login(name))
    with pytest.raises(SourceError, match="could be part of a path"):
        read_place("maildir:/mail/{domain}/x").path(Login("alice@" + name.removeprefix("@x")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mbx:/var/mail", 'did you mean "mbox"'),
        ("/var/mail/alice", "begins with no kind of source"),
        ("", "begins with no kind of source"),
        ("mbox:", "does not say where"),
        ("mbox:?uidl=uw", "does not say where"),
        ("mbox:alice?uidl=uw", "must be absolute"),
        ("mbox:/var/mail/{usr}?uidl=uw", "known are {user}"),
        ("mbox:/var/mail/{user!r}{?uidl=uw", "braces"),
        ("mbox:/var/mail/{user:>10}?uidl=uw", "known are {user}"),
        ("mbox:/var/mail/{}?uidl=uw", "unknown {}"),
        ("mbox:/var/mail/alice?uidls=uw", 'did you mean "uidl"'),
        ("mbox:/var/mail/alice?uidl=uw&lines=some", "known are any, blank, length"),
        ("mbox:/var/mail/alice", "which server gave the unique-ids"),
        ("mbox:/var/mail/alice?uidl=dovecott", "which server gave the unique-ids"),
        ("mbox:/var/mail/alice?uidl=dovecot:%08", "format"),
        ("mbox:/var/mail/alice?uidl=dovecot:%f", "name of a file"),
        ("mmdf:/var/mail/alice", "which server gave the unique-ids"),
        ("mmdf:/var/mail/alice?lines=any", "no option"),
        ("cyrus:/var/spool/cyrus?uidl=uid", "known are cyrus, uidonly"),
        ("cyrus:/var/spool/cyrus?popuseimapflags=1", "yes or no"),
        ("maildir:/home/alice?uidl=uw", "no option"),
    ],
)
def test_what_is_wrong_with_a_place_is_said_before_it_is_opened(text, said):
    with pytest.raises(ValueError, match=said.replace("{", r"\{").replace("?", r"\?")):
        read_place(text)


def test_a_secret_is_not_shown():
    assert "s3cret" not in repr(Login("alice", "s3cret", "master"))
    assert "master" in repr(Login("alice", "s3cret", "master"))


@pytest.mark.parametrize("kind", [kind for kind, each in KINDS.items() if each.files])
def test_each_kind_of_files_answers_an_empty_or_an_absent_place(tmp_path, kind):
    options = "?uidl=uw" if kind in {"mbox", "mmdf"} else ""
    try:
        assert opened(f"{kind}:{tmp_path}/alice{options}").messages() == []
    except SourceError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017 - what has no mail, and what is no mailbox, differ by kind


def test_a_source_is_for_the_user_who_is_named(tmp_path):
    (tmp_path / "alice").write_bytes(FROM + b"Subject: of alice\n\n")
    (tmp_path / "bob").write_bytes(FROM + b"Subject: of bob\n\n")
    source = opened(f"mbox:{tmp_path}/{{local}}?uidl=uw", Login("bob@example.org"))
    assert b"".join(source.read(source.messages()[0])) == b"Subject: of bob\n"
