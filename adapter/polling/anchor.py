"""The anchor: the newest row stored has to come back with each walk (F18).

It tells a quiet type from a search that is broken, a deletion from an EHR that was put back to a backup.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from adapter.ledger import Arrival, WalkRow
from adapter.model import Snapshot, SnapshotState
from adapter.polling.context import PollingContext
from adapter.polling.reader import Look, Reader, Sighting

_WITNESSES = 3


class Verdict(StrEnum):
    """What the anchor's absence means."""

    FINE = "fine"
    BROKEN = "broken"  # it is there by id, and the search does not show it
    DELETED = "deleted"
    RESTORED = "restored"  # gone or older, and others with it: the EHR was put back
    UNTOLD = "untold"  # it could not be read


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and what was read on the way."""

    verdict: Verdict
    look: Look | None = None
    reason: str = ""


def regressed(held: Snapshot, arrival: Arrival, overlap_s: float) -> bool:
    """Whether a server now shows an older version than it showed before.

    ``lastUpdated`` alone proves nothing: it may go back between versions (by 12.8 s on HAPI). It has to go back
    together with a version number; where versions are no numbers, by more than the overlap.
    """
    if held.version == arrival.version or held.state is not SnapshotState.LIVE:
        return False
    if held.last_updated is None or arrival.last_updated is None:
        return False
    back = held.last_updated - arrival.last_updated
    fell = _number_fell(held.version, arrival.version)
    return back > (timedelta(seconds=overlap_s) if fell is None else timedelta(0)) and fell is not False


def _number_fell(before: str | None, now: str | None) -> bool | None:
    """Whether a version number went down; None where they are no numbers."""
    if not (before and now and before.isdigit() and now.isdigit()):
        return None
    return int(now) < int(before)


class AnchorCheck:
    """Asks for the anchor of a walk that has ended without showing it."""

    def __init__(self, context: PollingContext, reader: Reader) -> None:
        self._context = context
        self._reader = reader

    def judge(self, row: WalkRow, held: Snapshot, asked_from: datetime | None) -> Judged:
        """What it means that a walk from ``asked_from`` has not shown the anchor."""
        look = self._reader.look(row.anchor_ref)
        match look.sighting:
            case Sighting.GONE:
                return Judged(Verdict.DELETED, look)
            case Sighting.MISSING:
                restored = self._others_suffered(row, held)
                return Judged(Verdict.RESTORED if restored else Verdict.DELETED, look, "gone")
            case Sighting.REFUSED:
                return Judged(Verdict.UNTOLD, look, look.reason)
            case Sighting.UNREADABLE:
                return Judged(Verdict.FINE, look)
        arrival = look.arrival
        assert arrival is not None
        if regressed(held, arrival, row.overlap_s):
            return Judged(Verdict.RESTORED, look, "older")
        same = arrival.version == held.version and arrival.kept_digest == held.kept_digest
        expected = asked_from is None or (held.last_updated is not None and held.last_updated >= asked_from)
        return Judged(Verdict.BROKEN if same and expected and held.in_scope else Verdict.FINE, look)

    def _others_suffered(self, row: WalkRow, held: Snapshot) -> bool:
        """Whether other rows are gone or older, too. With nobody to ask, the worse is assumed."""
        witnesses = self._witnesses(row)
        for witness in witnesses:
            look = self._reader.look(witness.ref)
            if look.sighting is Sighting.MISSING:
                return True
            if look.arrival is not None and regressed(witness, look.arrival, row.overlap_s):
                return True
        return not witnesses

    def _witnesses(self, row: WalkRow) -> list[Snapshot]:
        """The next newest rows of the type, and the anchors of the other types."""
        ledger, source = self._context.ledger, self._context.source
        alive = [
            one
            for one in ledger.inventory(source, row.type)
            if one.state is SnapshotState.LIVE and one.last_updated and one.ref != row.anchor_ref
        ]
        alive.sort(key=lambda one: one.last_updated.timestamp() if one.last_updated else 0.0, reverse=True)
        refs = [one.ref for one in alive[:_WITNESSES]]
        refs += [
            walk.anchor_ref for walk in ledger.walks(source) if walk.anchor_ref and walk.type != row.type
        ]
        held = ledger.snapshots(source, refs)
        return [held[ref] for ref in refs if ref in held and held[ref].state is SnapshotState.LIVE]
