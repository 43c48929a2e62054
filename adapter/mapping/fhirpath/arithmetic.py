"""The arithmetic operators on two single values; None is FHIRPath's empty."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from adapter.mapping.fhirpath import quantity
from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.quantity import Quantity
from adapter.mapping.fhirpath.temporal import Moment, moment_of
from adapter.mapping.fhirpath.values import Run, quantity_of, type_name


def _number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def plus(run: Run, left: Any, right: Any) -> Any:
    """Numbers, strings, quantities, or a time and a span."""
    if _number(left) and _number(right):
        return left + right
    if isinstance(right, Quantity):
        start = moment_of(left, texts=run.texts)
        if start is not None:
            return _moved(start, right, 1)
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    return _quantities(left, right, 1)


def minus(run: Run, left: Any, right: Any) -> Any:
    """Numbers, quantities, or a time and a span."""
    if _number(left) and _number(right):
        return left - right
    if isinstance(right, Quantity):
        start = moment_of(left, texts=run.texts)
        if start is not None:
            return _moved(start, right, -1)
    return _quantities(left, right, -1)


def _moved(start: Moment, span: Quantity, sign: int) -> Moment | None:
    if not span.time_unit:
        raise EvaluationError(
            "a time moves by years … milliseconds, or by a UCUM unit of fixed length up to weeks"
        )
    try:
        return start.plus(sign * int(span.value), span.time_unit)
    except OverflowError:
        return None


def _quantities(left: Any, right: Any, sign: int) -> Quantity | None:
    mine, other = quantity_of(left), quantity_of(right)
    if mine is None or other is None:
        raise _clash(left, right)
    return quantity.added(mine, Quantity(other.value * sign, other.unit, other.by_calendar))


def times(run: Run, left: Any, right: Any) -> Any:
    """Numbers and quantities."""
    if _number(left) and _number(right):
        return left * right
    mine, other = _as_quantity(left), _as_quantity(right)
    if mine is None or other is None:
        raise _clash(left, right)
    if _number(right) or _number(left):
        unit = left if _number(right) else right
        return Quantity(mine.value * other.value, quantity_of(unit).unit)  # type: ignore[union-attr]
    return quantity.times(mine, other)


def over(run: Run, left: Any, right: Any) -> Any:
    """Numbers and quantities; by zero is empty."""
    if _number(left) and _number(right):
        return Decimal(left) / Decimal(right) if right else None
    mine, other = _as_quantity(left), _as_quantity(right)
    if mine is None or other is None:
        raise _clash(left, right)
    if _number(right):
        return Quantity(mine.value / other.value, mine.unit) if other.value else None
    return quantity.over(mine, other)


def _as_quantity(value: Any) -> Quantity | None:
    return Quantity(Decimal(value)) if _number(value) else quantity_of(value)


def div(run: Run, left: Any, right: Any) -> int | None:
    """The whole part of the quotient."""
    _need_numbers(left, right)
    return int(Decimal(left) / Decimal(right)) if right else None


def mod(run: Run, left: Any, right: Any) -> Any:
    """What remains of a division, with the sign of the dividend."""
    _need_numbers(left, right)
    if not right:
        return None
    rest = Decimal(left) % Decimal(right)
    return int(rest) if isinstance(left, int) and isinstance(right, int) else rest


def negative(value: Any) -> Any:
    """``-x``."""
    if isinstance(value, Quantity):
        return Quantity(-value.value, value.unit, value.by_calendar)
    if not _number(value):
        raise EvaluationError(f"a sign stands before {type_name(value)}")
    return -value


def _need_numbers(left: Any, right: Any) -> None:
    if not (_number(left) and _number(right)):
        raise _clash(left, right)


def _clash(left: Any, right: Any) -> EvaluationError:
    return EvaluationError(f"{type_name(left)} and {type_name(right)} do not go together here")


OPERATORS = {"+": plus, "-": minus, "*": times, "/": over, "div": div, "mod": mod}
