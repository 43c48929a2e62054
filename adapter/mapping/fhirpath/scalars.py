"""Functions of one value: strings, numbers, encodings. Absent in, absent out; several values are an error.

Each takes the run, the value and its arguments, all as FHIRPath's own types, and gives a value, a list or None.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.quantity import Quantity
from adapter.mapping.fhirpath.values import Run, type_name

Scalar = Callable[..., Any]

_JSON_ESCAPE = re.compile(r'(?:\\u[0-9a-fA-F]{4})+|\\["\\/bfnrt]')


def text(value: Any) -> str:
    """A value that has to be a string.

    Raises:
        EvaluationError: where it is none.
    """
    if isinstance(value, str):
        return value
    raise EvaluationError(f"{type_name(value)} stands where a string is wanted")


def whole(value: Any) -> int:
    """A value that has to be an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise EvaluationError(f"{type_name(value)} stands where a whole number is wanted")


def number(value: Any) -> int | Decimal:
    """A value that has to be a number."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return value
    raise EvaluationError(f"{type_name(value)} stands where a number is wanted")


def _substring(run: Run, value: Any, start: Any, length: Any = None) -> str | None:
    said, first = text(value), whole(start)
    if not 0 <= first < len(said):
        return None
    return said[first:] if length is None else said[first : first + max(0, whole(length))]


def _pattern(pattern: Any) -> re.Pattern[str]:
    try:
        return re.compile(text(pattern), re.DOTALL)
    except re.error:
        raise EvaluationError("the pattern is no regular expression") from None


def _replace_matches(run: Run, value: Any, pattern: Any, by: Any) -> str:
    if not text(pattern):
        return text(value)
    named = re.sub(r"\\([^\w$]|$)", r"\\\\\1", text(by))
    groups = re.sub(r"\$\{(\w+)\}|\$(\d+)", lambda found: rf"\g<{found[1] or found[2]}>", named)
    try:
        return _pattern(pattern).sub(groups, text(value))
    except (re.error, IndexError):
        raise EvaluationError("the replacement names a group that the pattern has not") from None


_CODECS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "hex": (binascii.hexlify, binascii.unhexlify),
    "base64": (base64.b64encode, base64.b64decode),
    "urlbase64": (base64.urlsafe_b64encode, base64.urlsafe_b64decode),
}


def _encode(run: Run, value: Any, form: Any) -> str | None:
    codec = _CODECS.get(text(form))
    return codec[0](text(value).encode()).decode() if codec else None


def _decode(run: Run, value: Any, form: Any) -> str | None:
    codec = _CODECS.get(text(form))
    try:
        return codec[1](text(value).encode()).decode() if codec else None
    except ValueError:
        return None


def _escape(run: Run, value: Any, form: Any) -> str | None:
    match text(form):
        case "html":
            return html.escape(text(value))
        case "json":
            return json.dumps(text(value), ensure_ascii=False)[1:-1]
    return None


def _unescape(run: Run, value: Any, form: Any) -> str | None:
    match text(form):
        case "html":
            return html.unescape(text(value))
        case "json":
            return _JSON_ESCAPE.sub(lambda found: str(json.loads(f'"{found[0]}"')), text(value))
    return None


def _of_number(function: Callable[[int | Decimal], Any]) -> Scalar:
    return lambda run, value: function(number(value))


def _real(function: Callable[[float], float]) -> Scalar:
    """A function of real numbers; outside its domain the answer is empty."""

    def call(run: Run, value: Any) -> Decimal | None:
        try:
            return _decimal(function(float(number(value))))
        except (ValueError, OverflowError):
            return None

    return call


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _abs(run: Run, value: Any) -> Any:
    if isinstance(value, Quantity):
        return Quantity(abs(value.value), value.unit, value.by_calendar)
    return abs(number(value))


def _round(run: Run, value: Any, digits: Any = 0) -> Any:
    said, places = number(value), whole(digits)
    if places < 0:
        raise EvaluationError("round() wants a precision of 0 or more")
    rounded = Decimal(said).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return rounded if places else int(rounded)


def _log(run: Run, value: Any, base: Any) -> Decimal | None:
    try:
        return _decimal(math.log(float(number(value)), float(number(base))))
    except (ValueError, ZeroDivisionError):
        return None


def _power(run: Run, value: Any, exponent: Any) -> Any:
    said, raised = number(value), number(exponent)
    if isinstance(said, int) and isinstance(raised, int) and 0 <= raised <= 1024:
        return said**raised
    try:
        found = Decimal(said) ** Decimal(raised)
    except ArithmeticError:
        return None
    return found if found.is_finite() else None


SCALARS: dict[str, tuple[int, int, Scalar]] = {
    "upper": (0, 0, lambda run, value: text(value).upper()),
    "lower": (0, 0, lambda run, value: text(value).lower()),
    "trim": (0, 0, lambda run, value: text(value).strip()),
    "length": (0, 0, lambda run, value: len(text(value))),
    "toChars": (0, 0, lambda run, value: list(text(value))),
    "startsWith": (1, 1, lambda run, value, start: text(value).startswith(text(start))),
    "endsWith": (1, 1, lambda run, value, end: text(value).endswith(text(end))),
    "contains": (1, 1, lambda run, value, part: text(part) in text(value)),
    "indexOf": (1, 1, lambda run, value, part: text(value).find(text(part))),
    "lastIndexOf": (1, 1, lambda run, value, part: text(value).rfind(text(part))),
    "substring": (1, 2, _substring),
    "matches": (1, 1, lambda run, value, pattern: _pattern(pattern).search(text(value)) is not None),
    "matchesFull": (1, 1, lambda run, value, pattern: _pattern(pattern).fullmatch(text(value)) is not None),
    "replace": (2, 2, lambda run, value, old, new: text(value).replace(text(old), text(new))),
    "replaceMatches": (2, 2, _replace_matches),
    "split": (1, 1, lambda run, value, by: text(value).split(text(by)) if text(by) else list(text(value))),
    "encode": (1, 1, _encode),
    "decode": (1, 1, _decode),
    "escape": (1, 1, _escape),
    "unescape": (1, 1, _unescape),
    "abs": (0, 0, _abs),
    "ceiling": (0, 0, _of_number(math.ceil)),
    "floor": (0, 0, _of_number(math.floor)),
    "truncate": (0, 0, _of_number(math.trunc)),
    "round": (0, 1, _round),
    "sqrt": (0, 0, _real(math.sqrt)),
    "exp": (0, 0, _real(math.exp)),
    "ln": (0, 0, _real(math.log)),
    "log": (1, 1, _log),
    "power": (1, 1, _power),
}
"""Name → (least arguments, most arguments, function)."""
