"""The servers that the storms go over: a plain client at each, for the people who work there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.conftest import TOKEN


@contextmanager
def at(base_url: str) -> Iterator[httpx.Client]:
    """A client of a person at the EHR; paths without a first slash."""
    with httpx.Client(
        base_url=base_url.rstrip("/") + "/",
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/fhir+json"},
        timeout=60.0,
        trust_env=False,
    ) as client:
        yield client
