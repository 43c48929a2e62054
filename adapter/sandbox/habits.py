"""How a sandbox behaves: the habits of real servers, each a switch that may be turned while it runs.

The defaults are HAPI JPA 8.8.0's as it was seen. A habit stays until it is turned off; what happens to the
next few requests only is planned in :mod:`adapter.sandbox.faults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Self

_NONE = timedelta(0)


@dataclass(slots=True)
class Habits:
    """The switches. Durations count on the sandbox's clock, which a test moves."""

    # Versions and writing
    stale_status: Literal[409, 412] = 409
    """The answer to a stale If-Match: 409 on HAPI and Oracle, 412 on Helios."""
    if_match_on_missing: Literal["create", "refuse"] = "create"
    """If-Match on an id that never existed: HAPI creates (201), Helios refuses (412)."""
    identical_put_makes_version: bool = False
    opaque_versions: bool = False
    """versionId is a UUID, as on Medplum."""
    no_version_id: bool = False
    no_last_updated: bool = False
    """Neither meta.lastUpdated nor Last-Modified; the search parameter goes on working."""
    update_as_create: bool = True
    conditional_create: bool = True
    """False: If-None-Exist is ignored, and /metadata says so."""
    conditional_create_lags: bool = False
    """If-None-Exist looks into the lagging index: how duplicates come about."""
    enforce_references: bool = True
    """A reference to nothing is refused with 400 (HAPI-1094)."""
    enforce_references_on_delete: bool = True
    """Deleting what another resource names is refused with 409 (HAPI-0550)."""
    delete_missing_status: Literal[200, 404] = 200
    """The answer to a DELETE of what is not there: 200 on HAPI, 404 on Helios."""
    validate_writes: bool = False
    """Refuse with 422 what $validate finds wrong."""

    # What a write does to the content
    tags: Literal["merged", "dropped"] = "merged"
    """A PUT without stored tags and labels: HAPI keeps them, Helios drops them."""
    cut_versioned_references: bool = True
    relative_own_references: bool = True
    truncate_at: int = 0
    """Titles (Task.description, Task.code.text, CarePlan.title) are cut here; 0 keeps them."""
    whole_days: bool = False
    """The times of restriction.period and CarePlan.period are rounded down to dates."""
    append_notes: bool = False
    """Each PUT's notes are added to those stored, as Canvas does."""
    routed_status: str = ""
    """A Task stored as ``requested`` gets this status at once, in a version of the server's own."""

    # Time
    skew: timedelta = _NONE
    """How far the server's clock is ahead."""
    date_skew: timedelta = _NONE
    """How far the Date header is ahead of what it stamps."""
    updated_back: timedelta = _NONE
    """lastUpdated is stamped this much earlier: with it a newer version can bear an older time."""
    late_commit: timedelta = _NONE
    """A write is stamped at once and becomes visible this much later (in a person's write: for everybody)."""
    late_commit_requests: int = 0
    """The same, counted in requests."""
    index_lag: timedelta = _NONE
    """Searches see a write this much later; reads and histories see it at once."""
    index_lag_requests: int = 0

    # Search
    search_cache: timedelta = _NONE
    """A search repeated within this time gets the old list of ids, unless ``Cache-Control: no-cache`` (HAPI:
    60 s).
    """
    page_life: timedelta = timedelta(hours=1)
    """An older paging link is answered 410."""
    next_loops: bool = False
    """The next link leads to the first page again (Helios with a cursor it cannot read)."""
    offset_links: bool = False
    """The next link is the search once more with ``_offset`` (Helios with two sort keys, Medplum): a row that is
    updated meanwhile moves behind, and one that nobody touched is passed over.
    """
    ignore_sort: bool = False
    newest_first: bool = False
    """Whatever _sort says."""
    repeat_entries: bool = False
    """A page begins with the last row of the page before."""
    reorder_entries: bool = False
    """The rows of a page come in reverse."""
    unknown_parameter: Literal["refuse", "warn", "ignore"] = "refuse"
    """400 (HAPI-0524), or 200 without the filter, with a warning entry (Helios) or without."""
    no_last_updated_search: bool = False
    """_lastUpdated is an unknown parameter, as on three of the five big EHRs."""
    require_one_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Types whose search needs one of these parameters, else 400."""
    empty_search: frozenset[str] = frozenset()
    """Types whose searches answer an empty list although there is data ("*": all)."""
    search_warning: str = ""
    """An OperationOutcome with this text stands in each 200 of a search."""
    link_base: str = ""
    """Another base URL in links, fullUrl and Location, as behind a proxy."""

    # Rows that break
    poison: frozenset[str] = frozenset()
    """"Type/id" whose row is no JSON: the page that holds it does not parse."""
    misshapen: frozenset[str] = frozenset()
    """"Type/id" whose row is JSON and no resource: it has no resourceType and its id is a number."""

    # Refusing
    missing: Literal["", "html", "empty", "outcome"] = ""
    """404 for everything, in this dress."""
    gone_status: Literal[404, 410] = 410
    """The answer to a read of something deleted."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Type → 401, 403, 404 or other status for every request on it; /metadata goes on listing it."""
    absent: frozenset[str] = frozenset()
    """Types that /metadata does not list and that are answered 404."""
    forbidden: frozenset[tuple[str, str]] = frozenset()
    """(type, interaction) that /metadata does not list and that is answered 405, such as ("Task",
    "create").
    """
    history: bool = True
    token: str = ""
    """A bearer token that every request but /metadata must bear."""
    read_token: str = ""
    """A second one that may only read: a write with it is 403."""
    fhir_version: str = "4.0.1"

    @classmethod
    def hapi(cls) -> Self:
        """HAPI JPA with its default search reuse."""
        return cls(search_cache=timedelta(seconds=60))

    @classmethod
    def helios(cls) -> Self:
        """Helios 0.2.7: strict If-Match, forgetful about tags, lenient about parameters and references."""
        return cls(
            stale_status=412,
            if_match_on_missing="refuse",
            identical_put_makes_version=True,
            tags="dropped",
            cut_versioned_references=False,
            relative_own_references=False,
            enforce_references=False,
            enforce_references_on_delete=False,
            unknown_parameter="warn",
            delete_missing_status=404,
        )

    @classmethod
    def big_ehr(cls) -> Self:
        """An EHR that can hardly be polled or written: no _lastUpdated, no history, no Task to create."""
        return cls(
            stale_status=412,
            if_match_on_missing="refuse",
            update_as_create=False,
            conditional_create=False,
            no_last_updated_search=True,
            history=False,
            absent=frozenset({"CoverageEligibilityResponse", "CoverageEligibilityRequest"}),
            forbidden=frozenset({("Task", "create"), ("CarePlan", "create"), ("CarePlan", "update")}),
        )
