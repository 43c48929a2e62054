"""Where the time of a pass goes: own time of each stage, measured by wrapping the calls that are its borders.

By the wall clock, and in the thread that makes the pass: the next page, which comes in another one meanwhile, counts
only as long as it is waited for.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import adapter.fhir.client as client
import adapter.ledger.charts as charts
import adapter.polling.walker as walker
import adapter.reconcile.reconciler as reconciler
from adapter.facts.keep import Keeper
from adapter.fhir.exchange import Exchange
from adapter.ledger import Ledger
from adapter.polling.ahead import Ahead

BORDERS: tuple[tuple[Any, str, str], ...] = (
    (Exchange, "send", "HTTP"),
    (Ahead, "answer", "HTTP"),
    (client, "decode_bundle", "parse the page"),
    (Keeper, "keep", "keep and hash"),
    (walker, "take_page", "arrivals"),
    (Ledger, "store", "compare and store"),
    (Ledger, "record_read", "compare and store"),
    (Ledger, "due_requests", "requests"),
    (Ledger, "reading", "read charts"),
    (charts, "_snapshots", "decode snapshots"),
    (reconciler, "look", "facts and rules"),
    (Ledger, "commit_looks", "commit looks"),
)
REST = "the rest"


class Stages:
    """Own seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = 0.0
        self._thread = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Wrap all borders while the block runs."""
        held = [(owner, name, _own(owner, name)) for owner, name, _ in BORDERS if hasattr(owner, name)]
        stages = {(id(owner), name): stage for owner, name, stage in BORDERS}
        for owner, name, _ in held:
            setattr(owner, name, self._timed(stages[id(owner), name], getattr(owner, name)))
        self._thread = threading.get_ident()
        self._enter(REST)
        try:
            yield
        finally:
            self._leave()
            for owner, name, original in held:
                if original is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)

    @classmethod
    def of(cls, parts: Iterable[Stages]) -> Stages:
        """Several measurements as one."""
        whole = cls()
        for part in parts:
            for name, spent in part.seconds.items():
                whole.seconds[name] += spent
        return whole

    def shares(self) -> dict[str, float]:
        """Stage → share of the whole, the largest first."""
        whole = sum(self.seconds.values()) or 1.0
        return {name: spent / whole for name, spent in sorted(self.seconds.items(), key=lambda one: -one[1])}

    def lines(self, resources: int) -> list[str]:
        """The table as printed: microseconds a resource and share."""
        return [
            f"    {name:<18} {self.seconds[name] / resources * 1e6:7.1f} µs a resource  {share:5.1%}"
            for name, share in self.shares().items()
        ]

    def _enter(self, stage: str) -> None:
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._stack.append(stage)
        self._since = now

    def _leave(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack.pop()] += now - self._since
        self._since = now

    def _timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            if threading.get_ident() != self._thread:
                return call(*args, **more)
            self._enter(stage)
            try:
                return call(*args, **more)
            finally:
                self._leave()

        return timed


def _own(owner: Any, name: str) -> Any:
    """The attribute where the owner itself defines it; None where it is inherited."""
    return vars(owner).get(name)
