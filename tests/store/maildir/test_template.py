"""User names and paths: nobody climbs out."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.errors import HomeUnknown, NoMaildrop, PermanentFailure
from mailserver.interfaces import User
from mailserver.store import MaildirStore, MemoryStore, needs_of, open_store
from mailserver.store.maildir.template import Template, own_path

NASTY = st.text(st.sampled_from([*"./\\@~a\0\n\x7f\x85", "\udcff", "é"]))


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/srv/mail/{user}", b"/srv/mail/al@example.org/"),
        ("/srv/mail/{domain}/{local}/Maildir/", b"/srv/mail/example.org/al/Maildir/"),
        ("{home}/Maildir", b"/home/al/Maildir/"),
        ("/srv/{{x}}/{user}", b"/srv/{x}/al@example.org/"),
    ],
)
def test_the_path_of_a_user(template: str, path: bytes) -> None:
    assert Template(template).path(User("al@example.org", home="/home/al")) == path


@pytest.mark.parametrize("text", [NASTY, st.text()])
def test_the_path_stays_under_the_literal_beginning(text: st.SearchStrategy[str]) -> None:
    templates = [
        Template(f"/srv/mail/{tail}") for tail in ("{user}", "{domain}/{local}", ".{local}", "{domain}{local}/M")
    ]

    @given(text)
    def check(name: str) -> None:
        for template in templates:
            try:
                path = template.path(User(name))
            except NoMaildrop:
                continue
            assert path.startswith(b"/srv/mail/")
            assert os.path.normpath(path).startswith(b"/srv/mail/")
            assert os.path.normpath(path) + b"/" == path
            assert not any(octet < 0x20 or octet == 0x7F for octet in path)

    check()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/", "a\0", "a\n", "\x7f", "\x9b", "\ud800", "é" * 128, "x" * 256]
)
def test_a_name_that_cannot_be_a_directory_is_refused(name: str) -> None:
    with pytest.raises(NoMaildrop) as refused:
        Template("/srv/mail/{user}").path(User(name))
    assert refused.value.refusal is PermanentFailure
    str(refused.value).encode()
    with pytest.raises(NoMaildrop):
        own_path("maildir:/srv/x", User(name))


@pytest.mark.parametrize(
    ("name", "template"), [("alice", "/s/{domain}/{local}"), ("@x", "/s/{local}"), ("..@x", "/s/{local}")]
)
def test_a_part_that_is_missing_is_refused(name: str, template: str) -> None:
    with pytest.raises(NoMaildrop):
        Template(template).path(User(name))


def test_a_home_that_nobody_knows_is_told_apart() -> None:
    with pytest.raises(HomeUnknown, match="the store's URL needs a home directory and none is known") as refused:
        Template("{home}/Maildir").path(User("alice"))
    assert refused.value.refusal is PermanentFailure
    assert refused.value.remedy == "use {user} in the URL"


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=60))
def test_ordinary_names_are_served(name: str) -> None:
    assert Template("/srv/mail/{user}").path(User(name)) == b"/srv/mail/" + name.encode() + b"/"


@pytest.mark.parametrize(
    ("template", "anchor"),
    [
        ("/srv/mail/{user}", b"/srv/mail/"),
        ("/srv/mail/x-{user}", b"/srv/mail/"),
        ("{home}/Maildir", b"/home/al"),
        ("/a/{home}", b"/a/"),
    ],
)
def test_what_must_be_there_already(template: str, anchor: bytes) -> None:
    assert Template(template).anchor(User("al", home="/home/al")) == anchor


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("maildir:/srv/x", b"/srv/x/"),
        ("maildir:~/Maildir", b"/home/al/Maildir/"),
        ("maildir:~", b"/home/al/"),
        ("maildir:~/Maildir:LAYOUT=fs:INDEX=/var/x", b"/home/al/Maildir/"),
        ("maildir:~/Maildir:INBOX=~/inbox", b"/home/al/inbox/"),
        ("maildir:/srv/%d/%n/%u", b"/srv/example.org/al/al@example.org/"),
        ("maildir:/srv/%{user|domain}/%{ username }/%{user}", b"/srv/example.org/al/al@example.org/"),
        ("maildir:%h/50%%", b"/home/al/50%/"),
    ],
)
def test_a_mail_location_of_the_user_s_own(url: str, path: bytes) -> None:
    assert own_path(url, User("al@example.org", home="/home/al")) == path


@pytest.mark.parametrize(
    "url",
    [
        "mbox:~/mail",
        "~/Maildir",
        "",
        "maildir:Maildir",
        "maildir:",
        "maildir:/a/../b",
        "maildir:/a\0",
        "maildir:/a/%Lu",
        "maildir:/a/%{user | lower}",
        "maildir:/a/%{domain}",
        "maildir:/a/%{}",
        "maildir:/a/%",
        "maildir:/a/%d",
    ],
)
def test_a_mail_location_that_is_none(url: str) -> None:
    with pytest.raises(NoMaildrop):
        own_path(url, User("al", home="/home/al"))


def test_a_mail_location_under_no_home() -> None:
    for url in ("maildir:~/Maildir", "maildir:%h/Maildir"):
        with pytest.raises(NoMaildrop):
            own_path(url, User("al"))


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("maildri:/srv", "did you mean maildir:?"),
        ("/srv/mail", "known are maildir:, memory:"),
        ("maildir:/srv/{usr}", "did you mean {user}?"),
        ("maildir:/srv/{zzz}", "known are {home} {user} {local} {domain}"),
        ("maildir:srv/{user}", "must be absolute"),
        ("maildir:/srv/{0}", "known are"),
        ("memory:x", "takes no path"),
    ],
)
def test_a_store_that_cannot_be_is_explained(url: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint.replace("?", r"\?").replace("{", r"\{")):
        open_store(url, None)


def test_stores_by_their_url() -> None:
    assert isinstance(open_store("memory:", None), MemoryStore)
    assert isinstance(open_store("maildir:/srv/{user}", None, seen="retr", io="threads"), MaildirStore)


def test_whether_homes_are_needed_is_known_beforehand() -> None:
    assert needs_of("maildir:{home}/Maildir") == {"home"}
    assert not needs_of("maildir:/srv/{user}")
    assert not needs_of("memory:")


@pytest.mark.parametrize("text", ["/srv/one", "/srv/{domain}/Maildir"])
def test_a_path_that_all_users_would_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="all users would share one maildrop"):
        Template(text)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("/srv/%d/%n", "/srv/{domain}/{local}"),
        ("/srv/%u/Maildir", "/srv/{user}/Maildir"),
        ("%h/Maildir", "{home}/Maildir"),
        ("~/Maildir", "{home}/Maildir"),
        ("/srv/%Lu", "/srv/{user}"),
        ("/srv/%{user}", "/srv/{user}"),
        ("/srv/%{domain}/%{username}", "/srv/{domain}/{local}"),
        ("/srv/%{user | domain}/%{user|username}", "/srv/{domain}/{local}"),
        ("{home}/%n", "{home}/{local}"),
        ("/srv/%1n/%n", "/srv/%1n/{local}"),
        ("/srv/%1Hn/{user}", "here are {home} {user} {local} {domain}"),
    ],
)
def test_dovecots_notation_is_refused_with_our_own(theirs: str, ours: str) -> None:
    with pytest.raises(ValueError, match="is in Dovecot's notation; here") as refused:
        open_store(f"maildir:{theirs}", None)
    assert str(refused.value).endswith(ours)


def test_a_percent_sign_alone_is_one() -> None:
    assert Template("/srv/50%/{user}").path(User("al")) == b"/srv/50%/al/"
