"""Which resources a search finds, in which order: R4's tokens, references, dates and strings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from adapter.sandbox.core import Core
from adapter.sandbox.elements import NEVER, Json, Span, local_name, span, spans_in, values_at
from adapter.sandbox.parameters import Parameter, parameter
from adapter.sandbox.refusal import Refusal
from adapter.sandbox.store import Version

Test = Callable[[Version], bool]

CONTROLS = frozenset({"_count", "_sort", "_elements", "_summary", "_total", "_format", "_pretty"})
_PREFIX = re.compile(r"^(eq|ne|gt|lt|ge|le|sa|eb)?(.+)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """The versions found, in order, and the names of parameters that were passed over."""

    versions: list[Version] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def pairs_of(condition: str) -> list[tuple[str, str]]:
    """The parameters of an If-None-Exist header.

    Raises:
        Refusal: 400 where it begins with "?" or a type, or holds nothing.
    """
    pairs = parse_qsl(condition.strip().replace("+", "%2B"), keep_blank_values=True)
    if not pairs or any(not re.match(r"^[_a-z][A-Za-z\-:]*$", name) or not value for name, value in pairs):
        raise Refusal(400, "HAPI-0524: The condition is not understood", code="invalid")
    return pairs


def find(core: Core, kind: str, pairs: Sequence[tuple[str, str]], *, fresh: bool = False) -> Found:
    """Search a type. ``fresh`` looks past a lagging index.

    Raises:
        Refusal: 400 for an unknown parameter or modifier, or a value that cannot be read.
    """
    tests, ignored = _tests(core, kind, pairs)
    found = [v for ref in _candidates(core, kind, pairs) if (v := _seen(core, ref, fresh)) and _all(tests, v)]
    return Found(_in_order(core, kind, found, dict(pairs).get("_sort", "")), ignored)


def _all(tests: Iterable[Test], version: Version) -> bool:
    return all(test(version) for test in tests)


def _seen(core: Core, ref: str, fresh: bool) -> Version | None:
    if not fresh:
        return core.store.indexed(ref, core.now(), core.served)
    version = core.store.newest(ref)
    return version if version is not None and version.resource is not None else None


def _candidates(core: Core, kind: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The resources worth a look: those of the type, narrowed by an id, an identifier or a patient if one is
    given.
    """
    stored = core.store.by_type.get(kind, {})
    for name, value in pairs:
        found = _narrowed(core, kind, name, value)
        if found is not None:
            return [ref for ref in stored if ref in found] if len(found) > 50 else _sorted(stored, found)
    return list(stored)


def _sorted(stored: dict[str, None], found: Iterable[str]) -> list[str]:
    return [ref for ref in found if ref in stored]


def _narrowed(core: Core, kind: str, name: str, value: str) -> dict[str, None] | None:
    if name == "_id":
        return {f"{kind}/{part.rpartition('/')[2]}": None for part in _split(value, ",")}
    if name == "identifier" and "," not in value and value.count("|") == 1 and not value.startswith("|"):
        return core.store.identified.get(value, {}) if not value.endswith("|") else None
    known = parameter(kind, name)
    if known is not None and known.kind == "reference" and "," not in value and "//" not in value:
        target = value if local_name(value) else f"{known.target}/{value}"
        return core.store.pointing.get(target, {}) if local_name(target) else None
    return None


# --- tests --------------------------------------------------------------------------------------------------


def _tests(core: Core, kind: str, pairs: Sequence[tuple[str, str]]) -> tuple[list[Test], list[str]]:
    tests: list[Test] = []
    ignored: list[str] = []
    for full, value in pairs:
        name, _, modifier = full.partition(":")
        if name in CONTROLS:
            continue
        known = _known(core, kind, name)
        if known is None:
            ignored.append(_unknown(core, full))
        elif value:
            tests.append(_test(core, name, known, modifier, value))
    return tests, ignored


def _known(core: Core, kind: str, name: str) -> Parameter | None:
    hidden = name == "_lastUpdated" and core.habits.no_last_updated_search
    return None if hidden else parameter(kind, name)


def _unknown(core: Core, name: str) -> str:
    if core.habits.unknown_parameter == "refuse":
        raise Refusal(400, f"HAPI-0524: Unknown search parameter '{name}'", code="processing")
    return name


def _test(core: Core, name: str, known: Parameter, modifier: str, value: str) -> Test:
    if modifier == "missing":
        wanted = value == "true"
        return lambda v: (not _values(v, known)) == wanted
    if name == "_lastUpdated":
        return _updated_test(value)
    if known.kind == "token" and modifier in ("", "not"):
        return _token_test(known, value, negate=modifier == "not")
    if known.kind == "reference" and (not modifier or modifier[:1].isupper()):
        return _reference_test(core, known, modifier, value)
    if known.kind == "date" and not modifier:
        return _date_test(known, value)
    if known.kind == "string" and modifier in ("", "exact"):
        return _string_test(known, value, exact=modifier == "exact")
    raise Refusal(400, f"HAPI-2498: Modifier ':{modifier}' is not supported here", code="invalid")


def _values(version: Version, known: Parameter) -> list[Any]:
    return [value for path in known.paths for value in values_at(version.resource, path)]


def _split(text: str, mark: str) -> list[str]:
    """The parts between unescaped marks; the escapes of other marks stay."""
    parts = re.split(rf"(?<!\\){re.escape(mark)}", text)
    return [part.replace("\\" + mark, mark) for part in parts]


def _token_test(known: Parameter, value: str, *, negate: bool) -> Test:
    wanted = [_split(part, "|") for part in _split(value, ",")]
    return lambda v: _has_token(_values(v, known), wanted) != negate


def _has_token(values: list[Any], wanted: list[list[str]]) -> bool:
    held = [pair for value in values for pair in _tokens(value)]
    return any(_token_fits(pair, want) for pair in held for want in wanted)


def _tokens(value: Any) -> list[tuple[str | None, str]]:
    """(system, code) pairs of a code, Coding, CodeableConcept or Identifier; a bare code has no system to
    compare.
    """
    if isinstance(value, bool):
        return [(None, "true" if value else "false")]
    if isinstance(value, str):
        return [(None, value)]
    if not isinstance(value, dict):
        return []
    if "coding" in value:
        return [pair for coding in values_at(value, "coding") for pair in _tokens(coding)]
    code = value.get("code", value.get("value"))
    return [(value.get("system", ""), code)] if isinstance(code, str) else []


def _token_fits(held: tuple[str | None, str], want: list[str]) -> bool:
    if len(want) == 1:
        return held[1] == want[0]
    system_fits = held[0] is None or held[0] == want[0]
    return system_fits and (held[1] == want[1] or (not want[1] and held[0] == want[0]))


def _reference_test(core: Core, known: Parameter, modifier: str, value: str) -> Test:
    target = modifier or known.target
    wanted = {_target(core, part, target) for part in _split(value, ",")}
    return lambda v: any(_points(held, wanted, target) for held in _values(v, known))


def _target(core: Core, text: str, target: str) -> str:
    plain = text.removeprefix(core.base_url + "/")
    return plain if "/" in plain or ":" in plain or not target else f"{target}/{plain}"


def _points(held: Any, wanted: set[str], target: str) -> bool:
    text = held.get("reference") if isinstance(held, dict) else None
    if not isinstance(text, str):
        return False
    name = local_name(text) or text
    if target and not name.startswith(target + "/"):
        return False
    return name in wanted or name.partition("/")[2] in wanted


def _string_test(known: Parameter, value: str, *, exact: bool) -> Test:
    wanted = _split(value, ",")
    if exact:
        return lambda v: any(held in wanted for held in _values(v, known))
    starts = tuple(part.casefold() for part in wanted)
    return lambda v: any(str(held).casefold().startswith(starts) for held in _values(v, known))


def _bounds(value: str) -> tuple[str, Span]:
    found = _PREFIX.match(value)
    bounds = span(found[2]) if found else None
    if found is None or bounds is None:
        raise Refusal(400, "HAPI-1882: Invalid date or prefix", code="invalid")
    return found[1] or "eq", bounds


def _updated_test(value: str) -> Test:
    prefix, bounds = _bounds(value)
    compare = _COMPARE[prefix]
    return lambda v: compare((v.at, v.at + timedelta(milliseconds=1)), bounds)


def _date_test(known: Parameter, value: str) -> Test:
    wanted = [_bounds(part) for part in _split(value, ",")]
    return lambda v: any(
        _COMPARE[prefix](held, bounds)
        for part in _values(v, known)
        for held in spans_in(part)
        for prefix, bounds in wanted
    )


_COMPARE: dict[str, Callable[[Span, Span], bool]] = {
    "eq": lambda held, asked: held[0] >= asked[0] and held[1] <= asked[1],
    "ne": lambda held, asked: held[0] < asked[0] or held[1] > asked[1],
    "gt": lambda held, asked: held[1] > asked[1],
    "lt": lambda held, asked: held[0] < asked[0],
    "ge": lambda held, asked: held[1] > asked[0],
    "le": lambda held, asked: held[0] < asked[1],
    "sa": lambda held, asked: held[0] >= asked[1],
    "eb": lambda held, asked: held[1] <= asked[0],
}


# --- order --------------------------------------------------------------------------------------------------


def _in_order(core: Core, kind: str, found: list[Version], sort: str) -> list[Version]:
    if core.habits.newest_first:
        return sorted(found, key=lambda v: (v.at, v.order), reverse=True)
    if core.habits.ignore_sort:
        return found
    for key in reversed([part for part in sort.split(",") if part]):
        found = _by(kind, found, key.removeprefix("-"), reverse=key.startswith("-"))
    return found


def _by(kind: str, found: list[Version], name: str, *, reverse: bool) -> list[Version]:
    if name == "_lastUpdated":
        return _stable(found, lambda v: v.at, reverse)
    if name == "_id":
        return _stable(found, lambda v: v.id, reverse)
    known = parameter(kind, name)
    if known is None or known.kind != "date":
        raise Refusal(400, f"HAPI-1194: Cannot sort by '{name}'", code="invalid")
    # Sorting by an element drops the resources that lack it: so does HAPI (#818).
    dated = [v for v in found if _values(v, known)]
    return _stable(dated, lambda v: _first(v.resource, known), reverse)


def _stable(found: list[Version], key: Callable[[Version], Any], reverse: bool) -> list[Version]:
    return sorted(found, key=key, reverse=reverse)


def _first(resource: Json | None, known: Parameter) -> datetime:
    spans = [held for path in known.paths for part in values_at(resource, path) for held in spans_in(part)]
    return min((held[0] for held in spans), default=NEVER)
