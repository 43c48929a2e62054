"""Baton's own part of a resource against the strict models: what they refuse never leaves.

The models take a millisecond and more for a Task, and Baton's Tasks are alike: the same elements with other words,
ids and moments in them. A resource of a *shape* that the models have taken once is not given to them again. The shape
tells every value as far as a model can: see :func:`shape_of`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from adapter.errors import BatonError
from adapter.fhirjson import dumps
from adapter.model import Json

MOST_SHAPES = 2000
_taken: set[Any] = set()

# Types of value[x] whose texts the classes below tell as far as the models do; any other is told word by word.
_CLASSED = frozenset({"valueString", "valueCode", "valueUri", "valueMarkdown", "valueDateTime", "valueDate"})
_WORD_BY_WORD = frozenset({"url", "data", "hash"})
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ID = re.compile(r"[A-Za-z0-9\-.]+")
_LONGEST_ID = 64
_SHORT = 64
_CODE = re.compile(r"[^ \t\r\n]+([ \t\r\n][^ \t\r\n]+)*")
# Blanks of which Python and the models' expressions may think differently.
_ODD = re.compile(r"[^\S \t\r\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u180e\u200b\ufeff]")


class NotRenderable(BatonError):
    """What Baton made is no valid FHIR; the message names elements, never values."""


def check_valid(resource: Json) -> None:
    """Check a resource of Baton's own against R4B, which serves R4 for these types.

    Raises:
        NotRenderable: naming the elements at fault.
    """
    shape = shape_of(resource)
    if shape in _taken:
        return
    model = _model(str(resource["resourceType"]))
    try:
        model.model_validate_json(dumps(resource))
    except (ValueError, TypeError, AttributeError) as fault:  # the models stumble over some values themselves
        places = _places(fault)
        raise NotRenderable(
            f"the {resource['resourceType']} that Baton made is not valid: {places}",
            remedy="report this fault",
        ) from None
    if len(_taken) >= MOST_SHAPES:
        _taken.clear()
    _taken.add(shape)


def shape_of(value: Any, name: str = "") -> Any:
    """All that decides whether the models take a value: two of one shape are both taken, or both refused.

    Objects by their members, lists by the different shapes in them, numbers and truths as they are. A text of an
    element ``name`` is told by its class: a moment or day that is in the calendar, an id, a code, any text with
    something visible in it. What is none of these, and whatever else may be of a narrower type, stands for itself.
    """
    if isinstance(value, str):
        return _class_of(value, name)
    if isinstance(value, dict):
        if "resourceType" in value:  # the type decides what all the rest means
            return (value["resourceType"], *[(key, shape_of(part, key)) for key, part in value.items()])
        return tuple([(key, shape_of(part, key)) for key, part in value.items()])
    if isinstance(value, list):
        return "list", frozenset([shape_of(part, name) for part in value])
    return "as it is", repr(value)


def _class_of(text: str, name: str) -> Any:
    """The class of a text; of a short one, as systems and codes are, it is remembered."""
    return _class_of_short(text, name) if len(text) <= _SHORT else _told(text, name)


@lru_cache(maxsize=4096)
def _class_of_short(text: str, name: str) -> Any:
    return _told(text, name)


def _told(text: str, name: str) -> Any:
    if name in _WORD_BY_WORD or (name.startswith("value") and name not in _CLASSED and name != "value"):
        return "as it is", text
    if text[:1].isdigit():
        return _class_of_digits(text)
    if not text or text.isspace() or _ODD.search(text) or len(text) > 100_000:
        return "as it is", text
    if _ID.fullmatch(text):
        return "id" if len(text) <= _LONGEST_ID else ("as it is", text)
    return "code" if _CODE.fullmatch(text) else "text"


def _class_of_digits(text: str) -> Any:
    """Of what may be a moment, a day or a time, only what certainly is one has a class."""
    try:
        if _MOMENT.fullmatch(text):
            datetime.fromisoformat(text)
            return "moment"
        if _DAY.fullmatch(text):
            date.fromisoformat(text)
            return "day"
    except ValueError:
        pass
    return "as it is", text


def _model(type: str) -> Any:
    from fhir.resources.R4B import get_fhir_model_class

    return get_fhir_model_class(type)


def _places(fault: Exception) -> str:
    errors: Callable[[], Iterable[Mapping[str, Any]]] | None = getattr(fault, "errors", None)
    if errors is None:
        return "unreadable"
    return ", ".join(
        sorted({".".join(str(part) for part in one["loc"]) + f" ({one['type']})" for one in errors()})
    )
