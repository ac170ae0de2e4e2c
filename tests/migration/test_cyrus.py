"""The spool of Cyrus as a source: its index in every version, its directories, and indices that are damaged."""

import pytest

from mailserver.migration import cyrus
from mailserver.migration.places import Login
from mailserver.migration.source import SourceError, Unreadable
from tests.corpus import SMALL, canonical
from tests.migration.spools import (
    ARCHIVED,
    DELETED,
    EXPUNGED,
    HEADERS,
    RECORDS,
    SEEN,
    UNLINKED,
    contents,
    cyrus_index,
    cyrus_mailbox,
    opened,
)

VERSIONS = list(HEADERS)
MESSAGES = {uid: canonical(message) for uid, message in enumerate(SMALL.values(), 3)}


@pytest.fixture(autouse=True)
def _forgetful():
    cyrus._by_identity.cache_clear()


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_the_index_gives_unique_ids_times_sizes_and_flags(tmp_path, version):
    records = [(uid, 1_600_000_000 + uid, SEEN if uid % 2 else DELETED) for uid in MESSAGES]
    mailbox = cyrus_mailbox(tmp_path / "alice", cyrus_index(version, records), MESSAGES)
    source = opened(f"cyrus:{mailbox}")
    found = source.messages()
    assert [each.uidl for each in found] == [b"1100000000.%d" % uid for uid in MESSAGES]
    assert [each.received for each in found] == [1_600_000_000 + uid for uid in MESSAGES]
    assert [each.octets for each in found] == [1000 + uid for uid in MESSAGES]
    assert [each.seen for each in found] == [version >= 12 and bool(uid % 2) for uid in MESSAGES]
    assert [b"".join(source.read(each)) for each in found] == list(MESSAGES.values())
    assert bool(source.notes) == (version < 12)
    source.close()


def test_some_indices_of_version_19_have_the_records_of_20(tmp_path):
    index = cyrus_index(19, [(1, 1_600_000_000, SEEN)], size=RECORDS[20])
    (found,) = opened(f"cyrus:{cyrus_mailbox(tmp_path / 'alice', index, {1: b'x'})}").messages()
    assert found[1:] == (b"1100000000.1", 1_600_000_000, True, 1001)


@pytest.mark.parametrize(
    ("options", "uidl"),
    [
        ("?uidl=cyrus", b"1100000000.10"),
        ("?uidl=uidonly", b"10"),
        ("?uidl=dovecot", b"0000000a4190ab00"),
        ("?uidl=courier", b"1100000000-10"),
    ],
)
def test_unique_ids_have_the_format_that_is_said(tmp_path, options, uidl):
    mailbox = cyrus_mailbox(tmp_path / "alice", cyrus_index(17, [(10, 0, 0)]), {})
    assert [each.uidl for each in opened(f"cyrus:{mailbox}{options}").messages()] == [uidl]


def test_a_mailbox_that_is_older_than_unique_ids_with_uidvalidity_has_only_uids(tmp_path):
    mailbox = cyrus_mailbox(tmp_path / "alice", cyrus_index(17, [(10, 0, 0)], options=2), {})
    assert [each.uidl for each in opened(f"cyrus:{mailbox}").messages()] == [b"10"]


def test_what_pop3_does_not_show_is_left_out(tmp_path):
    records = [(1, 100, EXPUNGED), (2, 100, UNLINKED | EXPUNGED), (3, 100, DELETED), (4, 200, 0), (5, 201, 0)]
    mailbox = cyrus_mailbox(tmp_path / "alice", cyrus_index(17, records, shown_after=100), {})
    source = opened(f"cyrus:{mailbox}")
    assert [each.uidl for each in source.messages()] == [b"1100000000.4", b"1100000000.5"]
    assert "1 messages came before pop3showafter" in source.notes[0]
    mailbox = cyrus_mailbox(tmp_path / "bob", cyrus_index(17, records), {})
    assert len(opened(f"cyrus:{mailbox}").messages()) == 3
    assert len(opened(f"cyrus:{mailbox}?popuseimapflags=yes").messages()) == 2


def test_a_partition_for_metadata_and_one_for_archived_messages(tmp_path):
    index = cyrus_index(17, [(1, 0, 0), (2, 0, ARCHIVED)])
    mailbox = cyrus_mailbox(tmp_path / "spool/user/alice", b"", {1: b"one"})
    (cyrus_mailbox(tmp_path / "archive/user/alice", b"", {2: b"two"}) / "cyrus.header").unlink()
    cyrus_mailbox(tmp_path / "meta", index, {})
    (mailbox / "cyrus.index").unlink()
    place = f"cyrus:{tmp_path}/spool?archive={tmp_path}/archive&meta={tmp_path}/meta"
    assert contents(opened(place)) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("alice", "user/alice"),
        ("alice", "a/user/alice"),
        ("al.ice", "a/user/al^ice"),
        ("alice@example.org", "domain/e/example.org/a/user/alice"),
        ("alice@example.org", "domain/example.org/user/alice"),
        ("alice@example.org", "a/user/alice"),
        ("al[i]ce", "q/user/al[i]ce"),
        ("al*ice", "a/user/al*ice"),
    ],
)
def test_an_inbox_is_found_in_its_partition(tmp_path, name, path):
    for other in ("alixe", "bob"):
        cyrus_mailbox((tmp_path / path).with_name(other), cyrus_index(17, []), {})
    cyrus_mailbox(tmp_path / path, cyrus_index(17, [(1, 0, 0)]), {})
    assert len(opened(f"cyrus:{tmp_path}", Login(name)).messages()) == 1


@pytest.mark.parametrize(
    ("name", "internal"),
    [
        ("alice", "user.alice"),
        ("al.ice", "user.al^ice"),
        ("alice", "user\x1falice"),
        ("alice", '"user.al\\ice"'),
        ("alice@example.org", "example.org!user.alice"),
        ("alice@example.org", "user.alice"),
    ],
)
def test_an_inbox_that_is_named_for_its_identity_is_found_by_its_header(tmp_path, name, internal):
    cyrus_mailbox(tmp_path / "uuid/a/b/abc", cyrus_index(17, [(1, 0, 0)]), {}, internal)
    cyrus_mailbox(tmp_path / "uuid/a/c/acd", cyrus_index(17, []), {}, "user.alice.Sent")
    cyrus_mailbox(tmp_path / "uuid/a/d/ade", cyrus_index(17, []), {}, "user.bob")
    assert len(opened(f"cyrus:{tmp_path}", Login(name)).messages()) == 1
    (tmp_path / "uuid/a/b/abc/cyrus.header").write_bytes(b"damaged")
    cyrus._by_identity.cache_clear()
    with pytest.raises(SourceError, match="mbpath"):
        opened(f"cyrus:{tmp_path}", Login(name))


@pytest.mark.parametrize(
    ("folder", "internal"), [("domain/example.org/user/bob", ""), ("uuid/a/c/acd", "example.org!user.bob")]
)
@pytest.mark.parametrize("bare", ["a/user/alice", "uuid/a/b/abc"])
def test_where_there_are_domains_nobody_gets_the_mail_of_a_user_without_one(tmp_path, folder, internal, bare):
    """Alice of defaultdomain is another user than alice@example.org, who has no INBOX."""
    cyrus_mailbox(tmp_path / bare, cyrus_index(17, [(1, 0, 0)]), {}, "user.alice")
    cyrus_mailbox(tmp_path / folder, cyrus_index(17, []), {}, internal)
    assert len(opened(f"cyrus:{tmp_path}", Login("alice")).messages()) == 1
    with pytest.raises(SourceError, match="defaultdomain is alice there"):
        opened(f"cyrus:{tmp_path}", Login("alice@example.org"))


@pytest.mark.parametrize("name", ["../alice", "", "@example.org", "a\0"])
def test_a_name_that_is_none_finds_nothing(tmp_path, name):
    with pytest.raises(SourceError, match="no name of a user"):
        opened(f"cyrus:{tmp_path}", Login(name))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_index_that_is_cut_off_or_damaged_is_refused_and_the_remedy_is_said(tmp_path, version):
    whole = cyrus_index(version, [(uid, 1_600_000_000, 0) for uid in range(1, 4)])
    mailbox = cyrus_mailbox(tmp_path / "alice", whole, {})

    def refused(index):
        (mailbox / "cyrus.index").write_bytes(index)
        with pytest.raises(SourceError, match="reconstruct") as caught:
            opened(f"cyrus:{mailbox}").messages()
        return str(caught.value)

    for length in range(len(whole)):
        refused(whole[:length])
    for at in range(8, 20 if version < 12 else len(whole)):
        if whole[at]:
            refused(whole[:at] + b"\0" + whole[at + 1 :])
    assert "version is 99" in refused(whole[:8] + b"\0\0\0c" + whole[12:])
    assert "does not rise" in refused(cyrus_index(version, [(2, 0, 0), (2, 0, 0)]))
    assert "wrong numbers" in refused(cyrus_index(version, [(1, 0, 0)], size=RECORDS[version] + 8))
    assert refused(whole[:20] + b"\xff\xff\xff\xff" + whole[24:])
    assert str(mailbox) in refused(b"")


def test_what_is_missing_is_said_by_name(tmp_path):
    mailbox = cyrus_mailbox(tmp_path / "alice", cyrus_index(17, [(1, 0, 0), (2, 0, 0)]), {2: b"two"})
    source = opened(f"cyrus:{mailbox}")
    one, two = source.messages()
    assert one.place == f"{mailbox}/1."
    with pytest.raises(Unreadable, match="No such file"):
        list(source.read(one))
    assert list(source.read(two)) == [b"two"]
    (mailbox / "1.").symlink_to(mailbox / "2.")
    with pytest.raises(Unreadable):
        list(source.read(one))
    (mailbox / "cyrus.index").unlink()
    with pytest.raises(SourceError, match=r"cyrus\.index: No such file"):
        opened(f"cyrus:{mailbox}").messages()
