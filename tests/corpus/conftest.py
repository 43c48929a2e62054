"""What all tests of the corpus share."""

from __future__ import annotations

import pytest

from tests.faults.sharing import share_mappings


@pytest.fixture(autouse=True)
def shared_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mappings are read once."""
    share_mappings(monkeypatch)
