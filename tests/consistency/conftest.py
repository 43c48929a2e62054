from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.consistency.hospital import Hospital, hospital
from tests.whole import compared


@pytest.fixture(autouse=True)
def looks_are_whole() -> Iterator[None]:
    """What history a look leaves out has to change nothing here, either."""
    with compared():
        yield


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Hospital]:
    """A hospital whose EHR behaves as HAPI does."""
    with hospital(tmp_path) as made:
        yield made
