"""The arithmetic of a walk: windows of time, the watermark, what may be believed at its end. Pure.

A walk is dated by S, the server's time in the answer that began it. ``cap`` is S less the overlap: what is
stamped later may still be on its way (late commits), so the watermark never passes it. The overlap is in the
watermark; the query asks from the watermark as it is (F42).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from adapter.fhirjson import digest

EARLIEST = datetime(
    2000, 1, 1, tzinfo=UTC
)  # where halving begins when nothing is known of a type's oldest row
SMALLEST = timedelta(milliseconds=1)  # the finest stamp that servers sort by
MOST_OVERLAP_S = 3600.0


@dataclass(frozen=True, slots=True)
class Window:
    """Rows stamped in [``lo``, ``hi``); None is open. ``count`` is the page size asked for.

    ``hard``: it holds a page that cannot be read, so it is only halved until the row is alone (F24).
    """

    lo: datetime | None = None
    hi: datetime | None = None
    count: int = 100
    tries: int = 0
    hard: bool = False

    def halves(self, end: datetime) -> tuple[Window, Window] | None:
        """The two halves, ``end`` standing for an open upper bound; None where it is as small as it gets."""
        lo, hi = self.lo or EARLIEST, self.hi or end
        if hi - lo <= SMALLEST:
            return None
        middle = to_the_millisecond(lo + (hi - lo) / 2)
        middle = max(middle, lo + SMALLEST) if self.lo else middle
        if middle >= hi:
            return None
        return replace(self, hi=middle, tries=0), replace(self, lo=middle, tries=0)

    def holds(self, at: datetime) -> bool:
        """Whether a stamp lies inside."""
        return (self.lo is None or at >= self.lo) and (self.hi is None or at < self.hi)


@dataclass(slots=True)
class Order:
    """Whether the rows of one search come in the order of their stamps, page by page (F1).

    ``safe`` is how far the watermark may follow: the newest eligible row of the page *before*, once the next
    page has gone on in order. One page alone proves nothing: a server that answers newest first looks ordered
    until its second row.
    """

    cap: datetime
    safe: datetime | None = None
    ordered: bool = True
    _last: datetime | None = None

    def page(self, stamps: Iterable[datetime | None]) -> datetime | None:
        """Take in one page; ``safe`` after it. Rows from ``cap`` on may still move: they are passed over."""
        stamps = list(stamps)
        if any(stamp is None for stamp in stamps):
            self.ordered = False  # without stamps nothing is known of the order
        eligible = [stamp for stamp in stamps if stamp is not None and stamp < self.cap]
        before = self._last
        for stamp in eligible:
            if self._last is not None and stamp < self._last:
                self.ordered = False
            self._last = stamp if self._last is None else max(self._last, stamp)
        if self.ordered and eligible and before is not None:
            self.safe = before
        return self.safe if self.ordered else None


def cap_of(began: datetime, overlap_s: float) -> datetime:
    """Up to where a walk that began then may move the watermark."""
    return began - timedelta(seconds=overlap_s)


def at_end(
    old: datetime | None, newest: datetime | None, cap: datetime, *, pass_newest: bool
) -> datetime | None:
    """The watermark after a complete walk: the lesser of the newest row stored and ``cap``.

    Args:
        old: the watermark before; it stays where the newest row was deleted since.
        newest: the newest stamp stored; None where no row bears one: then the whole type is asked again.
        cap: see :func:`cap_of`.
        pass_newest: many rows share the newest stamp and the anchor was seen: go up to ``cap`` (F43).
    """
    if newest is None:
        return old
    target = cap if pass_newest else min(newest, cap)
    return old if old is not None and target < old <= cap else target


def late_by(known_at: datetime | None, stamp: datetime | None) -> timedelta:
    """How late a row came that an earlier complete walk, begun at ``known_at``, should have shown."""
    if known_at is None or stamp is None or stamp >= known_at:
        return timedelta(0)
    return known_at - stamp


def raised(overlap_s: float, lateness: timedelta) -> float:
    """The overlap that would have caught a row so late: twice its lateness, at most an hour (F42)."""
    return max(overlap_s, min(MOST_OVERLAP_S, 2 * lateness.total_seconds()))


def query_digest(strategy: str, filters: Iterable[tuple[str, str]], since: datetime | None) -> str:
    """What a watermark belongs to: another query starts anew instead of skipping history."""
    return digest([strategy, sorted(filters), since.isoformat() if since else ""])[:16]


@dataclass(frozen=True, slots=True)
class Query:
    """The two halves of :attr:`adapter.ledger.WalkRow.query`: the question, and the elements kept."""

    question: str
    elements: str

    @classmethod
    def read(cls, text: str) -> Query:
        """From how it is stored."""
        question, _, elements = text.partition("/")
        return cls(question, elements)

    def __str__(self) -> str:
        return f"{self.question}/{self.elements}"


@dataclass(slots=True)
class Place:
    """What a walk needs beside the watermark to go on after a kill, as JSON in the walk's row.

    ``deletes`` is from when on deletions were not looked for; ``span_s`` the length of window that last came
    through where whole walks do not; ``gaps`` are windows that could not be read and were stepped over.
    """

    deletes: datetime | None = None
    span_s: float = 0.0
    gaps: list[tuple[datetime, datetime]] = field(default_factory=list)

    @classmethod
    def read(cls, stored: Mapping[str, object] | None) -> Place:
        """From the walk's row."""
        found = stored or {}
        gaps, span = found.get("gaps"), found.get("span_s")
        return cls(
            deletes=_time(found.get("deletes")),
            span_s=float(span) if isinstance(span, (int, float, str)) else float(str(span or 0)),
            gaps=[(a, b) for pair in (gaps if isinstance(gaps, list) else ()) for a, b in [_pair(pair)]],
        )

    def written(self) -> dict[str, object] | None:
        """For the walk's row; None where there is nothing to keep."""
        found: dict[str, object] = {}
        if self.deletes:
            found["deletes"] = self.deletes.isoformat()
        if self.span_s:
            found["span_s"] = self.span_s
        if self.gaps:
            found["gaps"] = [[lo.isoformat(), hi.isoformat()] for lo, hi in self.gaps]
        return found or None


def plan(lo: datetime | None, end: datetime, place: Place, count: int) -> list[Window]:
    """The windows of a walk in order: one open one, cut where earlier walks could not get through."""
    cuts = [at for gap in place.gaps for at in gap]
    if place.span_s and lo is not None and end - lo > timedelta(seconds=place.span_s):
        cuts.append(to_the_millisecond(lo + timedelta(seconds=place.span_s)))
    inside = sorted({cut for cut in cuts if (lo is None or cut > lo) and cut < end})
    bounds: list[datetime | None] = [lo, *inside, None]
    known = {gap[0] for gap in place.gaps}
    return [Window(a, b, count, hard=a in known and b is not None) for a, b in itertools.pairwise(bounds)]


def to_the_millisecond(at: datetime) -> datetime:
    """Cut to what servers compare."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def instant(at: datetime) -> str:
    """As a search value: milliseconds and Z. With less, HAPI takes a value as a whole second or day."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) and value else None


def _pair(value: object) -> tuple[datetime, datetime]:
    lo, hi = value if isinstance(value, list) else ("", "")
    return datetime.fromisoformat(str(lo)), datetime.fromisoformat(str(hi))
