from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.clock import FixedClock
from adapter.ledger import Ledger, SourceRow
from tests.ledger.making import START


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture
def ledger(tmp_path: Path, clock: FixedClock) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", clock=clock) as opened:
        opened.save_source(SourceRow(name="ehr", key="k1", base_url="https://ehr.example/fhir"))
        yield opened
