"""Stores of other packages, found as Twisted's plugins."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import twisted.plugins
from mailserver.errors import NoMaildrop
from mailserver.interfaces import User
from mailserver.store import MemoryStore, needs_of, open_store, open_stores
from mailserver.store.deleting import read_deleting

PLUGIN = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from mailserver.interfaces import IStore
from mailserver.store import MemoryStore
from mailserver.store.plugins import IStoreFactory

@implementer(IStore)
class Plain:
    def __init__(self, path):
        self._path, self._store = path, MemoryStore({"alice": [b"one", b"two"]})
        self.needs, self.start, self.stop, self.reload = frozenset(), self._store.start, self._store.stop, self._store.reload

    def open(self, user, owner):
        return self._store.open(type(user)(user.name), owner)

@implementer(IPlugin, IStoreFactory)
class Factory:
    def __init__(self, scheme):
        self.scheme = scheme

    def needs(self, path):
        if not path:
            raise ValueError("the store acme: needs a path")
        return frozenset({"home"} if "{home}" in path else ())

    def make(self, path, reactor):
        return Plain(path)

acme, ours = Factory("acme"), Factory("memory")
"""


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    (tmp_path / "acme_store_plugin.py").write_text(PLUGIN)
    monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(tmp_path)])
    yield
    sys.modules.pop("twisted.plugins.acme_store_plugin", None)


def answer(deferred: Any) -> Any:
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    return outcome[0]


def messages(user: User, url: str) -> int:
    maildrop = answer(open_stores(url, None).open(user, "me"))
    try:
        return len(maildrop.messages)
    finally:
        maildrop.release()


def test_its_url_is_one_of_a_store():
    assert type(open_store("acme:place", None)).__name__ == "Plain"
    assert needs_of("acme:{home}/x") == {"home"}
    assert messages(User("alice"), "acme:place") == 2


def test_users_may_have_their_mail_there():
    assert messages(User("alice", mail="acme:"), "memory:") == 2


def test_ours_is_no_others():
    assert isinstance(open_store("memory:", None), MemoryStore)
    assert messages(User("alice"), "memory:") == 0
    assert messages(User("alice", mail="memory:"), "acme:place") == 0


@pytest.mark.parametrize(
    ("url", "told"),
    [("acme:", "the store acme: needs a path"), ("acmee:x", "did you mean acme:"), ("x:", "maildir:, memory:$|acme:")],
)
def test_what_is_wrong_is_told(url, told):
    with pytest.raises(ValueError, match=told):
        needs_of(url)


def test_one_that_keeps_nothing_is_not_asked_to():
    with pytest.raises(ValueError, match=r'acme: keeps nothing that is deleted: set delivery\.delete = "expunge"'):
        open_stores("acme:place", None, deleting=read_deleting("trash"))


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda store, user: store.undelete(user), "keeps nothing"),
        (lambda store, user: store.kept(user), "keeps nothing"),
        (lambda store, user: store.tidy(user, 0, None), "keeps nothing"),
        (lambda store, user: store.reserve(user, "me"), "no mail can move"),
        (lambda store, user: store.usage(user), "takes no messages"),
    ],
    ids=["undelete", "kept", "tidy", "reserve", "usage"],
)
def test_what_it_does_not_provide_is_refused(ask, told):
    failure = answer(ask(open_stores("acme:place", None), User("alice")))
    assert failure.check(NoMaildrop)
    assert told in failure.getErrorMessage()
