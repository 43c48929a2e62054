"""Polling by last update: ``_lastUpdated=ge…&_sort=_lastUpdated,_id&_count=…``.

Times go out to the millisecond with Z: with less HAPI takes them for a whole second. The second sort key
breaks ties (HAPI has none of its own), and a page size is always named: without one HAPI loses rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapter.errors import Issue
from adapter.polling.walk import Window, instant

_SORTS = ("_lastUpdated,_id", "_lastUpdated", "")


class LastUpdated:
    """The strategy where a type has ``_lastUpdated``.

    Args:
        filters: further parameters of every search: the source's own, or our identifier for Tasks.
    """

    name = "last-updated"

    def __init__(self, filters: Sequence[tuple[str, str]] = ()) -> None:
        self._filters = tuple(filters)
        self._sort = 0

    def params(self, window: Window) -> list[tuple[str, str]]:
        """The search for one window of time."""
        found = list(self._filters)
        if window.lo is not None:
            found.append(("_lastUpdated", f"ge{instant(window.lo)}"))
        if window.hi is not None:
            found.append(("_lastUpdated", f"lt{instant(window.hi)}"))
        if _SORTS[self._sort]:
            found.append(("_sort", _SORTS[self._sort]))
        return [*found, ("_count", str(window.count))]

    def simpler(self, refused: Sequence[Issue]) -> bool:
        """Leave out ``_id``, then all sorting; a refusal that speaks of something else changes nothing."""
        speaks_of_sort = any("sort" in issue.text.lower() or "_id" in issue.text for issue in refused)
        if self._sort + 1 >= len(_SORTS) or not (speaks_of_sort or not refused):
            return False
        self._sort += 1
        return True
