"""The small hospital as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.sandbox import Sandbox
from tests.faults.hospital import Hospital
from tests.faults.sharing import share_mappings


@pytest.fixture
def hospital(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hospital]:
    """A hospital that works, until a test sees to it that it does not."""
    monkeypatch.delenv("BATON_CONFIG", raising=False)
    share_mappings(monkeypatch)
    with Sandbox() as sandbox:
        made = Hospital(sandbox, tmp_path, capsys)
        with made.front:
            made.configure()
            yield made
        made.close()
