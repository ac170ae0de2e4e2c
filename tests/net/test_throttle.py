from __future__ import annotations

from twisted.internet.task import Clock

from mailserver.net.throttle import LONGEST_SECONDS, REMEMBERED_KEYS, REMEMBERED_SECONDS, Throttle, network


def test_each_failure_of_an_address_waits_longer_up_to_a_limit() -> None:
    throttle = Throttle(Clock(), 2)
    assert [throttle.failed("192.0.2.1", f"user{n}") for n in range(20)] == [2, 4, 8] + [LONGEST_SECONDS] * 17


def test_each_failure_of_a_name_waits_longer_wherever_it_comes_from() -> None:
    throttle = Throttle(Clock(), 2)
    assert [throttle.failed(f"192.0.2.{n}", "alice") for n in range(4)] == [2, 4, 8, 16]
    assert throttle.failed("198.51.100.1", "bob") == 2


def test_a_login_forgets_the_name_and_not_the_address() -> None:
    throttle = Throttle(Clock(), 2)
    throttle.succeeded("alice")
    throttle.failed("192.0.2.1", "alice")
    throttle.succeeded("alice")
    assert throttle.failed("192.0.2.2", "alice") == 2
    assert throttle.failed("192.0.2.1", "bob") == 4


def test_a_name_that_reads_like_an_address_is_none() -> None:
    throttle = Throttle(Clock(), 2)
    throttle.failed("198.51.100.1", "192.0.2.1")
    assert throttle.failed("192.0.2.1", "alice") == 2


def test_an_old_failure_does_not_count() -> None:
    clock = Clock()
    throttle = Throttle(clock, 2)
    throttle.failed("192.0.2.1", "alice")
    clock.advance(REMEMBERED_SECONDS)
    assert throttle.failed("192.0.2.1", "alice") == 2


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    throttle = Throttle(Clock(), 2)
    assert throttle.failed("2001:db8::1", "a") == 2
    assert throttle.failed("2001:db8::ffff:1", "b") == 4
    assert throttle.failed("2001:db8:0:1::1", "c") == 2
    assert network("fe80::1%eth0") == network("fe80::2")


def test_a_flood_of_names_fills_no_memory() -> None:
    throttle = Throttle(Clock(), 2)
    for n in range(REMEMBERED_KEYS + 10):
        throttle.failed("", str(n))
    assert len(throttle._failures) == REMEMBERED_KEYS


def test_no_delay_is_none() -> None:
    throttle = Throttle(Clock(), 0)
    assert [throttle.failed("", "a") for _ in range(5)] == [0] * 5
