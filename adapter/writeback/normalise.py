"""Comparing what was sent with what stands there, after undoing what servers change by themselves: pure.

Servers strip versions from references, shorten their own base, sort and add tags, move times to another
offset, add displays, ids of elements and narrative blanks. None of that is a difference; ``meta`` is compared
only in its tags and labels, as "contains", and ``lastModified`` never.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from adapter.fhirjson import canonical, digest
from adapter.references import NO_BASES, Bases, parse_reference

Json = Mapping[str, Any]

_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$")
_BLANKS = re.compile(r"\s+")
_BETWEEN = re.compile(r">\s+<")
_UNCOMPARED = frozenset({"id", "resourceType", "meta", "lastModified"})
_CONTAINED = ("meta.tag", "meta.security")


def normal(value: Any, bases: Bases = NO_BASES) -> Any:
    """A value in the one form that equal ones share. Lists keep their order; :func:`same` ignores it."""
    if isinstance(value, Mapping):
        return _object(value, bases)
    if isinstance(value, list | tuple):
        return [part for part in (normal(one, bases) for one in value) if part not in (None, {}, [], "")]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return f"number {Decimal(str(value)).normalize():f}"
    return _instant(value) if isinstance(value, str) else value


def same(one: Any, other: Any, bases: Bases = NO_BASES) -> bool:
    """Whether two values say the same. Lists are compared as sets with repetitions."""
    return canonical(one) == canonical(other) or _key(one, bases) == _key(other, bases)


def differs(
    ours: Json, theirs: Json, paths: Iterable[str] | None = None, bases: Bases = NO_BASES
) -> list[str]:
    """The paths at which ``theirs`` does not say what ``ours`` says.

    Args:
        ours: what Baton would send, or has sent.
        theirs: what stands there, or came back.
        paths: dotted paths of Baton's own part; None compares all but what is never compared.
        bases: the source's own URLs.
    """
    if paths is None:
        names = sorted((set(ours) | set(theirs)) - _UNCOMPARED)
        paths = [*names, *_CONTAINED]
    return [path for path in paths if not _agrees(path, at(ours, path), at(theirs, path), bases)]


def at(resource: Json, path: str) -> Any:
    """What stands at a dotted path; None for nothing."""
    value: Any = resource
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def change_digest(ours: Any, theirs: Any, bases: Bases = NO_BASES) -> str:
    """What a server made of a value of ours: known again when it does the same a second time (F29)."""
    return digest([_key(ours, bases).hex(), _key(theirs, bases).hex()])


def content_digest(value: Any, bases: Bases = NO_BASES) -> str:
    """The digest of a value's one form."""
    return digest(_key(value, bases))


def diff_text(before: Json | None, after: Json, bases: Bases = NO_BASES) -> str:
    """What a write would change, to be read by the person who asked for a dry run. Holds patient data."""
    kind, id = after.get("resourceType", ""), after.get("id", "")
    if before is None:
        names = [name for name in after if name not in ("resourceType", "id", "meta", "text")]
        return "\n".join([f"+ {kind}/{id}", *(f"    {name}: {_shown(after[name])}" for name in names)])
    lines = [f"~ {kind}/{id}"]
    for path in differs(after, before, None, bases):
        lines.append(f"    {path}: {_shown(at(before, path))} → {_shown(at(after, path))}")
    return "\n".join(lines)


# ---- inside ----


def _agrees(path: str, ours: Any, theirs: Any, bases: Bases) -> bool:
    if path in _CONTAINED:
        have = {_coding(one) for one in theirs or () if isinstance(one, Mapping)}
        return all(_coding(one) in have for one in ours or () if isinstance(one, Mapping))
    return same(ours, theirs, bases)


def _coding(one: Json) -> tuple[Any, Any]:
    return one.get("system"), one.get("code")


def _key(value: Any, bases: Bases) -> bytes:
    return canonical(_unordered(normal(value, bases)))


def _unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unordered(part) for name, part in value.items()}
    if isinstance(value, list):
        return sorted((_unordered(part) for part in value), key=canonical)
    return value


def _object(value: Json, bases: Bases) -> dict[str, Any]:
    dropped = {"id"}
    if isinstance(value.get("reference"), str):
        dropped |= {"display", "type"}
    elif "system" in value and "code" in value:
        dropped |= {"display", "userSelected"}
    result: dict[str, Any] = {}
    for name, part in value.items():
        if name in dropped:
            continue
        if name == "reference" and isinstance(part, str):
            result[name] = parse_reference(part, bases).key() or part
        elif name == "div" and isinstance(part, str):
            result[name] = _BETWEEN.sub("><", _BLANKS.sub(" ", part)).strip()
        else:
            kept = normal(part, bases)
            if kept not in (None, {}, [], ""):
                result[name] = kept
    return result


def _instant(text: str) -> str:
    if not _TIME.match(text):
        return text.strip()
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    return moment.isoformat(timespec="microseconds")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    shown = value if isinstance(value, str) else canonical(value).decode()
    return shown if len(shown) <= 300 else shown[:299] + "…"
