"""Faults for the next few requests: planned one by one, or drawn at random from a seed.

>>> server.faults.plan("status", status=500, method="GET", type="Task", times=2)
>>> server.faults.plan("lost-response", method="PUT")
>>> server.faults.at_random(seed=7, rate=0.1, kinds=("cut", "status"))
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from adapter.sandbox.messages import Incoming

FaultKind = Literal[
    "status",  # answer ``status`` (500) with an OperationOutcome; ``executed``: after doing what was asked
    "rate-limit",  # 429 with Retry-After: ``retry_after``
    "html",  # 200 with a page of HTML
    "drop",  # cut the connection before anything is done
    "lost-response",  # do it, then cut the connection without an answer
    "late",  # cut the connection now, do it after ``seconds`` of the clock, ``requests`` or deliver_late()
    "cut",  # cut the connection in the middle of the body
    "slow",  # answer after ``seconds`` of real time
    "drip",  # send the body in small pieces over ``seconds`` of real time
    "malformed",  # the body's last third is missing, with a right Content-Length
    "bad-row",  # one row of the page is no JSON
    "misshapen-row",  # one row of the page is no resource
    "expired",  # 410, as for a paging link that is too old
    "empty",  # an empty searchset
    "repeat",  # each row of the page twice
    "reverse",  # the rows of the page in reverse
    "no-next",  # the page has no next link
    "warning",  # a warning OperationOutcome stands in the 200
    "redirect",  # 307 to ``location``
    "conflict",  # 409 HAPI-0550, without doing anything
]


@dataclass(slots=True)
class Fault:
    """One planned fault: what happens, to which requests, how often. ``left`` counts down."""

    kind: FaultKind
    left: int = 1
    skip: int = 0
    method: str = ""
    type: str = ""
    where: Callable[[Incoming], bool] | None = None
    status: int = 500
    executed: bool = False
    retry_after: str = "1"
    seconds: float = 0.0
    requests: int | None = None
    location: str = ""
    text: str = "More data may exist"

    def fits(self, incoming: Incoming) -> bool:
        """Whether this fault is meant for that request."""
        return (
            (not self.method or incoming.method == self.method)
            and (not self.type or incoming.type == self.type)
            and (self.where is None or self.where(incoming))
        )


@dataclass(slots=True)
class _Chance:
    random: Random
    rate: float
    kinds: Sequence[FaultKind]


@dataclass(slots=True)
class Faults:
    """The plan. Safe to change from any thread while the server runs."""

    _planned: list[Fault] = field(default_factory=list)
    _chance: _Chance | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    happened: list[tuple[int, FaultKind]] = field(default_factory=list)
    """The number of each request that met a fault, and its kind."""

    def plan(
        self,
        kind: FaultKind,
        *,
        times: int = 1,
        skip: int = 0,
        method: str = "",
        type: str = "",
        where: Callable[[Incoming], bool] | None = None,
        status: int = 500,
        executed: bool = False,
        retry_after: str = "1",
        seconds: float = 0.0,
        requests: int | None = None,
        location: str = "",
        text: str = "More data may exist",
    ) -> Fault:
        """Let ``kind`` happen to the next ``times`` requests that fit, after ``skip`` that fit and go
        through.
        """
        fault = Fault(
            kind,
            left=times,
            skip=skip,
            method=method,
            type=type,
            where=where,
            status=status,
            executed=executed,
            retry_after=retry_after,
            seconds=seconds,
            requests=requests,
            location=location,
            text=text,
        )
        with self._lock:
            self._planned.append(fault)
        return fault

    def at_random(self, *, seed: int, rate: float, kinds: Iterable[FaultKind]) -> None:
        """Let one of ``kinds`` happen to each request with probability ``rate``, the same for the same
        seed.
        """
        with self._lock:
            self._chance = _Chance(Random(seed), rate, tuple(kinds))  # noqa: S311 - a test's dice

    def clear(self) -> None:
        """Forget what is planned and stop the dice."""
        with self._lock:
            self._planned.clear()
            self._chance = None

    def waiting(self) -> tuple[Fault, ...]:
        """What is planned and has not happened yet."""
        with self._lock:
            return tuple(fault for fault in self._planned if fault.left > 0)

    def take(self, incoming: Incoming) -> Fault | None:
        """The fault for a request, used up by this call."""
        with self._lock:
            fault = self._next(incoming) or self._drawn()
            if fault is not None:
                self.happened.append((incoming.number, fault.kind))
            return fault

    def _next(self, incoming: Incoming) -> Fault | None:
        for fault in self._planned:
            if fault.left <= 0 or not fault.fits(incoming):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.left -= 1
            return fault
        return None

    def _drawn(self) -> Fault | None:
        chance = self._chance
        if chance is None or chance.random.random() >= chance.rate:
            return None
        return Fault(chance.random.choice(chance.kinds))
