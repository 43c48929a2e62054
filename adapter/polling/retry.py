"""Quarantine, tried again: by a fresh read of the id, never from the bytes that were kept (F48)."""

from __future__ import annotations

from enum import StrEnum

from adapter.errors import ServerError
from adapter.polling.context import PollingContext
from adapter.polling.reader import Reader, Sighting


class Retried(StrEnum):
    """What became of an entry."""

    STORED = "stored"
    GONE = "gone"
    STAYS = "stays"  # it still cannot be read
    NO_ID = "no-id"  # its id was never known, so that it cannot be asked for
    NOT_NOW = "not-now"  # the server did not answer
    NOT_THERE = "not-there"  # no such entry


class QuarantineRetry:
    """Tries entries of one source's quarantine again."""

    def __init__(self, context: PollingContext) -> None:
        self._context = context
        self._reader = Reader(context)

    def retry(self, id: int) -> Retried:
        """Read the resource of an entry again; a good answer clears the entry."""
        context = self._context
        entry = context.ledger.quarantined(id)
        if entry is None or entry.source != context.source:
            return Retried.NOT_THERE
        if not entry.res_id:
            return Retried.NO_ID
        try:
            look = self._reader.look(f"{entry.type}/{entry.res_id}")
        except ServerError:
            return Retried.NOT_NOW
        if look.sighting is Sighting.UNREADABLE:
            rows = look.taken.quarantine  # stored though nothing changed: it counts the tries
            context.ledger.store(context.source, look.taken.arrivals, cause="resource", quarantine=rows)
            return Retried.STAYS
        taken = look.taken
        if look.sighting is Sighting.MISSING:
            taken.arrivals.append(self._reader.tombstone(look))
        if not taken.arrivals:
            return Retried.NOT_NOW
        stored = self._reader.store(taken, "resource")
        if stored.waiting:
            return Retried.STAYS
        return Retried.STORED if look.sighting is Sighting.THERE else Retried.GONE

    def retry_all(self) -> dict[Retried, int]:
        """Try every entry; how many came to what."""
        counts: dict[Retried, int] = {}
        for entry in self._context.ledger.quarantine(self._context.source):
            outcome = self.retry(entry.id)
            counts[outcome] = counts.get(outcome, 0) + 1
        return counts
