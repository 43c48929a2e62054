"""A request as it arrived and the answer to it, apart from any web framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

FHIR_JSON = "application/fhir+json;charset=utf-8"


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request. Header names are in lower case; ``path`` is the part after the base, without slashes
    around it.

    ``outside`` is set where the path does not lie under the base.
    """

    number: int
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    outside: bool = False

    @property
    def segments(self) -> list[str]:
        """The parts of the path."""
        return [part for part in self.path.split("/") if part]

    @property
    def type(self) -> str:
        """The resource type that the path begins with, else ""; a Bundle sent to the base has none."""
        first = self.path.partition("/")[0]
        return first if first[:1].isupper() else ""

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The parameters of the query, and of a form sent to _search."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        if self.method == "POST" and self.path.endswith("_search"):
            pairs += parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        return pairs

    def header(self, name: str) -> str:
        """A header's value, "" where it was not sent."""
        return self.headers.get(name.lower(), "")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a client sent and the status that it was answered with (0: the connection was cut without one)."""

    number: int
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    fault: str = ""

    @property
    def type(self) -> str:
        """The resource type in the path."""
        return Incoming(0, self.method, self.path).type

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The parameters that were sent."""
        return Incoming(0, self.method, self.path, self.query, {}, self.body).parameters

    def header(self, name: str) -> str:
        """A header's value, "" where it was not sent."""
        return self.headers.get(name.lower(), "")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: ``resource`` is written as JSON, unless ``raw`` holds the body itself."""

    status: int
    resource: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = FHIR_JSON

    def with_headers(self, **headers: str) -> Reply:
        """The same answer with more headers; an underscore in a name stands for a hyphen."""
        more = {name.replace("_", "-"): value for name, value in headers.items() if value}
        return replace(self, headers={**self.headers, **more})
