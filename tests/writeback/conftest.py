from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.clock import FixedClock
from adapter.sandbox import Sandbox
from tests.writeback.bench import OPENED, START, Bench, made_bench, seed


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture
def server(clock: FixedClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as running:
        seed(running)
        yield running


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def bench(tmp_path: Path, server: Sandbox, clock: FixedClock) -> Iterator[Bench]:
    yield made_bench(tmp_path, server, clock)
