from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.clock import FixedClock
from adapter.sandbox import Sandbox
from tests.polling.bench import START, Bench, sandbox


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture
def server(clock: FixedClock) -> Iterator[Sandbox]:
    with sandbox(clock) as running:
        yield running


@pytest.fixture
def bench(server: Sandbox, clock: FixedClock, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(server, clock, tmp_path)
    yield made
    made.close()
