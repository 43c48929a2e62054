"""Garbage collection for work that makes many objects and hardly a cycle.

A page or a hundred charts are some hundred thousand small objects that die by their reference counts. CPython's
collector, left as it is, walks the compiled mappings and everything imported again and again while they are made: that
was a third of the time of a first load.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG, MIDDLE, OLD = 250_000, 10, 10

_guard = threading.Lock()
_inside = 0
_before = gc.get_threshold()
_frozen = False


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely while the block runs; blocks may be nested and may run in several threads.

    The first time, what exists by then (modules, mappings) is moved out of the collector's sight for good.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _before, _frozen
    with _guard:
        _inside += 1
        if _inside > 1:
            return
        _before = gc.get_threshold()
        if not _frozen:
            _frozen = True
            gc.collect()
            gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, OLD)


def _leave() -> None:
    global _inside
    with _guard:
        _inside -= 1
        if not _inside:
            gc.set_threshold(*_before)
