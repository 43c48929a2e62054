"""The call budget of one source: so many requests a minute, shared by all that asks there."""

from __future__ import annotations

import threading

from adapter.clock import Clock


class Budget:
    """A bucket of calls that fills evenly; empty, it makes the caller wait on the clock.

    Args:
        calls_per_minute: how many; 0 for no bound.
        clock: waits go through it, so that a test's clock only moves on.
        burst: how many calls may come at once; by default a quarter of a minute's.
    """

    def __init__(self, calls_per_minute: int, clock: Clock, *, burst: int | None = None) -> None:
        self._rate = calls_per_minute / 60.0
        self._most = float(burst if burst is not None else max(1, calls_per_minute // 4))
        self._clock = clock
        self._left = self._most
        self._at = clock.monotonic()
        self._lock = threading.Lock()
        self.spent = 0

    def take(self) -> None:
        """Use up one call, waiting until there is one. For a write too: a vendor counts every request."""
        with self._lock:
            self.spent += 1
            if self._rate <= 0:
                return
            self._fill()
            if self._left < 1.0:
                self._clock.sleep((1.0 - self._left) / self._rate)
                self._fill()
            self._left -= 1.0

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
