"""From a request to its answer: which interaction it is, who may do it, and how the result is dressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from adapter import fhirjson
from adapter.sandbox import bundles, capability, searching, validating, writing
from adapter.sandbox.core import Core
from adapter.sandbox.messages import Incoming, Reply
from adapter.sandbox.refusal import Refusal, outcome
from adapter.sandbox.searching import Pages
from adapter.sandbox.store import Version

NOT_FHIR = b"<!doctype html><html><head><title>404</title></head><body><h1>Not found</h1></body></html>"


@dataclass(slots=True)
class Api:
    """One server's interactions over its :class:`~adapter.sandbox.core.Core`."""

    core: Core
    pages: Pages = field(default_factory=Pages)

    def answer(self, incoming: Incoming) -> Reply:
        """Do what a request asks. What it may not is an answer, too: nothing is raised."""
        try:
            return self._answer(incoming)
        except Refusal as refusal:
            return Reply(refusal.status, refusal.outcome(), refusal.headers)

    def _answer(self, incoming: Incoming) -> Reply:
        if incoming.outside:
            return _page_not_found()
        if self.core.habits.missing:
            return _everything_missing(self.core.habits.missing)
        segments = incoming.segments
        if segments == ["metadata"]:
            return Reply(200, capability.statement(self.core))
        self._authorise(incoming)
        if not segments:
            return self._base(incoming)
        self._refused(incoming)
        return self._typed(incoming, segments)

    def _authorise(self, incoming: Incoming) -> None:
        """The bearer check of the HAPI test server: 401 without or with a wrong token, 403 for a reader's
        write.
        """
        habits = self.core.habits
        if not habits.token:
            return
        sent = incoming.header("authorization")
        if not sent:
            raise Refusal(401, "A token is needed", code="login", headers={"www-authenticate": "Bearer"})
        if sent == f"Bearer {habits.token}":
            return
        if not habits.read_token or sent != f"Bearer {habits.read_token}":
            wrong = {"www-authenticate": 'Bearer error="invalid_token"'}
            raise Refusal(401, "The token is not valid", code="login", headers=wrong)
        if incoming.method != "GET" and not incoming.path.endswith("_search"):
            raise Refusal(403, "This token may only read", code="forbidden")

    def _refused(self, incoming: Incoming) -> None:
        status = self.core.habits.refused.get(incoming.type)
        if status:
            code = {401: "login", 403: "forbidden", 404: "not-found"}.get(status, "processing")
            raise Refusal(status, f"{incoming.type} is refused", code=code)

    def _base(self, incoming: Incoming) -> Reply:
        if incoming.method == "GET" and "_getpages=" in incoming.query:
            return Reply(200, searching.follow(self.core, self.pages, incoming.parameters))
        if incoming.method != "POST":
            raise Refusal(400, "HAPI-0302: Nothing to do at the base", code="not-supported")
        bundle = _parsed(incoming)
        if bundle.get("resourceType") != "Bundle":
            raise Refusal(400, "HAPI-0446: A Bundle is expected here", code="invalid")
        full = "representation" in incoming.header("prefer")
        return Reply(200, bundles.process(self.core, bundle, self._got(incoming), full=full))

    def _got(self, incoming: Incoming) -> Callable[[str], dict[str, Any]]:
        """The answer to a GET inside a Bundle."""

        def get(url: str) -> dict[str, Any]:
            path, _, query = url.strip("/").partition("?")
            inner = Incoming(incoming.number, "GET", path, query, incoming.headers)
            self._refused(inner)
            return dict(self._typed(inner, inner.segments).resource or {})

        return get

    def _typed(self, incoming: Incoming, segments: list[str]) -> Reply:
        kind, rest = segments[0], [unquote(part) for part in segments[1:]]
        writing.allow(self.core, kind, "")
        match incoming.method, rest:
            case ("GET", []) | ("POST", ["_search"]):
                return self._search(incoming, kind)
            case "POST", []:
                return self._create(incoming, kind)
            case "POST", ["$validate"] | [_, "$validate"]:
                return Reply(200, validating.validate(_to_validate(incoming)))
            case "GET", ["_history"]:
                return Reply(200, searching.history(self.core, self.pages, incoming, kind))
            case "GET", [identity, "_history"]:
                return Reply(200, searching.history(self.core, self.pages, incoming, kind, identity))
            case "GET", [identity]:
                return self._read(incoming, f"{kind}/{identity}")
            case "GET", [identity, "_history", label]:
                return self._vread(f"{kind}/{identity}", label)
            case "PUT", [identity]:
                return self._update(incoming, kind, identity)
            case "DELETE", [identity]:
                return self._delete(incoming, kind, identity)
        raise Refusal(405, f"{incoming.method} is not supported here", code="not-supported")

    # --- reading

    def _search(self, incoming: Incoming, kind: str) -> Reply:
        writing.allow(self.core, kind, "search-type")
        found = searching.search(self.core, self.pages, incoming, kind)
        reply = Reply(200, found.bundle)
        return reply.with_headers(x_cache=f"HIT from {self.core.links()}") if found.hit else reply

    def _read(self, incoming: Incoming, ref: str) -> Reply:
        writing.allow(self.core, ref.partition("/")[0], "read")
        version = self.core.store.newest(ref)
        if version is None:
            raise Refusal(404, f"HAPI-2001: Resource {ref} is not known", code="not-found")
        return self._shown(version)

    def _vread(self, ref: str, label: str) -> Reply:
        version = self.core.store.version(ref, label)
        if version is None or not self.core.habits.history:
            raise Refusal(404, f"HAPI-0979: Version {label} of {ref} is not known", code="not-found")
        return self._shown(version)

    def _shown(self, version: Version) -> Reply:
        if version.resource is None:
            raise self._gone(version)
        return Reply(200, self.core.represent(version), self.core.headers(version))

    def _gone(self, version: Version) -> Refusal:
        if self.core.habits.gone_status == 404:
            return Refusal(404, f"HAPI-2001: Resource {version.ref} is not known", code="not-found")
        text = f"Resource was deleted at {version.at.isoformat(timespec='milliseconds')}"
        return Refusal(410, text, code="deleted")

    # --- writing

    def _create(self, incoming: Incoming, kind: str) -> Reply:
        resource = _of_type(_parsed(incoming), kind)
        condition = incoming.header("if-none-exist")
        return self._written(incoming, writing.create(self.core, resource, if_none_exist=condition))

    def _update(self, incoming: Incoming, kind: str, identity: str) -> Reply:
        resource = _of_type(_parsed(incoming), kind)
        if_match = incoming.header("if-match")
        return self._written(incoming, writing.update(self.core, kind, identity, resource, if_match=if_match))

    def _delete(self, incoming: Incoming, kind: str, identity: str) -> Reply:
        gone = writing.delete(self.core, kind, identity, if_match=incoming.header("if-match"))
        text = "Successfully deleted 1 resource(s)" if gone else "Not deleted: it is not there"
        return Reply(200, outcome("information", "informational", text))

    def _written(self, incoming: Incoming, written: writing.Written) -> Reply:
        version, prefer = written.version, incoming.header("prefer")
        headers = self.core.headers(version, created=written.created)
        if "return=minimal" in prefer:
            return Reply(written.status, None, headers)
        if "return=OperationOutcome" in prefer:
            return Reply(written.status, outcome("information", "informational", "Stored"), headers)
        return Reply(written.status, self.core.represent(version), headers)


def _parsed(incoming: Incoming) -> Mapping[str, Any]:
    kind = incoming.header("content-type")
    if "json" not in kind:
        raise Refusal(400, "HAPI-0449: The content type is not one of FHIR's", code="not-supported")
    try:
        resource = fhirjson.loads(incoming.body)
    except fhirjson.NotJson:
        raise Refusal(400, "HAPI-1861: Failed to parse the body as JSON", code="structure") from None
    if not isinstance(resource, Mapping):
        raise Refusal(400, "HAPI-1861: The body is no JSON object", code="structure")
    return resource


def _of_type(resource: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    if resource.get("resourceType") != kind:
        raise Refusal(400, "HAPI-1814: The body is not of the URL's type", code="invalid")
    return resource


def _to_validate(incoming: Incoming) -> Mapping[str, Any]:
    """The resource to validate: the body itself, or the ``resource`` of a Parameters."""
    body = _parsed(incoming)
    if body.get("resourceType") != "Parameters":
        return body
    for part in body.get("parameter", ()):
        if part.get("name") == "resource":
            return dict(part.get("resource", {}))
    raise Refusal(400, "HAPI-0970: No resource to validate", code="invalid")


def _page_not_found() -> Reply:
    return Reply(404, raw=NOT_FHIR, content_type="text/html;charset=utf-8")


def _everything_missing(dress: str) -> Reply:
    if dress == "outcome":
        return Reply(404, outcome("error", "not-found", "HAPI-2001: Resource is not known"))
    return _page_not_found() if dress == "html" else Reply(404, raw=b"", content_type="")
