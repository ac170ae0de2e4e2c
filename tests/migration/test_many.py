"""Many users' moves, so many at a time."""

import pytest
from twisted.internet.defer import Deferred

from mailserver.migration.many import each_in_turn


class Moves:
    def __init__(self):
        self.begun = []
        self.waiting = {}

    async def move(self, name):
        self.begun.append(name)
        self.waiting[name] = Deferred()
        await self.waiting[name]


def test_so_many_move_at_a_time_in_their_order():
    moves = Moves()
    done = Deferred.fromCoroutine(each_in_turn("abcde", 2, moves.move))
    assert moves.begun == ["a", "b"]
    moves.waiting["b"].callback(None)
    assert moves.begun == ["a", "b", "c"]
    for name in "acde":
        moves.waiting[name].callback(None)
    assert moves.begun == list("abcde")
    assert done.called


def test_fewer_items_than_places_are_no_trouble():
    assert Deferred.fromCoroutine(each_in_turn([], 8, Moves().move)).called


def test_an_error_ends_all_after_what_is_under_way():
    moves = Moves()
    done = Deferred.fromCoroutine(each_in_turn("abcde", 2, moves.move))
    moves.waiting["a"].errback(ValueError("no ears"))
    assert moves.begun == ["a", "b"]
    assert not done.called
    moves.waiting["b"].callback(None)
    assert moves.begun == ["a", "b"]
    with pytest.raises(ValueError, match="no ears"):
        done.result.raiseException()
    done.addErrback(lambda _: None)
