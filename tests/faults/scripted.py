"""A loopback server that answers exactly what a test has written, to the byte, and keeps what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from adapter.fhirjson import dumps
from adapter.model import EVIDENCE, POLLED

FHIR_JSON = "application/fhir+json"
TYPES = tuple(dict.fromkeys((*POLLED, *EVIDENCE, "Patient", "Task", "CarePlan", "Device")))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str  # after the base: "metadata", "Task", "Task/1"
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def type(self) -> str:
        return self.path.partition("/")[0]

    def get(self, name: str) -> str:
        """The first value of a parameter, or ""."""
        return next((value for key, value in self.query if key == name), "")


@dataclass(frozen=True, slots=True)
class Said:
    """One answer."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = FHIR_JSON


Script = Callable[[Asked], "Said | bytes | Mapping[str, Any]"]


class Scripted:
    """Answers by ``script`` under ``/fhir``; a Mapping is sent as JSON, bytes as they are.

    ``asked`` holds every request, those to paths outside the base too. A script may be changed at any time.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self._http = _Listener(("127.0.0.1", port), _Handler)
        self._http.owner = self
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def origin(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/fhir"

    def paths(self) -> list[str]:
        """What was asked, in order: "GET metadata"."""
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    owner: Scripted

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up (a certificate that it does not trust) is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _answer(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/fhir").strip("/")
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, path, query, headers, body)
        owner.asked.append(asked)
        said = owner.script(asked)
        if not isinstance(said, Said):
            said = Said(said if isinstance(said, bytes) else dumps(said))
        answered = {
            "Date": formatdate(usegmt=True),
            "Content-Type": said.media_type,
            "Content-Length": str(len(said.body)),
            **said.headers,
        }
        head = f"HTTP/1.1 {said.status} x\r\n" + "".join(f"{k}: {v}\r\n" for k, v in answered.items())
        self.wfile.write(head.encode() + b"\r\n" + said.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = _answer


def outcome(status: int, code: str, text: str = "") -> Said:
    """A refusal in FHIR's words."""
    issue = {"severity": "error", "code": code, "diagnostics": text}
    return Said(dumps({"resourceType": "OperationOutcome", "issue": [issue]}), status)


def capability(version: str = "4.0.1", types: Sequence[str] = TYPES) -> dict[str, Any]:
    """A CapabilityStatement that offers everything of these types."""
    interactions = [{"code": code} for code in ("read", "search-type", "create", "update", "delete")]
    params = [{"name": name} for name in ("_id", "_lastUpdated", "patient", "identifier")]
    resources = [
        {"type": type, "interaction": interactions, "searchParam": params, "updateCreate": True}
        for type in types
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "software": {"name": "scripted"},
        "fhirVersion": version,
        "format": ["json"],
        "rest": [{"mode": "server", "resource": resources}],
    }


def page(resources: Sequence[bytes], *, next: str = "", full_urls: Sequence[str] = ()) -> bytes:
    """A searchset whose entries hold the resources to the byte."""
    urls = full_urls or [""] * len(resources)
    entries = [
        b'{"fullUrl":%s,"resource":%s,"search":{"mode":"match"}}' % (dumps(url), resource)
        for url, resource in zip(urls, resources, strict=True)
    ]
    links = b'[{"relation":"next","url":%s}]' % dumps(next) if next else b"[]"
    return b'{"resourceType":"Bundle","type":"searchset","link":%s,"entry":[%s]}' % (
        links,
        b",".join(entries),
    )


@dataclass(slots=True)
class Rows:
    """Resources as bytes under (type, id, the server's stamp), searched as Baton's polls search them.

    ``_lastUpdated`` bounds, ``_count`` with next links, ``_id`` lists, ``patient`` by mention. What a resource
    says of itself is not read, so that broken ones can be served like all others.
    """

    base: Callable[[], str]
    rows: list[tuple[str, str, str, bytes]] = field(default_factory=list)  # type, id, stamp, bytes

    def search(self, asked: Asked) -> bytes:
        """One page."""
        found = sorted(row for row in self.rows if row[0] == asked.type and _fits(row, asked))
        found.sort(key=lambda row: row[2])
        count, start = int(asked.get("_count") or 100), int(asked.get("_start") or 0)
        more = ""
        if len(found) > start + count:
            query = "&".join(f"{k}={v.replace('|', '%7C')}" for k, v in asked.query if k != "_start")
            more = f"{self.base()}/{asked.type}?{query}&_start={start + count}"
        shown = found[start : start + count]
        urls = [f"{self.base()}/{type}/{id}" for type, id, _, _ in shown]
        return page([raw for *_, raw in shown], next=more, full_urls=urls)

    def read(self, asked: Asked) -> bytes | Said:
        """One resource by id."""
        for type, id, _, raw in self.rows:
            if asked.path == f"{type}/{id}":
                return raw
        return outcome(404, "not-found")


def _fits(row: tuple[str, str, str, bytes], asked: Asked) -> bool:
    _, id, stamp, raw = row
    for name, value in asked.query:
        if name == "_lastUpdated" and not _bounded(stamp, value):
            return False
        if name == "_id" and id not in value.split(","):
            return False
        if name == "patient" and f'Patient/{value}"'.encode() not in raw:
            return False
        if name == "identifier":
            return False
    return True


def _bounded(stamp: str, bound: str) -> bool:
    at = bound[2:]
    return stamp >= at if bound.startswith("ge") else stamp < at
