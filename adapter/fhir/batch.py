"""The answer to a batch of reads → what stands under each id, as far as it says so beyond doubt.

The entries of a batch's answer bear no id of their own where nothing stands: they answer by their place (R4, "Batch
Processing Rules"). Where a place does not fit, none of them is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from adapter.errors import NotFhir
from adapter.fhir.bundle import bare_version, decode_resource
from adapter.fhir.outcome import issues_of
from adapter.fhirjson import NotJson, loads

_NOTHING = msgspec.Raw(b"")


class _Response(msgspec.Struct):
    status: str = ""
    etag: str = ""
    outcome: msgspec.Raw = _NOTHING


class _Answered(msgspec.Struct):
    response: _Response
    resource: msgspec.Raw = _NOTHING


class _Batch(msgspec.Struct):
    resourceType: str
    type: str
    entry: list[_Answered]


_decoder = msgspec.json.Decoder(_Batch)


class Stands(NamedTuple):
    """What stands under an id: the resource with its own bytes and its ETag; None where nothing does."""

    resource: dict[str, Any] | None
    raw: bytes = b""
    etag: str = ""


def reads_of(type: str, ids: Sequence[str]) -> dict[str, Any]:
    """The Bundle that asks for each of some resources."""
    asked = [{"request": {"method": "GET", "url": f"{type}/{id}"}} for id in ids]
    return {"resourceType": "Bundle", "type": "batch", "entry": asked}


def decode_reads(raw: bytes, type: str, ids: Sequence[str]) -> dict[str, Stands]:
    """What stands under each id; without those that were deleted, refused or answered in any other way.

    Raises:
        NotFhir: where it is no answer to this batch.
    """
    try:
        found = _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise NotFhir("the answer to a batch cannot be read") from None
    if found.resourceType != "Bundle" or found.type != "batch-response" or len(found.entry) != len(ids):
        raise NotFhir("the answer to a batch is another Bundle")
    stands: dict[str, Stands] = {}
    for id, one in zip(ids, found.entry, strict=True):
        said = _said(one)
        if said is None:
            continue
        if said.resource is not None and (said.resource["resourceType"], said.resource.get("id")) != (
            type,
            id,
        ):
            raise NotFhir("the answer to a batch is out of order")
        stands[id] = said
    return stands


def _said(one: _Answered) -> Stands | None:
    """What a place says; None where it has to be asked again by itself."""
    status = one.response.status[:3]
    if status == "200":
        raw = bytes(one.resource)
        try:
            return Stands(decode_resource(raw), raw, bare_version(one.response.etag))
        except NotJson:
            return None
    if status == "404" and any(issues_of(_object(part)) for part in (one.response.outcome, one.resource)):
        return Stands(None)
    return None


def _object(raw: msgspec.Raw) -> Mapping[str, Any] | None:
    try:
        found = loads(bytes(raw))
    except NotJson:
        return None
    return found if isinstance(found, Mapping) else None
