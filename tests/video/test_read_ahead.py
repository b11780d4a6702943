"""Items of a generator made ahead of their use."""

import threading

import pytest

from v2v.video.decoder import PREFETCH_DEPTH, prefetch


def counted(n, made, fails=None):
    try:
        for i in range(n):
            if i == fails:
                raise ValueError(f"item {i}")
            made.append(i)
            yield i
    finally:
        made.append("closed")


@pytest.mark.parametrize("n", [0, 1, PREFETCH_DEPTH, 10])
def test_the_same_items_in_order(n):
    made = []
    assert list(prefetch(counted(n, made))) == list(range(n))
    assert made == [*range(n), "closed"]


def test_an_error_comes_after_what_was_made_before_it():
    got = []
    with pytest.raises(ValueError, match="item 5"):
        for item in prefetch(counted(10, [], fails=5)):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]


def test_a_walk_that_is_left_closes_the_generator_and_its_thread():
    made, threads = [], threading.active_count()
    walk = prefetch(counted(1_000_000, made))
    assert next(walk) == 0
    walk.close()
    assert made[-1] == "closed" and len(made) <= PREFETCH_DEPTH + 3
    assert threading.active_count() == threads
