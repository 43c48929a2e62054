"""The FHIR client: the only part of Baton that speaks HTTP.

It hands out resources with their own bytes and raises nothing but the tree of :mod:`adapter.errors`. What it
sends is bound to one base URL: another origin gets neither a request nor a token.
"""

from __future__ import annotations

import logging

from adapter.fhir.answers import Answer, Entry, Limits, Page
from adapter.fhir.capability import Capability, WriteRung
from adapter.fhir.client import FhirClient

__all__ = ["Answer", "Capability", "Entry", "FhirClient", "Limits", "Page", "WriteRung"]

# Both print whole URLs: ids and query strings of patients (httpx already at INFO).
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
