"""What becomes of the unique-ids that another server has given: they stay, in its order, and are durable before a session sees them."""

from __future__ import annotations

import errno
import os
from typing import Any, ClassVar

from mailserver.errors import MaildropCorrupt, MaildropUnavailable
from mailserver.incoming import Kept
from mailserver.interfaces import User
from mailserver.store import MaildirStore
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import index, naming, uidls
from mailserver.store.maildir.former import Former
from mailserver.testing.contracts.store import ONE
from tests.store.maildir.listed import Listed
from tests.store.maildir.test_naming import NamedCase, field

MAP = os.fsdecode(uidls.NAME)


class FormerCase(NamedCase):
    """A Maildir that another server has listed: 3.c, 1.a, a message that is gone, and 2.b; 4.d came later."""

    def setUp(self) -> None:
        super().setUp()
        self.former = Listed({"3.c": "uid-7", "1.a": "uid-9", "0.gone": "uid-10", "2.b": "uid-30"})
        self.use(self.former)
        for name in ("1.a", "2.b", "3.c", "4.d"):
            self.put(name)
        self.expected = (("3.c", b"uid-7"), ("1.a", b"uid-9"), ("2.b", b"uid-30"), ("4.d", b"4.d"))

    def use(self, former: Former | None, **options: Any) -> None:
        self.store = self.make(former=former, **options)

    async def closed(self) -> Exception:
        """The error of a login."""
        try:
            await self.open()
        except (MaildropUnavailable, MaildropCorrupt) as error:
            return error
        raise AssertionError

    def notes(self) -> str:
        return "\n".join(self.told("store.note"))


class TheList(FormerCase):
    async def test_messages_have_the_ids_and_the_order_of_the_list_for_good(self) -> None:
        await self.same(*self.expected)
        assert list(await self.uidls()) == ["3.c", "1.a", "2.b", "4.d"]

    async def test_it_is_read_once_and_then_kept(self) -> None:
        await self.same(*self.expected)
        assert self.former.asked == 1
        self.former.list = {}
        self.use(self.former)
        await self.same(*self.expected)
        assert self.former.asked == 1

    async def test_ids_stay_when_the_setting_goes(self) -> None:
        await self.same(*self.expected)
        self.use(None)
        await self.same(*self.expected)

    async def test_the_map_is_written_before_the_session_and_the_index(self) -> None:
        order: list[bytes] = []
        rename = os.rename

        def noted(old: bytes, new: bytes) -> None:
            order.append(new.rpartition(b"/")[2])
            rename(old, new)

        self.patch(os, "rename", noted)
        await self.uidls()
        assert order == [uidls.NAME, index.NAME]

    async def test_an_unchanged_maildrop_is_opened_without_a_look_at_list_or_map(self) -> None:
        await self.uidls()

        def unread(*_: object) -> None:
            raise AssertionError

        for name in ("there", "read"):
            self.patch(uidls, name, unread)
        for store in (self.store, self.make(former=self.former), self.make(former=self.former, io="threads")):
            self.store = store
            assert [uidl for uidl, _ in await self.reopen()] == [uidl for _, uidl in self.expected]

    async def test_new_mail_has_ids_of_our_own_and_comes_last(self) -> None:
        await self.uidls()
        self.put("0.new")
        assert list((await self.uidls()).items()) == [*self.expected[:3], ("0.new", b"0.new"), ("4.d", b"4.d")]

    async def test_flags_directories_and_sizes_of_names_may_change(self) -> None:
        (self.root() / "new/1.a").rename(self.root() / "cur/1.a,S=3,W=5:2,S")
        (self.root() / "new/3.c").rename(self.root() / "cur/3.c:2,FS")
        await self.same(*self.expected)
        (self.root() / "cur/3.c:2,FS").rename(self.root() / "new/3.c,S=3")
        assert dict(await self.uidls()) == dict(self.expected)
        assert dict(await self.uidls(index.NAME)) == dict(self.expected)

    async def test_the_name_in_the_list_may_have_sizes_and_an_info(self) -> None:
        self.former.list = {"3.c,S=3:2,S": "uid-7", "1.a:2,": "uid-9", "2.b,S=99": "uid-30", "4.d,S=3,W=4": "uid-31"}
        (self.root() / "new/2.b").rename(self.root() / "new/2.b,S=3")
        (self.root() / "new/4.d").rename(self.root() / "new/4.d,S=3,W=5")
        await self.same(("3.c", b"uid-7"), ("1.a", b"uid-9"), ("2.b", b"2.b"), ("4.d", b"4.d"))

    async def test_a_name_may_end_before_its_first_colon_if_that_means_one_file(self) -> None:
        for name in ("2024-01-01T10:00:00.eml", "2024-01-02T10:00:00.eml", "2024-01-02T10:30:00.eml"):
            self.put(name)
        self.former.list = {"2024-01-01T10": "one", "2024-01-02T10": "two"}
        found = await self.uidls()
        assert found["2024-01-01T10:00:00.eml"] == b"one"
        assert b"two" not in found.values()
        assert await self.uidls(index.NAME) == found

    async def test_of_two_messages_with_one_id_the_first_in_order_keeps_it(self) -> None:
        self.former.list = {"gone": "same", "3.c": "same", "1.a": "same", "2.b": "2.b", "4.d": "1.a"}
        await self.same(
            ("3.c", b"same"), ("1.a", names.unique_id_of_base(b"1.a")), ("2.b", b"2.b"), ("4.d", b"1.a"),
        )  # fmt: skip

    async def test_a_twin_of_a_listed_message_keeps_its_id_when_that_goes_and_the_index_is_lost(self) -> None:
        self.deliver("alice", b"twin", "new/1.a,x")
        twin = (await self.uidls())["twin"]
        (self.root() / "new/1.a").unlink()
        assert (await self.uidls(index.NAME))["twin"] == twin

    async def test_a_message_keeps_the_id_of_its_name_when_a_listed_twin_goes(self) -> None:
        self.former.list = {"5.e,x": "uid-31"}
        self.deliver("alice", b"5.e", f"new/5.e{field(b'X')}")
        self.deliver("alice", b"twin", "new/5.e,x")
        found = await self.uidls()
        assert (found["5.e"], found["twin"]) == (b"X", b"uid-31")
        (self.root() / "new/5.e,x").unlink()
        await self.uidls()
        self.put(f"6.f{field(b'X')}")
        (self.root() / f"new/5.e{field(b'X')}").rename(self.root() / f"cur/5.e{field(b'X')}:2,S")
        found = await self.uidls()
        assert (found["5.e"], found["6.f"]) == (b"X", b"6.f")

    async def test_an_id_of_a_message_that_is_gone_is_given_to_no_other(self) -> None:
        self.former.list = {"gone": "4.d", "lost": "8.h"}
        assert (await self.uidls())["4.d"] == names.unique_id_of_base(b"4.d")
        self.put("8.h")
        assert (await self.uidls())["8.h"] == names.unique_id_of_base(b"8.h")
        self.former.list = {}
        found = await self.uidls(index.NAME)
        assert (found["4.d"], found["8.h"]) == (names.unique_id_of_base(b"4.d"), names.unique_id_of_base(b"8.h"))

    async def test_but_an_import_that_asks_for_it_gets_it(self) -> None:
        await self.uidls()
        deposit = await self.store.deposit([User("alice")], None, Kept(b"uid-10", 9.0, seen=False))
        deposit.write(b"back")
        assert await deposit.commit() == [None]
        expected = dict([*self.expected, ("back", b"uid-10")])
        assert await self.uidls() == expected
        assert await self.uidls(index.NAME) == expected

    async def test_a_listed_message_that_was_away_has_its_id_again(self) -> None:
        await self.uidls()
        (self.root() / "new/3.c").rename(self.homes / "3.c")
        assert dict(await self.uidls()) == dict(self.expected[1:])
        self.put("5.e")
        await self.uidls()
        (self.homes / "3.c").rename(self.root() / "cur/3.c:2,S")
        assert tuple((await self.uidls()).items()) == (*self.expected, ("5.e", b"5.e"))

    async def test_ids_may_look_like_hashes_and_have_255_octets(self) -> None:
        ids = [names.unique_id_of_base(b"4.d").decode(), "x" * 255, "~!,:/"]
        self.former.list = dict(zip(["1.a", "2.b", "3.c"], ids, strict=True))
        await self.same(*zip(["1.a", "2.b", "3.c"], map(str.encode, ids), strict=True), ("4.d", b"4.d"))

    async def test_entries_that_cannot_be_are_left_out(self) -> None:
        self.former.list = {"3.c": "", "1.a": "a b", "2.b": "x" * 256, "../cur/4.d": "y", "x" * 256: "z", "n\0": "n"}
        self.former.names = {"4.d": "not allowed"}
        await self.same(*((name, name.encode()) for name in ("1.a", "2.b", "3.c", "4.d")))

    async def test_a_list_that_cannot_be_understood_closes_the_maildrop(self) -> None:
        for error in (ValueError("line 3 has no name"), PermissionError(errno.EACCES, "Permission denied", "list")):
            self.former.error = error
            refused = await self.closed()
            assert type(refused) is MaildropUnavailable
            assert str(error.args[-1]) in str(refused)
            assert not (self.root() / MAP).exists()
        self.former.error = None
        await self.same(*self.expected)

    async def test_old_mail_is_found_in_any_order(self) -> None:
        await self.uidls()
        maildrop = await self.open()
        assert maildrop.messages.unordered == 3
        assert list(maildrop.messages.arrivals) == [3_000_000, 1_000_000, 2_000_000, 4_000_000]
        maildrop.release()


class StillServing(FormerCase):
    """The former server lists messages after its list was read, and its clients know them by it."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.root() / os.fsdecode(self.former.list_name)
        self.file.touch()

    def lists(self, name: str, uidl: str) -> None:
        assert self.former.list is not None
        self.former.list[name] = uidl
        os.utime(self.file)

    async def test_new_mail_has_the_id_that_the_list_has_by_now(self) -> None:
        await self.uidls()
        self.put("5.e")
        self.put("6.f")
        self.lists("6.f", "uid-31")
        await self.same(*self.expected, ("5.e", b"5.e"), ("6.f", b"uid-31"))

    async def test_the_list_may_have_changed_while_the_map_was_written(self) -> None:
        await self.uidls()
        self.put("5.e")
        self.lists("5.e", "uid-31")
        then = (self.root() / MAP).stat().st_mtime - 60
        os.utime(self.file, (then, then))
        await self.same(*self.expected, ("5.e", b"uid-31"))

    async def test_what_a_session_has_seen_keeps_the_id_of_then(self) -> None:
        await self.uidls()
        self.lists("4.d", "uid-31")
        self.put("5.e")
        await self.same(*self.expected, ("5.e", b"5.e"))

    async def test_a_new_twin_does_not_get_what_the_list_has_by_now_for_the_other(self) -> None:
        await self.uidls()
        self.lists("4.d", "uid-31")
        self.deliver("alice", b"twin", "new/4.d,S=7")
        twin = names.unique_id_of_base(b"4.d,S=7")
        assert await self.uidls() == {**dict(self.expected), "twin": twin}

    async def test_a_list_that_stays_is_not_read_again_nor_one_that_is_gone(self) -> None:
        os.utime(self.file, (1, 1))
        await self.uidls()
        self.put("5.e")
        await self.uidls()
        self.file.unlink()
        self.put("6.f")
        await self.uidls()
        assert self.former.asked == 1

    async def test_one_that_changed_as_the_map_was_written_is_read_again_but_not_for_ever(self) -> None:
        self.patch(naming, "_LONGEST", 3 * 10**9)
        await self.uidls()
        for path, age in ((self.file, 5), (self.root() / MAP, 6)):
            then = path.stat().st_mtime - age
            os.utime(path, (then, then))
        for name in ("5.e", "6.f", "7.g"):
            self.put(name)
            assert (await self.uidls())[name] == name.encode()
            assert self.former.asked == 2
        self.lists("8.h", "uid-31")
        self.put("8.h")
        assert (await self.uidls())["8.h"] == b"uid-31"

    async def test_a_list_that_cannot_be_understood_by_now_closes_the_maildrop(self) -> None:
        await self.uidls()
        self.put("5.e")
        self.lists("5.e", "uid-31")
        self.former.error = ValueError("line 7 is torn")
        assert "line 7 is torn" in str(await self.closed())


class TwoWithOneUniquePart(FormerCase):
    def setUp(self) -> None:
        super().setUp()
        self.deliver("alice", b"small", "cur/7.t,S=5:2,S")
        self.deliver("alice", b"larger", "cur/7.t,S=6:2,S")

    async def test_names_before_the_info_decide(self) -> None:
        self.former.list = {"7.t,S=6": "six"}
        found = await self.uidls()
        assert found["larger"] == b"six"
        assert await self.uidls(index.NAME) == found
        (self.root() / "cur/7.t,S=6:2,S").unlink()
        del found["larger"]
        assert await self.uidls(index.NAME) == found

    async def test_what_could_be_either_is_neither(self) -> None:
        self.former.list = {"7.t": "any"}
        found = await self.uidls()
        assert b"any" not in found.values()
        assert await self.uidls(index.NAME) == found

    async def test_two_of_one_name_are_neither(self) -> None:
        self.deliver("alice", b"another", "cur/3.c:2,S")
        found = await self.uidls()
        assert b"uid-7" not in found.values()
        assert await self.uidls(index.NAME) == found

    async def test_a_twin_with_the_listed_name_of_a_message_that_was_renamed_does_not_get_its_id(self) -> None:
        await self.uidls()
        (self.root() / "new/3.c").rename(self.root() / "cur/3.c,S=3:2,S")
        self.deliver("alice", b"another", "new/3.c")
        found = await self.uidls()
        assert (found["3.c"], found["another"]) == (b"uid-7", b"3.c")
        assert await self.uidls(index.NAME) == found

    async def test_what_has_two_entries_has_none(self) -> None:
        self.former.list = {"8.u,S=1": "one", "8.u,S=2": "two"}
        self.put("8.u")
        assert (await self.uidls())["8.u"] == b"8.u"

    async def test_a_twin_that_comes_later_is_another_message(self) -> None:
        await self.uidls()
        self.deliver("alice", b"another", "new/3.c,S=7")
        found = await self.uidls()
        assert (found["3.c"], found["another"]) == (b"uid-7", names.unique_id_of_base(b"3.c,S=7"))
        assert await self.uidls(index.NAME) == found
        (self.root() / "new/3.c").unlink()
        del found["3.c"]
        assert await self.uidls(index.NAME) == found


class Changes(FormerCase):
    """Of settings, and of lists that come later."""

    async def test_another_format_is_read_again_and_its_ids_go_before_the_old_ones(self) -> None:
        await self.uidls()
        self.put("5.e")
        await self.uidls()
        self.use(Listed({"2.b": "two", "3.c": "three", "4.d": "four"}, b"another"))
        await self.same(("2.b", b"two"), ("3.c", b"three"), ("4.d", b"four"), ("1.a", b"uid-9"), ("5.e", b"5.e"))

    async def test_a_server_that_is_set_later_changes_what_it_has_listed(self) -> None:
        self.use(None)
        assert await self.uidls() == {name: name.encode() for name in ("1.a", "2.b", "3.c", "4.d")}
        self.use(self.former)
        await self.same(*self.expected)

    async def test_a_changed_setting_is_noticed_where_the_maildrop_is_unchanged(self) -> None:
        self.use(None)
        await self.uidls()
        for former, first in ((self.former, b"uid-7"), (Listed({"2.b": "two"}, b"another"), b"two")):
            for io in ("auto", "threads"):
                self.use(former, io=io)
                assert (await self.reopen())[0][0] == first

    async def test_a_session_that_corrects_the_index_keeps_what_it_was_made_from(self) -> None:
        await self.uidls()
        maildrop = await self.open()
        maildrop.sent(1, 99)
        await maildrop.commit([])
        found = index.decode((self.root() / "mailserver-index").read_bytes())
        assert found is not None
        assert found.octets[0] == 99
        assert found.basis.uidls == uidls.there(self.octets())
        assert (await self.reopen())[0] == (b"uid-7", 99)
        assert self.former.asked == 1

    async def test_imports_keep_their_ids_whatever_the_list_says(self) -> None:
        self.put(f"5.e{field(b'X')}")
        self.former.list = {f"5.e{field(b'X')}": "uid-40", "4.d": "uid-41"}
        found = await self.uidls()
        assert (found["5.e"], found["4.d"]) == (b"X", b"uid-41")

    async def test_a_list_that_comes_later_names_what_came_with_it_alone(self) -> None:
        listed, self.former.list = self.former.list, None
        assert (await self.uidls())["3.c"] == b"3.c"
        self.former.list = {**(listed or {}), "5.e": "uid-50"}
        self.put("5.e")
        await self.same(("5.e", b"uid-50"), *((name, name.encode()) for name in ("1.a", "2.b", "3.c", "4.d")))

    async def test_without_a_list_names_tell_but_for_what_we_deliver(self) -> None:
        self.former.list, self.former.names = None, {"1.a": "one", "5.e": "five"}
        deposit = await self.store.deposit([User("alice")], None)
        deposit.write(ONE)
        assert await deposit.commit() == [None]
        (ours,) = (path.name for path in (self.root() / "new").iterdir() if len(path.name) > 9)
        self.former.names[names.unique_part(ours.encode()).decode()] = "ours"
        found = await self.uidls()
        assert (found["1.a"], found["2.b"]) == (b"one", b"2.b")
        assert b"ours" not in found.values()
        self.put("5.e")
        assert await self.uidls() == {**found, "5.e": b"five"}
        assert await self.uidls(index.NAME) == {**found, "5.e": b"five"}

    async def test_an_older_program_s_index_yields_to_the_map(self) -> None:
        await self.uidls()
        data = (self.root() / "mailserver-index").read_bytes()
        found = index.decode(data)
        assert found is not None
        rows = [row._replace(uidl=names.own_id(row.name[4:]), rank=0) for row in found.rows]
        (self.root() / "mailserver-index").write_bytes(index.encode(rows, 1, 2))
        assert tuple((await self.uidls()).items()) == self.expected


class Extended(FormerCase):
    """With `store.unique_ids`: new messages are added to the list."""

    options: ClassVar[dict[str, Any]] = {"extends": True}

    async def test_new_messages_have_ids_of_the_list_from_then_on(self) -> None:
        expected = [*self.expected[:3], ("4.d", b"uid-5")]
        assert list((await self.uidls()).items()) == expected
        self.put("6.f")
        self.put("5.e")
        expected += [("5.e", b"uid-6"), ("6.f", b"uid-7x")]
        assert self.former.list is not None
        self.former.list["6.f"] = "uid-7x"  # that server was faster
        self.former.list["filler"] = "filler"
        found = await self.uidls()
        assert found["6.f"] == b"uid-7x"
        assert await self.uidls(index.NAME) == found

    async def test_imports_are_not_added(self) -> None:
        self.put(f"5.e{field(b'X')}")
        assert (await self.uidls())["5.e"] == b"X"
        assert "5.e" not in "".join(self.former.list or {})

    async def test_an_id_of_the_list_that_is_taken_is_given_to_none(self) -> None:
        self.put(f"5.e{field(b'uid-5')}")
        found = await self.uidls()
        assert {found["5.e"], found["4.d"]} > {b"uid-5"}
        assert len({*found.values()}) == 5
        assert await self.uidls(index.NAME) == found

    async def test_a_list_that_cannot_be_extended_closes_the_maildrop(self) -> None:
        await self.uidls()
        self.put("5.e")
        self.former.error = ValueError("it is locked")
        error = await self.closed()
        assert type(error) is MaildropUnavailable
        assert "it is locked" in str(error)
        self.former.error = None
        assert (await self.uidls())["5.e"] == b"uid-6"


class LostMaps(FormerCase):
    async def test_a_map_that_is_gone_is_written_anew_from_the_index(self) -> None:
        for former in (self.former, None):
            await self.uidls()
            self.use(former)
            self.former.list = None
            self.put("5.e")
            expected = (*self.expected, ("5.e", b"5.e"))
            assert tuple((await self.uidls(uidls.NAME)).items()) == expected
            assert "mailserver-uidls is gone" in self.notes()
            assert tuple((await self.uidls(index.NAME)).items()) == expected
            (self.root() / "new/5.e").unlink()

    async def test_a_damaged_map_is_set_aside_and_written_anew(self) -> None:
        self.use(self.former)
        await self.uidls()
        self.former.list = None
        for number in range(2):
            data = (self.root() / MAP).read_bytes()
            (self.root() / MAP).write_bytes(data[:-1] + b"?")
            self.put("5.e")
            assert tuple((await self.uidls()).items()) == (*self.expected, ("5.e", b"5.e"))
            corrupt = self.root() / ("mailserver-uidls.corrupt" + (f".{number}" if number else ""))
            assert corrupt.read_bytes() == data[:-1] + b"?"
            assert tuple((await self.uidls(index.NAME)).items()) == (*self.expected, ("5.e", b"5.e"))
            (self.root() / "new/5.e").unlink()
        assert "was damaged, and is now mailserver-uidls.corrupt" in self.notes()

    async def test_without_an_index_the_list_is_read_again(self) -> None:
        await self.uidls()
        (self.root() / MAP).write_bytes(b"")
        assert tuple((await self.uidls(index.NAME)).items()) == self.expected
        assert tuple((await self.uidls(index.NAME)).items()) == self.expected

    async def test_without_index_and_list_a_damaged_map_closes_the_maildrop_and_stays(self) -> None:
        await self.uidls()
        whole = (self.root() / MAP).read_bytes()
        for former in (self.former, None):
            self.use(former)
            self.former.list = None
            (self.root() / MAP).write_bytes(whole[:-1])
            (self.root() / "mailserver-index").unlink(missing_ok=True)
            error = await self.closed()
            assert type(error) is MaildropCorrupt
            assert "mailserver-uidls is damaged" in str(error)
            assert "backup" in str(error)
            assert (self.root() / MAP).read_bytes() == whole[:-1]
            assert not (self.root() / "mailserver-index").exists()
        (self.root() / MAP).write_bytes(whole)
        await self.same(*self.expected)

    async def test_a_map_of_a_newer_program_closes_the_maildrop(self) -> None:
        await self.uidls()
        newer = (self.root() / MAP).read_bytes().replace(b"mailserver-uidls 1", b"mailserver-uidls 2")
        (self.root() / MAP).write_bytes(newer)
        self.put("5.e")
        error = await self.closed()
        assert type(error) is MaildropUnavailable
        assert "newer version" in str(error)
        assert (self.root() / MAP).read_bytes() == newer

    async def test_what_is_no_file_closes_the_maildrop(self) -> None:
        (self.root() / MAP).mkdir()
        error = await self.closed()
        assert type(error) is MaildropUnavailable
        assert MAP in str(error)

    async def test_a_map_restored_from_a_backup_is_joined_with_the_index(self) -> None:
        await self.uidls()
        backup = (self.root() / MAP).read_bytes()
        self.put(f"5.e{field(b'X')}")
        self.put(f"6.f{field(b'X')}")
        expected = {**dict(self.expected), "5.e": b"X", "6.f": b"6.f"}
        assert await self.uidls() == expected
        (self.root() / MAP).unlink()
        (self.root() / MAP).write_bytes(backup)
        self.put("7.g")
        expected["7.g"] = b"7.g"
        assert await self.uidls() == expected
        assert await self.uidls(index.NAME) == expected

    async def test_a_full_disk_keeps_nobody_out_and_the_map_is_written_later(self) -> None:
        full, write = OSError(errno.ENOSPC, "No space left on device"), uidls.write_new

        def fails(path: bytes, data: bytes, *, durable: bool) -> Any:
            if path.endswith(b"mailserver-uidls.tmp"):
                raise full
            return write(path, data, durable=durable)

        patched = self.patch(uidls, "write_new", fails)
        assert tuple((await self.uidls()).items()) == self.expected
        assert "cannot be made durable" in self.notes()
        patched.restore()
        self.former.list = None
        await self.reopen()
        assert (self.root() / MAP).exists()
        assert tuple((await self.uidls()).items()) == self.expected
        assert "is gone" not in self.notes()
        assert tuple((await self.uidls(index.NAME)).items()) == self.expected


class Forgetting(FormerCase):
    def days(self, number: int) -> MaildirStore:
        """The store at another time; its maildrops' clock is what counts."""
        days = 20_000 + number
        self.store = self.make(former=self.former, clock=lambda _root: days * 86_400 * 10**9)
        return self.store

    def gone(self) -> dict[bytes, int]:
        found = uidls.read(self.octets())
        assert found is not None
        return {entry.name: entry.gone for entry in found.entries if entry.gone}

    async def test_what_is_gone_is_remembered_for_sixty_days_after_a_write_missed_it(self) -> None:
        self.days(0)
        await self.uidls()
        assert self.gone() == {b"0.gone": 20_000}
        (self.root() / "new/3.c").unlink()
        self.days(50)
        await self.uidls()
        assert self.gone() == {b"0.gone": 20_000}
        for day, missed in ((55, {b"0.gone": 20_000, b"3.c": 20_055}), (61, {b"3.c": 20_055}), (116, {})):
            self.days(day)
            self.put(f"{day}.x{field(b'%d' % day)}")
            self.put(f"{day}.y{field(b'%d' % day)}")  # two claims: the map is written
            await self.uidls()
            assert self.gone() == missed

    async def test_what_can_be_undeleted_is_remembered_as_long(self) -> None:
        self.days(0)
        await self.uidls()
        (self.root() / "mailserver-kept" / "1-9999").mkdir(parents=True)
        (self.root() / "new/3.c").rename(self.root() / "mailserver-kept/1-9999/3.c:2,S")
        for day in (1, 99):
            self.days(day)
            self.put(f"{day}.x{field(b'%d' % day)}")
            self.put(f"{day}.y{field(b'%d' % day)}")
            await self.uidls()
        assert self.gone() == {b"3.c": 20_001}
        assert await self.store.undelete(User("alice")) == 1
        assert (await self.uidls())["3.c"] == b"uid-7"


class Alarms(FormerCase):
    """What a session tells its listener, if most unique-ids have changed."""

    async def reason(self, *lost: bytes) -> str:
        await self.uidls(*lost)
        maildrop = await self.open()
        maildrop.release()
        renewed = maildrop.messages.renewed
        return "" if renewed is None else renewed.reason

    async def test_a_first_login_changes_nothing(self) -> None:
        assert await self.reason() == ""
        self.put("5.e")
        assert await self.reason() == ""
        assert await self.reason(index.NAME) == ""

    async def test_a_server_that_is_set_late_changes_the_format(self) -> None:
        self.use(None)
        assert await self.reason() == ""
        self.use(self.former)
        assert await self.reason() == "format changed"
        self.put("5.e")
        assert await self.reason() == "format changed"  # for the client that comes tomorrow

    async def test_so_does_another_format(self) -> None:
        assert await self.reason() == ""
        self.use(Listed({name: f"new-{name}" for name in ("1.a", "2.b", "3.c")}, b"another"))
        assert await self.reason() == "format changed"

    async def test_a_few_messages_are_no_alarm(self) -> None:
        self.use(None)
        assert await self.reason() == ""
        self.use(Listed({"1.a": "x"}))
        assert await self.reason() == ""

    async def test_map_and_index_may_be_lost_together(self) -> None:
        assert await self.reason() == ""
        self.former.list = None
        assert await self.reason(uidls.NAME, index.NAME) == "map missing"

    async def test_a_map_may_be_replaced(self) -> None:
        assert await self.reason() == ""
        found = uidls.read(self.octets())
        assert found is not None
        uidls.write(self.octets(), found._replace(entries=[e._replace(uidl=b"new-" + e.uidl) for e in found.entries]))
        self.put("5.e")
        assert await self.reason() == "map replaced"

    async def test_hashes_may_be_lost_with_the_index(self) -> None:
        self.use(None)
        for name in ("1.a", "2.b", "3.c", "4.d"):
            (self.root() / "new" / name).unlink()
        self.deliver("alice", b"new", "new/1.t,S=3")
        assert await self.reason() == ""
        self.deliver("alice", b"older", "new/1.t,S=5")
        os.utime(self.root() / "new/1.t,S=5", (1, 1))
        assert await self.reason() == ""
        assert await self.reason(index.NAME) == "index lost"
