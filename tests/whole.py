"""Every look of a test made twice: as it is, and at the whole chart. Both have to come to the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from msgspec import structs

from adapter.errors import BatonError
from adapter.ledger.charts import Reading
from adapter.model import Request
from adapter.reconcile.reconciler import Reconciler, Seen, _rules_of, look


@contextmanager
def compared(seen: Counter[str] | None = None) -> Iterator[None]:
    """Compare while the block runs; ``seen`` counts the looks, and the resources that were left out."""
    counts: Counter[str] = Counter() if seen is None else seen
    original = Reconciler._charted

    def charted(self: Reconciler, requests: Sequence[Request], now: datetime, done: Any) -> list[Seen]:
        _compare(self, requests, now, counts)
        return original(self, requests, now, done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reconciler, "_charted", charted)
        yield


def _compare(of: Reconciler, requests: Sequence[Request], now: datetime, seen: Counter[str]) -> None:
    horizon = _rules_of(of.edition, of.facts).horizon(now)
    if horizon is None:
        return
    with of.ledger._reading():  # both see one state, whoever writes meanwhile
        narrow = of.ledger.reading(requests, of.facts, now, of.active, horizon)
        whole = of.ledger.reading(requests, of.facts, now, of.active)
    for request in requests:
        short, full = _look(of, narrow, request), _look(of, whole, request)
        if short is None or full is None:
            continue
        seen["looks"] += 1
        seen["left out"] += len(whole.refs[request.person]) - len(narrow.refs[request.person])
        assert short.decision == full.decision, request.person
        assert short.errors == full.errors


def _look(of: Reconciler, reading: Reading, request: Request) -> Seen | None:
    try:
        chart = reading.chart(request)
        chart = structs.replace(chart, taken=of._taken)
        return look(chart, of.edition, of._read_back, of.bases)
    except (BatonError, ArithmeticError, LookupError, TypeError, ValueError):
        return None  # a damaged row: the look that counts says so
