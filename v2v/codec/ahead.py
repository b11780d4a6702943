"""Frames made while those before them are still being worked on: a generator run on a thread of its own. Used by `codec/decoder.py`.

Decoding and converting to RGB let go of Python's lock, as do shrinking, carrying and encoding, so the two sides of `ahead` share a
machine's processors instead of waiting for each other.
"""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")

DEPTH = 2  # items made before they are asked for


def ahead(items: Generator[Item, None, None], depth: int = DEPTH) -> Iterator[Item]:
    """The same items in the same order; what `items` raises is raised where it would have been, and it is closed with the walk."""
    end, here = object(), copy_context()  # so that notes made there are those of the job that walks
    with closing(items), ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(here.run, next, items, end) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(here.run, next, items, end))
                yield item
        finally:
            for one in waiting:
                one.cancel()
