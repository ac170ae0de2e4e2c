"""The connection limits, which all processes have together."""

from __future__ import annotations

import os

import pytest

from mailserver.net.common.memory import make
from mailserver.net.common.places import CommonPlaces
from mailserver.net.places import Places
from tests.net.common.views import view, views

ALICE, BOB = "192.0.2.1", "192.0.2.2"


def test_each_process_has_what_the_others_leave() -> None:
    with views(3) as memories:
        places = [CommonPlaces(3, 2, memory) for memory in memories]
        assert [each.take(ALICE) for each in places] == ["", "", "limits.connections_per_address"]
        assert [each.take(BOB) for each in places] == ["", "limits.connections", "limits.connections"]
        assert [each.taken for each in places] == [2, 1, 0]
        places[1].give_back(ALICE)
        assert places[2].take(ALICE) == ""
        assert places[1].take(None) == "limits.connections"


def test_a_client_behind_a_proxy_counts_before_it_is_named() -> None:
    with views() as memories:
        first, second = (CommonPlaces(1, 1, memory) for memory in memories)
        assert first.take(None) == ""
        assert second.take(ALICE) == "limits.connections"
        first.give_back(None)
        assert second.take(ALICE) == ""


def test_networks_of_ipv6_and_unix_sockets_count_as_one_address() -> None:
    with views() as memories:
        first, second = (CommonPlaces(100, 1, memory) for memory in memories)
        assert (first.take("2001:db8::1"), second.take("2001:db8::2")) == ("", "limits.connections_per_address")
        assert (first.take(""), second.take("")) == ("", "limits.connections_per_address")


def test_what_was_given_back_leaves_nothing() -> None:
    with views() as memories:
        first, second = (CommonPlaces(100, 9, memory) for memory in memories)
        for places in (first, second):
            for number in range(9):
                assert places.take(f"192.0.2.{number}") == ""
        assert memories[0].places.used == 9
        for places in (first, second):
            for number in range(9):
                places.give_back(f"192.0.2.{number}")
        assert (memories[0].places.counted(), memories[0].taken, dict(first.by_address)) == ([], 0, {})


def test_the_places_of_a_process_that_was_killed_come_back_with_its_successor() -> None:
    descriptor = make(2, 100)
    try:
        first, second = (CommonPlaces(3, 2, view(descriptor, number)) for number in range(2))
        for places, address in ((first, ALICE), (first, ALICE), (second, BOB)):
            places.take(address)
        assert second.take(BOB) == "limits.connections"
        successor = CommonPlaces(3, 2, view(descriptor, 0))
        assert [successor.take(ALICE), successor.take(ALICE)] == ["", ""]
        assert second.take(BOB) == "limits.connections"
        second.give_back(BOB)
        assert successor.take(BOB) == ""
    finally:
        os.close(descriptor)


def test_more_addresses_than_there_is_room_for_count_for_each_process_alone() -> None:
    with views(2, 1) as memories:  # sixteen slots
        first, second = (CommonPlaces(1000, 1, memory) for memory in memories)
        addresses = [f"192.0.2.{number}" for number in range(20)]
        assert {first.take(address) for address in addresses} == {""}
        told = [second.take(address) for address in addresses]
        assert told.count("limits.connections_per_address") == 16
        assert {first.take(address) for address in addresses} == {"limits.connections_per_address"}
        for address in addresses:
            first.give_back(address)
        for address, answer in zip(addresses, told, strict=True):
            if not answer:
                second.give_back(address)
        assert (memories[0].places.counted(), memories[1].places.counted(), memories[0].taken) == ([], [], 0)
        assert first.take(ALICE) == ""


@pytest.mark.parametrize("common", [False, True])
def test_it_is_tidied_after_some_changes(common: bool) -> None:
    tidied: list[int] = []
    with views() as memories:
        tidy = lambda: tidied.append(1)  # noqa: E731
        places = CommonPlaces(100, 100, memories[0], tidy) if common else Places(100, 100, tidy)
        for _ in range(10):
            places.take(ALICE)
            places.give_back(ALICE)
        places.swept()
        places.swept()
    assert tidied == [1]


def test_who_asks_whether_there_is_a_place_takes_none() -> None:
    with views() as memories:
        first, second = (CommonPlaces(3, 2, memory) for memory in memories)
        for places in (first, second, Places(3, 2)):
            assert [places.full(ALICE) for _ in range(4)] == [""] * 4
        assert (first.take(ALICE), second.take(ALICE)) == ("", "")
        assert (first.full(ALICE), second.full(BOB)) == ("limits.connections_per_address", "")
        assert first.take(BOB) == ""
        assert (first.full(BOB), second.full(BOB)) == ("limits.connections", "limits.connections")
