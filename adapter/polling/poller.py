"""The poll of one type at one source: from the watermark to its end, and what may be believed then.

>>> poller = Poller(context)
>>> for type in (*POLLED, "Task"):
...     result = poller.poll(type)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from adapter.errors import AccessRefused, NotFound, Rejected, ServerError
from adapter.ledger import WalkRow
from adapter.model import SnapshotState
from adapter.polling import walk as walks
from adapter.polling.anchor import AnchorCheck, Judged, Verdict
from adapter.polling.context import PollingContext
from adapter.polling.deletes import Deletes
from adapter.polling.last_updated import LastUpdated
from adapter.polling.reader import Reader, reason_of
from adapter.polling.result import PollResult
from adapter.polling.strategy import Strategy
from adapter.polling.walk import Place, Query
from adapter.polling.walker import Walker


class Poller:
    """Polls the types of one source. Not for use from several threads at once; one per source.

    Args:
        context: the source's means.
        strategy: makes the strategy of a type from its filters.

    ``pages`` says how many the last poll of each type had.
    """

    def __init__(
        self,
        context: PollingContext,
        *,
        strategy: Callable[[tuple[tuple[str, str], ...]], Strategy] = LastUpdated,
    ) -> None:
        self._context = context
        self._strategy = strategy
        self._reader = Reader(context)
        self._anchors = AnchorCheck(context, self._reader)
        self._deletes = Deletes(context, self._reader)
        self.pages: Counter[str] = Counter()

    def poll(self, type: str) -> PollResult:
        """Walk one type from its watermark.

        What the server refuses or fails is in the result, never raised: the other types go on. The source's
        own faults (no namespace, a ledger that cannot be written) are raised.
        """
        result = PollResult(self._context.source, type)
        walker = self._walker(type, result)
        try:
            walker.run()
            self._end(walker)
        except ServerError as fault:
            self._failed(walker, fault)
        self.pages[type] = result.pages
        return result

    def declare_none(self, type: str) -> None:
        """The configuration says that the source has no such resources: empty, and known."""
        ledger, source = self._context.ledger, self._context.source
        row = ledger.walk(source, type)
        if not row.declared_none:
            ledger.save_walk(replace(row, declared_none=True, blind="", blind_since=None))

    # --- beginning

    def _walker(self, type: str, result: PollResult) -> Walker:
        context = self._context
        strategy = self._strategy(context.filters(type))
        held = context.ledger.walk(context.source, type)
        row = self._begin(type, strategy, held)
        since = context.since.get(type)
        asked_from = max((at for at in (row.watermark, since) if at is not None), default=None)
        anchor = context.ledger.snapshot(context.source, row.anchor_ref) if row.anchor_ref else None
        return Walker(
            context=context,
            reader=self._reader,
            strategy=strategy,
            row=row,
            result=result,
            cause=self._cause(type, row, held),
            asked_from=asked_from,
            place=Place.read(row.place),
            anchor=anchor,
            known_quarantine=context.ledger.quarantine(context.source),
            overlap_s=row.overlap_s,
            unseen=self._held(type) if asked_from is None and not row.bounded else set(),
        )

    def _held(self, type: str) -> set[str]:
        """What is held and alive: a walk of the whole type has to show it again."""
        held = self._context.ledger.inventory(self._context.source, type)
        return {one.ref for one in held if one.state is not SnapshotState.DELETED}

    def _begin(self, type: str, strategy: Strategy, held: WalkRow) -> WalkRow:
        """The walk's row: anew for another question, from the start for other elements."""
        context = self._context
        question = walks.query_digest(strategy.name, context.filters(type), context.since.get(type))
        query = Query(question, context.keeper.edition_of(type))
        before = Query.read(held.query)
        overlap = max(context.overlap_s, held.overlap_s) if held.query else context.overlap_s
        row = replace(held, overlap_s=overlap, bounded=context.bounded(type), declared_none=False)
        if held.query and before.question != query.question:
            row = WalkRow(
                held.source, type, overlap_s=overlap, bounded=row.bounded, place=row.place, blind=row.blind
            )
        elif held.query and before.elements != query.elements:
            row = replace(row, watermark=None)  # what is known stays known meanwhile (F9)
        return replace(row, query=str(query))

    def _cause(self, type: str, row: WalkRow, held: WalkRow) -> str:
        """Why persons are woken: guards count floods by it."""
        if type == "Task":
            return "read-back"
        if row.known_at is None:
            return "load"
        return "edition" if row.watermark is None and held.watermark is not None else "resource"

    # --- ending

    def _end(self, walker: Walker) -> None:
        if walker.began is None:
            return
        if not walker.suspect:
            self._look_for_deletes(walker)  # first: a deleted anchor is no sign of anything
            self._check_anchor(walker)
        if walker.suspect:
            self._suspect(walker)
            return
        if not walker.result.errors:
            self._look_for_unseen(walker)
            self._complete(walker)

    def _check_anchor(self, walker: Walker) -> None:
        row = walker.row
        if not row.anchor_ref or walker.anchor_seen or walker.anchor is None:
            return
        held = self._context.ledger.snapshot(row.source, row.anchor_ref)
        if held is None or held.state is SnapshotState.DELETED:
            walker.row = replace(row, anchor_ref="", anchor_updated=None)
            return
        judged = self._anchors.judge(row, walker.anchor, walker.asked_from)
        self._store_anchor(walker, judged)
        if judged.verdict is Verdict.BROKEN:
            walker.result.errors.append(f"the search of {row.type} does not show what is there by id")
        elif judged.verdict is Verdict.UNTOLD:
            walker.result.errors.append(
                f"the newest known {row.type} did not come back and cannot be read ({judged.reason})"
            )
        elif judged.verdict is Verdict.RESTORED:
            walker.suspect = f"its newest row is {judged.reason}"
        elif judged.verdict is Verdict.DELETED:
            walker.row = replace(row, anchor_ref="", anchor_updated=None)

    def _store_anchor(self, walker: Walker, judged: Judged) -> None:
        look = judged.look
        if look is None or judged.verdict is Verdict.RESTORED:
            return  # a restored EHR is judged by a person, and read again from the beginning
        taken = look.taken
        if judged.verdict is Verdict.DELETED and not taken.arrivals:
            if walker.row.type == "Task":  # 404: a write that the server lost is written again (F18)
                self._context.ledger.want([look.ref])
                return
            taken.arrivals.append(self._reader.tombstone(look))
        if taken.arrivals:
            walker.result.deleted += judged.verdict is Verdict.DELETED
            self._reader.store(taken, walker.cause)

    def _look_for_deletes(self, walker: Walker) -> None:
        type, place = walker.row.type, walker.place
        if not self._deletes.offered(type) or place.deletes is None or walker.began is None:
            return
        try:
            walker.result.deleted += self._deletes.look(type, place.deletes, walker.cause)
        except ServerError as fault:
            walker.result.notes.append(f"deletions of {type} could not be looked for: {fault.message}")
            return
        place.deletes = walks.cap_of(walker.began, walker.overlap_s)

    def _look_for_unseen(self, walker: Walker) -> None:
        """After a walk of the whole type: what is held and was not shown, by id."""
        if not walker.unseen or walker.row.type == "Task":  # a Task that is 404 is a lost write, not deleted
            return
        batch = self._reader.read_all(sorted(walker.unseen))
        batch.taken.arrivals += [self._reader.tombstone(look) for look in batch.missing]
        walker.result.deleted += len(batch.gone) + len(batch.missing)
        self._reader.store(batch.taken, walker.cause)

    def _complete(self, walker: Walker) -> None:
        row, began = walker.row, walker.began
        assert began is not None
        overlap = walks.raised(walker.overlap_s, walker.lateness)
        if overlap > walker.overlap_s:
            late = walker.lateness.total_seconds()
            walker.result.notes.append(f"a row came {late:.0f} s late: the overlap is {overlap:.0f} s now")
        newest, ref = row.anchor_updated, row.anchor_ref
        if walker.newest is not None and (newest is None or walker.newest[0] >= newest):
            newest, ref = walker.newest
        anchored = walker.anchor_seen or not row.anchor_ref
        watermark = walks.at_end(
            row.watermark,
            None if walker.unstamped else newest,
            walks.cap_of(began, overlap),
            pass_newest=anchored and walker.tied >= self._context.page_size,
        )
        walker.place.span_s = 0.0
        mark = watermark
        walker.place.gaps = [gap for gap in walker.place.gaps if mark is None or gap[1] > mark]
        done = replace(
            row,
            watermark=watermark,
            known_at=began,
            known_seq=walker.seq,
            place=walker.place.written(),
            overlap_s=overlap,
            anchor_ref=ref,
            anchor_updated=newest,
            blind="",
            blind_since=None,
            note="; ".join(walker.result.notes)[:500],
        )
        self._context.ledger.save_walk(done)
        if (
            row.blind
        ):  # who was looked at meanwhile was looked at without this type, and nothing else will wake them
            self._context.ledger.request_everyone(row.source, f"seen:{row.type}")
        walker.result.complete = True

    def _suspect(self, walker: Walker) -> None:
        """The EHR was put back: writes stop, every type is read from the beginning, a person decides."""
        ledger, source = self._context.ledger, self._context.source
        reason = f"{walker.row.type}: {walker.suspect}; the EHR may have been restored"
        walker.result.suspect = reason
        walker.result.errors.append(reason)
        ledger.save_walk(walker.row)
        for row in ledger.walks(source):
            fresh = replace(
                row, watermark=None, known_at=None, known_seq=0, anchor_ref="", anchor_updated=None
            )
            ledger.save_walk(replace(fresh, place=None))
        held = ledger.source(source)
        if held is not None:
            ledger.save_source(replace(held, suspect=reason))

    def _failed(self, walker: Walker, fault: ServerError) -> None:
        """The walk ended early: a refusal makes the type blind, the rest is tried again."""
        result = walker.result
        result.errors.append(str(fault))
        refused = isinstance(fault, AccessRefused | Rejected) or (
            isinstance(fault, NotFound) and bool(fault.issues)
        )
        row = walker.row
        if refused:
            result.blind = reason_of(fault) if fault.status else "its search cannot be trusted"
            since = row.blind_since if row.blind else self._context.now()
            row = replace(row, blind=result.blind, blind_since=since or self._context.now())
        self._context.ledger.save_walk(replace(row, note=fault.message[:500], place=walker.place.written()))


def stale(row: WalkRow, interval_s: float, context: PollingContext) -> bool:
    """Whether a type was not completely walked for three intervals: then ``status`` says so (F3)."""
    if row.declared_none:
        return False
    return row.known_at is None or context.now() - row.known_at > timedelta(seconds=3 * interval_s)
