"""What Helios alone does, and Baton has to stand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from adapter.clock import Sequence, SystemClock
from adapter.errors import NotFhir
from adapter.fhir import FhirClient, Limits
from tests.servers.helios import HeliosServer

pytestmark = [pytest.mark.server, pytest.mark.helios]


@pytest.fixture
def client(helios: HeliosServer) -> Iterator[FhirClient]:
    """A server of its own: each tenant is one."""
    with FhirClient(
        helios.base_url,
        headers={"X-Tenant-ID": uuid.uuid4().hex},
        limits=Limits(retries=0),
        clock=SystemClock(),
        seq=Sequence(),
    ) as made:
        for number in range(5):
            made.put_new({"resourceType": "Patient", "id": f"p{number}"}, only_if_absent=False)
        yield made


def test_a_cursor_that_it_cannot_read_does_not_turn_in_circles(client: FhirClient) -> None:
    """It answers with the first page, for ever: a walk has to notice."""
    page = client.search("Patient", [("_count", "2")])
    assert page.next is not None
    broken = page.next.partition("_cursor=")[0] + "_cursor=nonsense"
    assert {e.full_url for e in client.follow(broken).entries} & {e.full_url for e in page.entries}
    real, turned = client.follow, 0

    def circling(url: str) -> object:
        nonlocal turned
        turned += 1
        assert turned < 10, "the walk goes round in circles"
        return real(broken)

    client.follow = circling  # type: ignore[method-assign,assignment]
    with pytest.raises(NotFhir):
        list(client.pages("Patient", [("_count", "2")]))


def test_tenants_see_nothing_of_each_other(client: FhirClient, helios: HeliosServer) -> None:
    """Two tenants of one address are two EHRs: the header is part of what a source is."""
    with FhirClient(
        helios.base_url, headers={"X-Tenant-ID": "another"}, clock=SystemClock(), seq=Sequence()
    ) as other:
        assert not [e for page in other.pages("Patient", [("_count", "10")]) for e in page.entries]
    found = [e for page in client.pages("Patient", [("_count", "2")]) for e in page.entries]
    assert len(found) == 5
