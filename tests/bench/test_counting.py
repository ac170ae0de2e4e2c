"""bench/counting.py: what it makes of the rounds."""

import pytest

from bench.counting import of, within


@pytest.mark.parametrize(
    ("number", "least", "most"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (12, 3, 10), (24, 7, 18), (100, 40, 61)]
)
def test_the_range_of_a_median_is_that_of_the_sign_test(number, least, most):
    assert within([*range(number, 0, -1)]) == ((number + 1) / 2, least, most)


def test_one_of_three_servers_counts():
    assert [bool(of(name)) for name in ("plain", "counted", "plain-again")] == [False, True, False]
