"""One walk of one type: windows, pages, what to do when the pages break. The poller decides what it means.

Windows are read in order, each one by following its pages. A window that cannot be read to its end (the
server forgot the search, the pages go round in circles, a page is no FHIR) is asked again from how far it
came in order, or halved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from urllib.parse import parse_qsl, urlsplit

from adapter.collecting import rare_collections
from adapter.errors import NotFhir, PageExpired, Rejected
from adapter.fhir import Page
from adapter.ledger import Arrival, Held, QuarantineRow, WalkRow
from adapter.model import Snapshot, SnapshotState
from adapter.polling import walk as walks
from adapter.polling.ahead import Ahead
from adapter.polling.anchor import regressed
from adapter.polling.context import PollingContext
from adapter.polling.intake import Intake, fresh_quarantine, sight_of, take_page
from adapter.polling.reader import Reader, live
from adapter.polling.result import PollResult
from adapter.polling.strategy import Strategy
from adapter.polling.walk import EARLIEST, Order, Place, Window

MOST_BREAKS = 400  # windows that break in one walk before it is given up
_EMPTY_PAGES = 100
# Pages that come faster than they are stored are stored together, up to so many rows: most of what storing costs is
# the leaves of indexes, and rows of one transaction share them. Where the next page takes longer than a store does,
# what has come is stored meanwhile.
_ROWS_TOGETHER = 1000
_SOON_S = 0.005
_OFFSETS = frozenset({"_offset", "offset", "_page", "page", "startIndex"})


class _End(Enum):
    DONE = auto()
    CUT = auto()
    EXPIRED = auto()
    POISON = auto()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A page that waits to be stored, with the walk's row as it is once the page is stored."""

    taken: Intake
    row: WalkRow


@dataclass(slots=True)
class Walker:
    """The state of one walk. ``row`` is the walk's row as it will be stored with the next page."""

    context: PollingContext
    reader: Reader
    strategy: Strategy
    row: WalkRow
    result: PollResult
    cause: str
    asked_from: datetime | None
    place: Place
    anchor: Snapshot | None = None
    known_quarantine: list[QuarantineRow] = field(default_factory=list)
    began: datetime | None = None
    seq: int = 0
    overlap_s: float = 150.0
    anchor_seen: bool = False
    suspect: str = ""
    newest: tuple[datetime, str] | None = None
    tied: int = 0
    unstamped: bool = False
    lateness: timedelta = timedelta(0)
    unseen: set[str] = field(default_factory=set)
    _breaks: int = 0
    _probed: bool = False
    _why: str = ""
    _waiting: list[_Waiting] = field(default_factory=list)
    _ahead: Ahead = field(default_factory=Ahead)

    @property
    def type(self) -> str:
        return self.row.type

    def run(self) -> None:
        """Read every window.

        Raises:
            ServerError: the walk ends here, incomplete; what was stored stays.
        """
        try:
            with rare_collections():
                self._run()
        finally:
            try:
                self._store_waiting()  # whatever ended the walk: what came before it is good
            finally:
                self._ahead.close()

    def _run(self) -> None:
        windows = deque(walks.plan(self.asked_from, self.context.now(), self.place, self.context.page_size))
        while windows and not self.suspect:
            window = self._fitting(windows)
            end, safe = self._read(window)
            if end is not _End.CUT:
                self._store_waiting()
            if end is _End.DONE:
                self._passed(window)
            else:
                windows.extendleft(reversed(self._again(window, end, safe)))

    # --- windows

    def _fitting(self, windows: deque[Window]) -> Window:
        """The next window, no longer than what lately came through."""
        window = windows.popleft()
        span = timedelta(seconds=self.place.span_s)
        if not span or window.lo is None or (window.hi or self._horizon()) - window.lo <= span:
            return window
        middle = walks.to_the_millisecond(window.lo + span)
        windows.appendleft(replace(window, lo=middle, tries=0))
        return replace(window, hi=middle)

    def _passed(self, window: Window) -> None:
        """A closed window is done: whatever its order was, the watermark may follow."""
        if window.hi is None or self.began is None:
            return
        if self.place.span_s:
            self.place.span_s *= 2
        self._keep_walk(self._moved(window.hi))

    def _moved(self, to: datetime | None) -> WalkRow:
        place = self.place.written()
        if to is None or self.began is None:
            return replace(self.row, place=place)
        to = min(to, walks.cap_of(self.began, self.overlap_s))
        held = self.row.watermark
        return replace(self.row, watermark=to if held is None or to > held else held, place=place)

    def _keep_walk(self, row: WalkRow) -> None:
        if row != self.row:
            self.context.ledger.save_walk(row)
            self.row = row

    def _horizon(self) -> datetime:
        """What stands for the upper bound of an open window: what is stamped later is the next walk's."""
        return (self.began or self.context.now()) + timedelta(seconds=2)

    def _again(self, window: Window, end: _End, safe: datetime | None) -> Sequence[Window]:
        """What to read instead of a window that broke."""
        self._breaks += end is not _End.CUT
        if self._breaks > MOST_BREAKS:
            raise NotFhir(f"the pages of {self.type} break again and again")
        if safe is not None and safe > (window.lo or EARLIEST):
            if end is _End.CUT:
                self.row = self._moved(safe)  # stored with the next page
            return [replace(window, lo=safe, tries=0)]
        return self._expired(window) if end is _End.EXPIRED else self._poisoned(window)

    def _expired(self, window: Window) -> Sequence[Window]:
        halves = window.halves(self._horizon())
        if halves is None:
            raise PageExpired(f"not even a millisecond of {self.type} can be read to its end")
        if halves[0].hi is not None and halves[0].lo is not None:
            self.place.span_s = max(0.001, (halves[0].hi - halves[0].lo).total_seconds())
        return halves

    def _poisoned(self, window: Window) -> Sequence[Window]:
        """Retry, then smaller pages, then shorter windows, until the row is alone (F24)."""
        if not window.hard:
            if window.tries == 0:
                return [replace(window, tries=1)]
            self._probe()
            if window.count > 1:
                return [replace(window, count=max(1, window.count // 4))]
        halves = replace(window, hard=True, count=self.context.page_size).halves(self._horizon())
        if halves is not None:
            return halves
        if window.count > 1:
            return [replace(window, count=1, hard=True)]
        self._step_over(window)
        return []

    def _probe(self) -> None:
        """Ask for nothing: a server that cannot even answer this is down, and no row is to blame.

        Raises:
            NotFhir: then.
        """
        if not self._probed:
            ahead = Window(lo=self._horizon() + timedelta(days=3650), count=1)
            self.context.search_page(self.type, self.strategy.params(ahead))
            self._probed = True

    def _step_over(self, window: Window) -> None:
        lo, hi = window.lo or EARLIEST, window.hi or self._horizon()
        if (lo, hi) not in self.place.gaps:
            self.place.gaps.append((lo, hi))
        gap = f"{walks.instant(lo)}..{walks.instant(hi)}"
        row = QuarantineRow(
            0, self.row.source, self.type, "", "", "unreadable-page", gap, at=self.context.now()
        )
        fresh = fresh_quarantine([row], self.known_quarantine)
        self.row = self._moved(window.hi)
        self.context.ledger.store(self.row.source, [], cause=self.cause, walk=self.row, quarantine=fresh)
        self.result.quarantined += len(fresh)
        self.result.notes.append(f"a page stamped {gap} cannot be read and was stepped over: {self._why}")

    # --- pages

    def _read(self, window: Window) -> tuple[_End, datetime | None]:
        """Read a window: how it ended, and how far its rows came in order.

        What comes next is known before a page is stored, and is asked for meanwhile.
        """
        safe: datetime | None = None
        links: set[str] = set()
        contents: set[int] = set()
        order: Order | None = None
        empty = 0
        try:
            page = self._first(window)
            while True:
                content = hash(tuple([entry.raw for entry in page.entries]))
                empty = 0 if page.entries else empty + 1
                if (page.entries and content in contents) or page.next in links or empty > _EMPTY_PAGES:
                    return _End.EXPIRED, safe  # in circles (F74): shorter windows may still fit
                contents.add(content)
                order = order or Order(walks.cap_of(self._begun(page), self.overlap_s))
                long = len(contents) >= self.context.long_pages
                if page.next is not None and not long and not _counts_rows(page.next):
                    self._look_ahead(page, window, None)  # it will be followed, whatever the page holds
                taken = self._taken(page)
                safe = order.page(taken.stamps)
                cut = self._cut(page, taken.stamps, window, safe if long else None)
                self._look_ahead(page, window, cut)
                self._store(taken, self._moved(safe))
                if page.next is None:
                    return _End.DONE, safe
                if cut is not None:
                    return _End.CUT, cut
                links.add(page.next)
                page = self._ahead.answer(page.next, partial(self.context.follow, page.next))
        except PageExpired:
            return _End.EXPIRED, safe
        except NotFhir as fault:
            self._why = str(fault)
            return _End.POISON, safe

    def _look_ahead(self, page: Page, window: Window, cut: datetime | None) -> None:
        """Ask for what is read next: the page that follows, or the window that begins at the cut."""
        if page.next is None or self.suspect:
            return
        if cut is None:
            self._ahead.ask(page.next, partial(self.context.follow, page.next))
        elif not self.place.span_s:  # else the window may be cut shorter
            rest = replace(window, lo=cut, tries=0)
            self._ahead.ask(rest, partial(self._search, rest))

    def _search(self, window: Window) -> Page:
        return self.context.search_page(self.type, self.strategy.params(window))

    def _cut(
        self, page: Page, stamps: list[datetime | None], window: Window, safe: datetime | None
    ) -> datetime | None:
        """The stamp to go on from with another search instead of following the link; None to follow it.

        ``safe`` is how far the rows of a search that has become long came in order.
        """
        if page.next is None:
            return None
        if (last := _asked_anew(page.next, stamps, window)) is not None:
            return last
        return safe if safe and safe > (window.lo or EARLIEST) else None

    def _first(self, window: Window) -> Page:
        """The window's first page; the strategy may have to give up a sort key for it."""
        while True:
            try:
                page = self._ahead.answer(window, partial(self._search, window))
            except Rejected as fault:
                if not self.strategy.simpler(fault.issues):
                    raise
                continue
            if not page.warnings or not self.strategy.simpler(page.warnings):
                return page

    def _begun(self, page: Page) -> datetime:
        """S: the server's time in the answer that began the walk."""
        if self.began is None:
            self.began, self.seq = page.date or self.context.now(), page.sent_seq
            if self.place.deletes is None:
                self.place.deletes = walks.cap_of(self.began, self.overlap_s)
        return self.began

    def _taken(self, page: Page) -> Intake:
        """What a page holds, as it is to be stored."""
        if page.warnings:
            codes = "; ".join(issue.safe() for issue in page.warnings)
            raise Rejected(f"the search of {self.type} came with warnings and cannot be trusted: {codes}")
        context = self.context
        sight = sight_of(page, context.now(), self.seq)
        taken = take_page(page, self.type, sight, context)
        taken.arrivals = self._in_bounds(taken.arrivals)
        self._watch(taken)
        return taken

    def _store(self, taken: Intake, row: WalkRow) -> None:
        """Store one page with the walk's place: with those that wait, or, where what follows is here, later."""
        self._waiting.append(_Waiting(taken, row))
        self.row = row
        rows = sum(len(one.taken.arrivals) for one in self._waiting)
        if rows >= _ROWS_TOGETHER or not self._ahead.is_here(_SOON_S):
            self._store_waiting()

    def _store_waiting(self) -> None:
        """Store the pages that wait in one transaction; what is lost with it is polled again, the place with it."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        with self.context.ledger.transaction(durable=False):
            unsure = [ref for one in waiting for ref in self._stored(one)]
        self._settle(unsure)

    def _stored(self, one: _Waiting) -> Sequence[str]:
        context, result, taken = self.context, self.result, one.taken
        fresh = fresh_quarantine(taken.quarantine, self.known_quarantine)
        stored = context.ledger.store(
            context.source,
            taken.arrivals,
            cause=self.cause,
            walk=one.row,
            quarantine=fresh,
            now=context.clock.now(),
        )
        self.known_quarantine += fresh
        result.pages += 1
        result.received += len(taken.refs())
        result.changed += stored.changed
        result.same += stored.same
        result.quarantined += len(fresh) + stored.set_aside
        result.patients.update(patient for arrival in taken.arrivals for patient in arrival.patients)
        return stored.unsure

    def _settle(self, refs: Sequence[str]) -> None:
        """Read by id what an answer overtook (F40)."""
        for ref in refs:
            look = self.reader.look(ref, walk_seq=self.seq)
            if look.taken.arrivals:
                self.reader.store(look.taken, self.cause)

    def _in_bounds(self, arrivals: list[Arrival]) -> list[Arrival]:
        """Without unknown rows older than ``since`` allows; what is held stays, filter or not (F32)."""
        since = self.context.since.get(self.type)
        outside = [a.ref for a in arrivals if since and a.last_updated and a.last_updated < since]
        if not outside:
            return arrivals
        unknown = set(outside) - set(self.context.ledger.inventory_of(self.row.source, outside))
        return [a for a in arrivals if a.ref not in unknown]

    def _watch(self, taken: Intake) -> None:
        """What a page tells beside its rows: the anchor, the newest row, rows that came late."""
        if self.unseen:
            self.unseen.difference_update(taken.refs())
        for arrival in live(taken.arrivals):
            stamp = arrival.last_updated
            if stamp is None:
                self.unstamped = True
            elif self.newest is None or stamp >= self.newest[0]:
                self.tied = self.tied + 1 if self.newest and stamp == self.newest[0] else 1
                self.newest = (stamp, arrival.ref)
            if self.anchor is not None and arrival.ref == self.anchor.ref:
                self.anchor_seen = True
                if regressed(self.anchor, arrival, self.overlap_s):
                    self.suspect = "its newest row came back older"
        if self.row.anchor_ref and not self.anchor_seen:
            self.anchor_seen = self.row.anchor_ref in taken.refs()
        self._measure(taken.arrivals)

    def _measure(self, arrivals: Sequence[Arrival]) -> None:
        """How late rows are that an earlier complete walk should have shown (F42)."""
        known = self.row.known_at
        early = [a for a in live(arrivals) if walks.late_by(known, a.last_updated) > timedelta(0)]
        if not early or self.place.gaps:
            return
        held = self.context.ledger.inventory_of(self.row.source, [a.ref for a in early])
        for arrival in early:
            before = held.get(arrival.ref)
            if before is None or not _same_version(before, arrival):
                self.lateness = max(self.lateness, walks.late_by(known, arrival.last_updated))


def _asked_anew(link: str, stamps: list[datetime | None], window: Window) -> datetime | None:
    """Where a next link counts rows, the stamp to ask from instead of following it; None to follow.

    A row of an earlier page that is updated meanwhile moves to the end, and everything behind it one place
    forward: the next page by number would pass over a row that no later poll asks for.
    """
    if not _counts_rows(link):
        return None
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps) or not known or known != sorted(known) or known[0] == known[-1]:
        return None  # no order, or all in one instant: there is no stamp to go on from
    return known[-1] if known[-1] > (window.lo or EARLIEST) else None


def _counts_rows(link: str) -> bool:
    """Whether a next link says how many rows, or pages, to pass over (Helios, Medplum); HAPI's counts in a list
    that it has fixed."""
    return any(name in _OFFSETS for name, _ in parse_qsl(urlsplit(link).query, keep_blank_values=True))


def _same_version(held: Held, arrival: Arrival) -> bool:
    if held.state is not SnapshotState.LIVE and held.state is not arrival.state:
        return True  # it was set aside or deleted before: that it is back says nothing of the search
    if held.version or arrival.version:
        return held.version == arrival.version
    return held.kept_digest == arrival.kept_digest
