"""Which request meets which fault: drawn from a seed and the request's number, so that a run can be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

#: What may happen to a request, and how often in comparison. "answered" ones reach the server first.
WEIGHTS = {
    "drop": 10,  # the connection is cut, nothing was forwarded
    "lost": 12,  # the server did it, and no answer comes
    "cut": 8,  # the answer breaks off in the middle of its body
    "garble": 8,  # bytes of the answer are no text any more
    "repeat": 8,  # the request is sent twice; the first or the second answer comes back
    "delay": 6,  # a short while later
    "slow": 2,  # the answer comes when the client has given up
    "late": 10,  # cut off now, delivered some requests later (a write); a read is merely dropped
    "429": 8,  # too many requests, with Retry-After; nothing was forwarded
    "5xx": 10,  # 500, 502, 503 or 504, before or after the server did it
    "html": 6,  # a page of HTML with status 200, before or after the server did it
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request. ``draw`` is a number in [0, 1) for whatever else is to be chosen."""

    number: int
    kind: str
    draw: float

    def flip(self) -> bool:
        """One of two, by the draw."""
        return int(self.draw * 1000) % 2 == 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A storm: each request meets a fault with the chance ``rate``, drawn from ``seed`` and its number."""

    seed: str
    rate: float
    kinds: tuple[str, ...] = tuple(WEIGHTS)

    def fault(self, number: int) -> Fault | None:
        """What happens to the request of this number; None for nothing."""
        chance = Random(f"{self.seed}/{number}")
        if chance.random() >= self.rate:
            return None
        weights = [WEIGHTS[kind] for kind in self.kinds]
        return Fault(number, chance.choices(self.kinds, weights)[0], chance.random())


CALM = Plan("", 0.0)
