"""Baton's own part of a resource against the strict models: what they refuse never leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from adapter.errors import BatonError
from adapter.fhirjson import dumps
from adapter.model import Json


class NotRenderable(BatonError):
    """What Baton made is no valid FHIR; the message names elements, never values."""


def check_valid(resource: Json) -> None:
    """Check a resource of Baton's own against R4B, which serves R4 for these types.

    Raises:
        NotRenderable: naming the elements at fault.
    """
    model = _model(str(resource["resourceType"]))
    try:
        model.model_validate_json(dumps(resource))
    except ValueError as fault:
        places = _places(fault)
        raise NotRenderable(
            f"the {resource['resourceType']} that Baton made is not valid: {places}",
            remedy="report this fault",
        ) from None


def _model(type: str) -> Any:
    from fhir.resources.R4B import get_fhir_model_class

    return get_fhir_model_class(type)


def _places(fault: ValueError) -> str:
    errors: Callable[[], Iterable[Mapping[str, Any]]] | None = getattr(fault, "errors", None)
    if errors is None:
        return "unreadable"
    return ", ".join(
        sorted({".".join(str(part) for part in one["loc"]) + f" ({one['type']})" for one in errors()})
    )
