"""Fixtures that several parts of the tests share: FHIR servers, and a loopback without proxies."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

if TYPE_CHECKING:
    from tests.servers.hapi import HapiServer
    from tests.servers.helios import HeliosServer

TOKEN = "a-token-for-tests"

for _name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)


@dataclass(frozen=True)
class FhirServer:
    """A running FHIR server, and the means to do there what the people at an EHR do.

    ``ehr`` is a plain httpx client on the server's base (paths without a first slash); it shares no code with
    the client that is tested. ``headers`` are what every request there needs: a tenant of the test's own.
    """

    kind: str
    base_url: str
    token: str
    ehr: httpx.Client
    headers: Mapping[str, str] = field(default_factory=dict)

    def put(self, resource: dict[str, Any], **headers: str) -> dict[str, Any]:
        """PUT a resource under its id and give it back as stored."""
        path = f"{resource['resourceType']}/{resource['id']}"
        answer = self.ehr.put(path, json=resource, headers={"Prefer": "return=representation", **headers})
        assert answer.status_code in (200, 201), f"{answer.status_code}: {answer.text}"
        stored: dict[str, Any] = answer.json()
        return stored

    def get(self, reference: str) -> dict[str, Any]:
        """Read "Type/id"."""
        answer = self.ehr.get(reference)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def hapi() -> Iterator[HapiServer]:
    """HAPI with its 60 seconds of search reuse, references enforced, and a token that every request needs."""
    from tests.servers.hapi import HapiServer

    yield from started_hapi(HapiServer(token=TOKEN, reuse_search_ms=60_000))


def started_hapi(server: HapiServer) -> Iterator[HapiServer]:
    """A HAPI as long as a test needs it; a skip with the reason where it cannot run and is not required."""
    from tests.servers.hapi import HapiUnavailable

    try:
        server.start()
    except HapiUnavailable as reason:
        if os.environ.get("BATON_REQUIRE_HAPI") == "1":
            pytest.fail(f"HAPI is required, and {reason}")
        pytest.skip(f"HAPI cannot run here: {reason}")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def helios() -> Iterator[HeliosServer]:
    """Helios on SQLite: a second real server, where it is built."""
    yield from _helios("sqlite")


@pytest.fixture(scope="session")
def helios_postgres() -> Iterator[HeliosServer]:
    """Helios on PostgreSQL, whose writes become visible late."""
    yield from _helios("postgres")


def _helios(backend: Literal["sqlite", "postgres"]) -> Iterator[HeliosServer]:
    from tests.servers import helios as launcher

    if why := launcher.missing(backend):
        if os.environ.get("BATON_REQUIRE_HELIOS") == "1":
            pytest.fail(f"Helios is required, and {why}")
        pytest.skip(why)
    with launcher.HeliosServer(backend) as server:
        yield server


_SECOND = (pytest.mark.server, pytest.mark.helios)


@pytest.fixture(
    params=[
        "sandbox",
        pytest.param("hapi", marks=pytest.mark.server),
        pytest.param("helios", marks=_SECOND),
        pytest.param("helios_postgres", marks=_SECOND),
    ]
)
def fhir_server(request: pytest.FixtureRequest) -> Iterator[FhirServer]:
    """Each FHIR server that Baton's tests run against. A real one lives for the whole run: use ids of your own."""
    if request.param.startswith("helios"):
        tenant = {"X-Tenant-ID": f"t{secrets.token_hex(6)}"}  # an empty server for each test
        with person_at(request.getfixturevalue(request.param).base_url, tenant) as ehr:
            yield FhirServer(request.param, str(ehr.base_url).rstrip("/"), "", ehr, tenant)
        return
    if request.param == "hapi":
        with person_at(request.getfixturevalue("hapi").base_url) as ehr:
            yield FhirServer("hapi", str(ehr.base_url).rstrip("/"), TOKEN, ehr)
        return
    from adapter.sandbox import Habits, Sandbox

    with (
        Sandbox(habits=Habits(token=TOKEN, search_cache=timedelta(minutes=1))) as sandbox,
        person_at(sandbox.base_url) as ehr,
    ):
        yield FhirServer("sandbox", str(ehr.base_url).rstrip("/"), TOKEN, ehr)


def person_at(base_url: str, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A client of a person at the EHR; paths without a first slash."""
    always = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/fhir+json"}
    return httpx.Client(
        base_url=base_url.rstrip("/") + "/",
        headers={**always, **(headers or {})},
        timeout=60.0,
        trust_env=False,
    )
