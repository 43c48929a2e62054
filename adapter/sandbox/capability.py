"""/metadata: what this sandbox really does, given its habits."""

from __future__ import annotations

from typing import Any

from adapter import __version__
from adapter.sandbox.core import Core
from adapter.sandbox.elements import instant_text
from adapter.sandbox.parameters import COMMON, TYPES

NAME = "Baton sandbox"


def statement(core: Core) -> dict[str, Any]:
    """The CapabilityStatement; its name says that this is a sandbox."""
    return {
        "resourceType": "CapabilityStatement",
        "name": "BatonSandbox",
        "status": "active",
        "date": instant_text(core.now()),
        "publisher": "Baton",
        "kind": "instance",
        "software": {"name": NAME, "version": __version__},
        "implementation": {
            "description": "Baton sandbox: synthetic data in memory, not an EHR",
            "url": core.links(),
        },
        "fhirVersion": core.habits.fhir_version,
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "resource": [_type(core, kind) for kind in TYPES if kind not in core.habits.absent],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }


def interactions(core: Core, kind: str) -> list[str]:
    """The interactions that a type has here."""
    codes = ["read", "vread", "search-type", "create", "update", "delete"]
    if core.habits.history:
        codes += ["history-instance", "history-type"]
    return [code for code in codes if (kind, code) not in core.habits.forbidden]


def _type(core: Core, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "interaction": [{"code": code} for code in interactions(core, kind)],
        "versioning": "no-version" if core.habits.no_version_id else "versioned-update",
        "readHistory": core.habits.history,
        "updateCreate": core.habits.update_as_create and (kind, "create") not in core.habits.forbidden,
        "conditionalCreate": core.habits.conditional_create,
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "searchParam": _parameters(core, kind),
        "operation": [{"name": "validate", "definition": f"{core.links()}/OperationDefinition/validate"}],
    }


def _parameters(core: Core, kind: str) -> list[dict[str, str]]:
    known = {**COMMON, **TYPES[kind]}
    if core.habits.no_last_updated_search:
        del known["_lastUpdated"]
    return [{"name": name, "type": parameter.kind} for name, parameter in known.items()]
