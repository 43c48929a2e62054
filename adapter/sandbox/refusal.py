"""Why the sandbox refuses a request, and the OperationOutcome that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A request that is answered with an error status and an OperationOutcome.

    ``code`` is one of FHIR's issue types. The texts follow HAPI's, whose numbers people search for.
    """

    def __init__(
        self, status: int, text: str, *, code: str = "processing", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code
        self.headers = dict(headers or {})

    def outcome(self) -> dict[str, Any]:
        """The OperationOutcome for the body."""
        return outcome("error", self.code, self.text)


def outcome(severity: str, code: str, text: str) -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue = {"severity": severity, "code": code, "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
