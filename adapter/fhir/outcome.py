"""OperationOutcome → issues, with the server's free text kept apart from what may be printed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adapter.errors import Issue

EPIC_NO_RESULTS = "4101"
EPIC_PAGING_EXPIRED = "4113"

_SEVERITIES = frozenset({"fatal", "error", "warning", "information"})
_CODE = re.compile(r"^[a-z][a-z-]{0,40}$")
_HAPI = re.compile(r"\bHAPI-\d{1,6}\b")
_EPIC = re.compile(r"^\d{2,6}$")
_COMMENT = re.compile(r"/\*.*?\*/")
_PATH = re.compile(r"^[A-Z][A-Za-z]*(?:\.[a-z][A-Za-z]*(?:\[(?:\d+|x)\])?(?:\.ofType\([A-Za-z]+\))?)*$")
_TEXT_LIMIT = 2000


def is_outcome(resource: object) -> bool:
    """Whether this is an OperationOutcome."""
    return isinstance(resource, Mapping) and resource.get("resourceType") == "OperationOutcome"


def issues_of(resource: object) -> tuple[Issue, ...]:
    """The issues of an OperationOutcome in their order; () for anything else."""
    if not isinstance(resource, Mapping) or not is_outcome(resource):
        return ()
    issues = resource.get("issue")
    return (
        tuple(_issue(one) for one in issues if isinstance(one, Mapping)) if isinstance(issues, list) else ()
    )


def warnings_of(resource: object) -> tuple[Issue, ...]:
    """The issues of an OperationOutcome inside a 200 that cast doubt on the result."""
    return tuple(
        issue
        for issue in issues_of(resource)
        if issue.severity != "information" and issue.server_code != EPIC_NO_RESULTS
    )


def _issue(issue: Mapping[str, Any]) -> Issue:
    severity, code = issue.get("severity"), issue.get("code")
    return Issue(
        severity=severity if isinstance(severity, str) and severity in _SEVERITIES else "error",
        code=code if isinstance(code, str) and _CODE.match(code) else "",
        expression=_expression(issue),
        server_code=_server_code(issue),
        text="; ".join(_texts(issue))[:_TEXT_LIMIT],
    )


def _expression(issue: Mapping[str, Any]) -> str:
    """The element path, if it is one: HAPI writes "Bundle…/*Task/123*/…", and a filter may hold a name."""
    for name in ("expression", "location"):
        paths = issue.get(name)
        for path in paths if isinstance(paths, list) else ():
            bare = _COMMENT.sub("", path) if isinstance(path, str) else ""
            if len(bare) <= 200 and _PATH.match(bare):
                return bare
    return ""


def _server_code(issue: Mapping[str, Any]) -> str:
    codes = list(_coding_codes(issue))
    for text in (*codes, *_texts(issue)):
        if found := _HAPI.search(text):
            return found[0]
    return next((code for code in codes if _EPIC.match(code)), "")


def _coding_codes(issue: Mapping[str, Any]) -> Iterator[str]:
    details = issue.get("details")
    codings = details.get("coding") if isinstance(details, Mapping) else None
    for coding in codings if isinstance(codings, list) else ():
        code = coding.get("code") if isinstance(coding, Mapping) else None
        if isinstance(code, str):
            yield code


def _texts(issue: Mapping[str, Any]) -> Iterator[str]:
    details = issue.get("details")
    for text in (issue.get("diagnostics"), details.get("text") if isinstance(details, Mapping) else None):
        if isinstance(text, str) and text:
            yield text
