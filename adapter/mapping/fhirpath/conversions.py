"""``toX`` and ``convertsToX``. What does not convert is empty, never an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from adapter.mapping.fhirpath.quantity import Quantity, comparable, dimension
from adapter.mapping.fhirpath.scalars import Scalar, text
from adapter.mapping.fhirpath.temporal import Moment, moment_of
from adapter.mapping.fhirpath.values import Run, quantity_of

_YES = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_NO = frozenset({"false", "f", "no", "n", "0", "0.0"})
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


def _boolean(run: Run, value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, Decimal)):
        return {0: False, 1: True}.get(int(value)) if value == int(value) else None
    if isinstance(value, str):
        said = value.lower()
        return True if said in _YES else False if said in _NO else None
    return None


def _integer(run: Run, value: Any) -> int | None:
    if isinstance(value, (bool, int)):
        return int(value)
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else None


def _decimal(run: Run, value: Any) -> Decimal | None:
    if isinstance(value, (bool, int, Decimal)):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else None


def _string(run: Run, value: Any) -> str | None:
    """The text of a value; a fact's time has that of its instant."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, Decimal, Moment, Quantity)):
        return str(value)
    moment = moment_of(value, texts=False)
    return None if moment is None else str(moment)


def _moment(kind: str) -> Scalar:
    def convert(run: Run, value: Any) -> Moment | None:
        found = moment_of(value, texts=True)
        return None if found is None or found.kind == "Time" else found.as_kind(kind)

    return convert


def _time(run: Run, value: Any) -> Moment | None:
    if isinstance(value, Moment):
        return value if value.kind == "Time" else None
    return Moment.time(value) if isinstance(value, str) else None


def _quantity(run: Run, value: Any, unit: Any = None) -> Quantity | None:
    found = _as_quantity(value)
    if found is None or unit is None:
        return found
    wanted = Quantity.ucum(Decimal(1), text(unit).strip("'"))
    mine, other = dimension(found.unit), dimension(wanted.unit)
    if mine is None or other is None or not comparable(found, wanted):
        return None
    return Quantity(found.value * mine[0] / other[0], wanted.unit, wanted.by_calendar)


def _as_quantity(value: Any) -> Quantity | None:
    if isinstance(value, (bool, int, Decimal)):
        return Quantity(Decimal(value))
    return Quantity.of(value) if isinstance(value, str) else quantity_of(value)


_TARGETS: dict[str, tuple[int, Scalar]] = {
    "Boolean": (0, _boolean),
    "Integer": (0, _integer),
    "Decimal": (0, _decimal),
    "String": (0, _string),
    "Date": (0, _moment("Date")),
    "DateTime": (0, _moment("DateTime")),
    "Time": (0, _time),
    "Quantity": (1, _quantity),
}


def _asked(convert: Scalar) -> Callable[..., bool]:
    return lambda run, value, *args: convert(run, value, *args) is not None


CONVERSIONS: dict[str, tuple[int, int, Scalar]] = {
    **{f"to{name}": (0, most, convert) for name, (most, convert) in _TARGETS.items()},
    **{f"convertsTo{name}": (0, most, _asked(convert)) for name, (most, convert) in _TARGETS.items()},
}
"""Name → (least arguments, most arguments, function)."""
