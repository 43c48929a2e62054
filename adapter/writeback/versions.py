"""Which version of a resource stands in the EHR: its number with the time that the server stamped on it. Pure.

A number alone does not do. A server that lost its last writes, or was put back to a backup, gives their numbers to
other contents (CONSISTENCY F18); the stamps tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from adapter.fhirjson import digest
from adapter.model import SAME_STAMP, Event, Json

_NOT_CONTENT = ("meta", "text", "contained")


def number_in(body: Json) -> str | None:
    """``meta.versionId``."""
    meta = body.get("meta")
    version = meta.get("versionId") if isinstance(meta, Mapping) else None
    return version if isinstance(version, str) else None


def version_mark(version: str | None, body: Json, stamp: datetime | None = None) -> str:
    """ "number@stamp"; the number alone where nothing is stamped; "#" and a digest where nothing is numbered.

    The digest is over what is kept of our own Tasks, too: without narrative and contained resources. ``stamp``
    stands in for a ``meta`` that was not kept.
    """
    if not version:
        return "#" + digest({name: part for name, part in body.items() if name not in _NOT_CONTENT})
    at = stamp or _stamp_in(body)
    return f"{version}@{at.astimezone(UTC).isoformat(timespec='milliseconds')}" if at else version


def same_version(one: str, other: str) -> bool:
    """Whether two marks mean one version; where either bears no stamp, its number has to do."""
    (number, at), (known, then) = _parts(one), _parts(other)
    if number != known:
        return False
    return at is None or then is None or abs(at - then) < SAME_STAMP


def taken_before(mark: str, events: Iterable[Event]) -> bool:
    """Whether a task's row has taken a version in already: its return is the server's going back, no edit."""
    return any(same_version(mark, str(e.set["seen_version"])) for e in events if e.set.get("seen_version"))


def _parts(mark: str) -> tuple[str, datetime | None]:
    number, at, stamp = mark.rpartition("@")
    try:
        return (number, datetime.fromisoformat(stamp)) if at else (mark, None)
    except ValueError:  # an ETag with an @ in it
        return mark, None


def _stamp_in(body: Json) -> datetime | None:
    meta = body.get("meta")
    said = meta.get("lastUpdated") if isinstance(meta, Mapping) else None
    try:
        found = datetime.fromisoformat(said) if isinstance(said, str) else None
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC) if found else None
    except (ValueError, OverflowError):
        return None
