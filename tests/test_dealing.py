"""A dealt case is run by one backend, whatever other cases there are."""

import collections

from dealing import BACKENDS, is_dealt_here, taker
from models import BACKEND


def test_each_backend_takes_about_a_third():
    counts = collections.Counter(taker(f"test_of_rows[{i}]") for i in range(3000))
    assert set(counts) == set(BACKENDS)
    assert min(counts.values()) > 900


def test_a_case_stays_with_its_backend():
    names = ["test_rows", "test_rows[a-1]", "test_rows[größer]", "test_rows[b]"]
    assert [taker(n) for n in names] == ["jax", "tensorflow", "tensorflow", "torch"]
    taken = [name for name in names if is_dealt_here(name)]
    assert taken == [name for name in names if taker(name) == BACKEND]
