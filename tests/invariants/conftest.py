from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whole import compared


@pytest.fixture(autouse=True)
def looks_are_whole() -> Iterator[None]:
    """What history a look leaves out has to change nothing here, either."""
    with compared():
        yield
