"""The only reader of "now".

Everything that decides takes ``now`` as an argument. Everything that acts asks a :class:`Clock`, so that tests,
scenario files and a server's own time can stand in for the machine's.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

MOST_DRIFT = timedelta(minutes=1)  # more than that between two clocks is told, and held (F58)


class Clock(Protocol):
    """Tells the time in UTC, a monotonic reading in seconds, and sleeps."""

    def now(self) -> datetime:
        """The present instant, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations and time-outs."""

    def sleep(self, seconds: float) -> None:
        """Wait; a test's clock only moves on."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:  # even a sleep of nothing gives the processor away
            time.sleep(seconds)


class Stopping(Exception):
    """The work ends here, between two steps; what was done stays done."""


class StoppableClock(SystemClock):
    """The machine's clock of a service: whoever waits on it, even for nothing, ends when it is told to stop.

    ``sleep`` raises :class:`Stopping` then. The client waits for nothing before each read, and a delivery before
    each resource, so that a stop never has to interrupt a write.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def sleep(self, seconds: float) -> None:
        if self.stopped.wait(max(0.0, seconds)) if seconds > 0 else self.stopped.is_set():
            raise Stopping


class FixedClock:
    """A clock that stands where it was put and moves only when told to (or when something sleeps on it)."""

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock needs a time with a zone")
        self._at = at.astimezone(UTC)
        self._ticks = 0.0

    def now(self) -> datetime:
        return self._at

    def monotonic(self) -> float:
        return self._ticks

    def sleep(self, seconds: float) -> None:
        self.advance(timedelta(seconds=max(0.0, seconds)))

    def advance(self, by: timedelta) -> None:
        """Move on by ``by``."""
        self._at += by
        self._ticks += by.total_seconds()

    def set(self, at: datetime) -> None:
        """Stand at ``at``; the monotonic reading moves only forward."""
        step = (at - self._at).total_seconds()
        self._at = at.astimezone(UTC)
        self._ticks += max(0.0, step)


class ServerClock:
    """A source's own now: the latest server ``Date`` plus the monotonic time since.

    A machine whose clock is wrong by a year must not open, expire or escalate anything (CONSISTENCY F58). Until a
    server has spoken it tells the local time. ``Date`` has whole seconds, so half a second is the best guess that
    a single answer gives; a reading never goes back because of that. A ``Date`` that jumps by more than a minute
    against the monotonic time is believed only when a second answer agrees with it.
    """

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._heard: tuple[datetime, float] | None = None
        self._doubted: tuple[datetime, float] | None = None
        #: How far the latest jump went that two answers agreed on; nought where there was none.
        self.jumped = timedelta(0)

    def heard(self, date: datetime | None) -> None:
        """Take in the ``Date`` header of an answer (None where the server sends none)."""
        if date is None:
            return
        known = self.now() if self._heard else None
        if known is not None and timedelta(0) <= known - date < timedelta(seconds=2):
            self._doubted = None
            return  # agrees within the header's resolution: keep the smoother reading
        said = (date.astimezone(UTC), self._local.monotonic())
        if known is not None and abs(date - known) > MOST_DRIFT:
            if not self._agrees(said):
                self._doubted = said
                return
            self.jumped = date - known
        self._heard, self._doubted = said, None

    def _agrees(self, said: tuple[datetime, float]) -> bool:
        """Whether a second answer says what the doubted one said, the time between them counted in."""
        if self._doubted is None:
            return False
        expected = self._doubted[0] + timedelta(seconds=said[1] - self._doubted[1])
        return abs(said[0] - expected) <= MOST_DRIFT

    def now(self) -> datetime:
        if self._heard is None:
            return self._local.now()
        at, ticks = self._heard
        return at + timedelta(seconds=self._local.monotonic() - ticks)

    def monotonic(self) -> float:
        return self._local.monotonic()

    def sleep(self, seconds: float) -> None:
        self._local.sleep(seconds)

    def skew(self) -> timedelta | None:
        """How far the local clock is ahead of the server's; None where no server has spoken."""
        return None if self._heard is None else self._local.now() - self.now()


class Sequence:
    """Numbers for requests and answers, so that order needs no clock.

    A response counts only if its request was sent after the held one's response came (CONSISTENCY F40). The
    numbers go on over restarts: ``start`` is the highest one that the ledger holds.
    """

    def __init__(self, start: int = 0) -> None:
        self._lock = threading.Lock()
        self.last = start

    def next(self) -> int:
        """The next number, never given before."""
        with self._lock:
            self.last += 1
            return self.last
