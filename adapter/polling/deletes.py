"""Deletions: a search cannot show them, so they are looked for in the type's history and confirmed by a read.

A DELETE entry carries no time (HAPI), and the order of a history is no proof: versions whose stamps go back, or are
the same, stand in any. So whatever was deleted at all is read; what was put there again shows itself by that (F41).
"""

from __future__ import annotations

from datetime import datetime

from adapter.model import SnapshotState
from adapter.polling.context import PollingContext
from adapter.polling.intake import Intake
from adapter.polling.reader import Reader, Sighting


class Deletes:
    """Looks for deletions at one source."""

    def __init__(self, context: PollingContext, reader: Reader) -> None:
        self._context = context
        self._reader = reader

    def offered(self, type: str) -> bool:
        """Whether the server says that it has a history of the type."""
        capability = self._context.capability
        return capability is not None and capability.supports(type, "history-type")

    def look(self, type: str, since: datetime, cause: str) -> int:
        """Find what was deleted since then, of what is held; how many there were.

        Raises:
            ServerError: the history cannot be read; nothing was concluded.
        """
        deleted = self._held(self._deleted_in_history(type, since))
        taken = Intake()
        for ref in deleted:
            look = self._reader.look(ref)
            taken.arrivals += look.taken.arrivals
            taken.quarantine += look.taken.quarantine
            if look.sighting is Sighting.MISSING:  # servers that answer 404 for what was deleted
                taken.arrivals.append(self._reader.tombstone(look))
        if taken.arrivals:
            self._reader.store(taken, cause)
        return sum(arrival.state is SnapshotState.DELETED for arrival in taken.arrivals)

    def _deleted_in_history(self, type: str, since: datetime) -> list[str]:
        found: dict[str, None] = {}
        for page in self._context.history(type, since):
            for entry in page.entries:
                id = _id_in(entry.url, type) or _id_in(entry.full_url, type)
                if id and entry.method == "DELETE":
                    found[f"{type}/{id}"] = None
        return list(found)

    def _held(self, refs: list[str]) -> list[str]:
        held = self._context.ledger.snapshots(self._context.source, refs) if refs else {}
        return [ref for ref, snapshot in held.items() if snapshot.state is not SnapshotState.DELETED]


def _id_in(url: str, type: str) -> str:
    """The id in "Type/id/_history/3", or in a whole address that ends so."""
    parts = url.partition("?")[0].split("/")
    places = [place for place, part in enumerate(parts) if part == type]
    return parts[places[-1] + 1] if places and places[-1] + 1 < len(parts) else ""
