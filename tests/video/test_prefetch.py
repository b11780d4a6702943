"""Items of a generator that are computed ahead of their use."""

import threading

import pytest

from v2v.video.decoder import PREFETCH_DEPTH, prefetch


def count_up(n, items, fails=None):
    try:
        for i in range(n):
            if i == fails:
                raise ValueError(f"item {i}")
            items.append(i)
            yield i
    finally:
        items.append("closed")


@pytest.mark.parametrize("n", [0, 1, PREFETCH_DEPTH, 10])
def test_the_same_items_in_order(n):
    items = []
    assert list(prefetch(count_up(n, items))) == list(range(n))
    assert items == [*range(n), "closed"]


def test_an_error_comes_after_what_was_made_before_it():
    received = []
    with pytest.raises(ValueError, match="item 5"):
        for item in prefetch(count_up(10, [], fails=5)):
            received.append(item)
    assert received == [0, 1, 2, 3, 4]


def test_a_walk_that_is_left_closes_the_generator_and_its_thread():
    items, others = [], set(threading.enumerate())
    iteration = prefetch(count_up(1_000_000, items))
    assert next(iteration) == 0
    threads = set(threading.enumerate()) - others
    iteration.close()
    assert items[-1] == "closed" and len(items) <= PREFETCH_DEPTH + 3
    assert threads and not any(thread.is_alive() for thread in threads)
