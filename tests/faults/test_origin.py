"""Nothing leads Baton to another host: no request goes there and no token, and the pass says what was refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from adapter.fhirjson import dumps
from tests.faults.hospital import Hospital, order
from tests.faults.scripted import Asked, Said, Scripted, capability, page

TOKEN = "a-secret-token-of-this-source"


@pytest.fixture
def stranger() -> Iterator[Scripted]:
    """Another host's server, which would answer anything."""
    with Scripted(lambda asked: capability() if asked.path == "metadata" else page([])) as server:
        yield server


@pytest.fixture
def armed(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    """The hospital, asked with a token."""
    monkeypatch.setenv("BATON_ORIGIN_TOKEN", TOKEN)
    hospital.configure(token_env="BATON_ORIGIN_TOKEN")
    return hospital


def _untouched(hospital: Hospital, stranger: Scripted) -> None:
    assert stranger.asked == [], "no request"
    assert all(TOKEN in asked.headers["authorization"] for asked in hospital.front.asked)


Lead = Callable[[Asked, str], "Said | bytes | None"]


def _next_link(asked: Asked, origin: str) -> Said | bytes | None:
    if asked.path == "ServiceRequest":
        return page([dumps(order("o1", "p1"))], next=f"{origin}/elsewhere/Other?page=2")
    return None


def _relative_next_link(asked: Asked, origin: str) -> Said | bytes | None:
    host = origin.partition("//")[2]
    return page([], next=f"//{host}/elsewhere/Other?page=2") if asked.path == "ServiceRequest" else None


def _next_link_with_a_user(asked: Asked, origin: str) -> Said | bytes | None:
    host = origin.partition("//")[2]
    return page([], next=f"http://127.0.0.1@{host}/x/Other?p=2") if asked.path == "ServiceRequest" else None


def _other_scheme(asked: Asked, origin: str) -> Said | bytes | None:
    return page([], next="file:///etc/passwd") if asked.path == "ServiceRequest" else None


def _redirect(status: int) -> Lead:
    def lead(asked: Asked, origin: str) -> Said | bytes | None:
        if asked.path != "ServiceRequest":
            return None
        return Said(b"", status, {"Location": f"{origin}/fhir/ServiceRequest"})

    return lead


def _redirected_metadata(asked: Asked, origin: str) -> Said | bytes | None:
    return Said(b"", 302, {"Location": f"{origin}/fhir/metadata"}) if asked.path == "metadata" else None


@pytest.mark.parametrize(
    "lead",
    [_next_link, _relative_next_link, _next_link_with_a_user, _other_scheme, _redirected_metadata,
     *map(_redirect, (301, 307))],
    ids=["next", "next-relative", "next-user", "next-file", "metadata", "301", "307"],
)  # fmt: skip
def test_a_page_or_a_redirect_to_another_host(armed: Hospital, stranger: Scripted, lead: Lead) -> None:
    armed.meddle = lambda asked: lead(asked, stranger.origin) if asked.method == "GET" else None
    error = armed.failed()
    assert stranger.origin in error or "no address" in error, error
    assert TOKEN not in error
    _untouched(armed, stranger)
    armed.ends_right()


def test_a_write_that_is_redirected(armed: Hospital, stranger: Scripted) -> None:
    """Neither to another host nor to another path: the outcome is told, and the write stands in the outbox."""
    for place in (stranger.origin + "/fhir/Task/x", armed.front.base_url + "/Task/x"):
        moved = Said(b"", 307, {"Location": place})
        armed.meddle = lambda asked, moved=moved: (  # type: ignore[misc]
            moved if asked.method == "PUT" and asked.type == "Task" else None
        )
        told = armed.sync()
        assert told.code in (1, 3) and any("redirected" in error for error in told.errors), told
        armed.baton("outbox", "retry")
    assert armed.tasks() == set()
    _untouched(armed, stranger)
    armed.ends_right()


def test_the_servers_own_name_inside_is_no_other_host(armed: Hospital, stranger: Scripted) -> None:
    """A next link with an inner name is brought onto the base; the inner name is not asked."""

    def inner(asked: Asked) -> Said | bytes | None:
        if asked.path != "ServiceRequest":
            return None
        if asked.get("page"):
            return armed.real(replace(asked, query=(("_count", "100"),)))
        return page([], next=f"{stranger.origin}/inner/fhir/ServiceRequest?page=2")

    armed.meddle = inner
    told = armed.sync()
    assert (told.code, told.errors) == (0, []) and len(armed.tasks()) == 3
    _untouched(armed, stranger)
    armed.ends_right()


def test_an_absolute_reference_to_another_host(armed: Hospital, stranger: Scripted) -> None:
    """It is nobody's patient here: not read there, not taken for ours, and a person is told."""
    foreign = {"subject": {"reference": f"{stranger.base_url}/Patient/p1"}}
    armed.sandbox.put(order("o9", "p1", **foreign))
    visit = {
        "resourceType": "Appointment",
        "id": "a9",
        "status": "noshow",
        "start": order("x", "y")["authoredOn"],
        "basedOn": [{"reference": f"{stranger.base_url}/ServiceRequest/o1"}],
        "participant": [{"status": "accepted", "actor": {"reference": f"{stranger.base_url}/Patient/p1"}}],
    }
    armed.sandbox.put(visit)
    told = armed.sync()
    assert (told.code, told.errors) == (3, [])
    found = armed.baton("quarantine", "list", "--json").json()
    assert {(row["type"], row["reason"], row["place"]) for row in found} == {
        ("ServiceRequest", "patient-elsewhere", "ServiceRequest.subject"),
        ("Appointment", "patient-elsewhere", "Appointment.participant"),
    }
    _untouched(armed, stranger)
    assert len(armed.tasks()) == 3, "and of the foreign visit and order nothing is written"
    assert all(stranger.origin not in str(task) for task in armed.sandbox.all("Task"))


def test_a_link_to_another_person_elsewhere_is_not_followed(armed: Hospital, stranger: Scripted) -> None:
    linked = [{"type": "replaced-by", "other": {"reference": f"{stranger.base_url}/Patient/p7"}}]
    armed.sandbox.put({"resourceType": "Patient", "id": "p1", "active": True, "link": linked})
    told = armed.sync()
    assert told.code in (0, 3)
    _untouched(armed, stranger)


def test_a_location_elsewhere_after_a_write_is_not_asked(armed: Hospital, stranger: Scripted) -> None:
    def located(asked: Asked) -> Said | None:
        if asked.method != "PUT":
            return None
        real = armed.real(asked)
        elsewhere = f"{stranger.base_url}/{asked.path}/_history/1"
        return Said(b"", real.status, {**real.headers, "location": elsewhere, "content-location": elsewhere})

    armed.meddle = located
    told = armed.sync()
    assert told.code in (0, 1, 3)
    _untouched(armed, stranger)
    armed.baton("outbox", "retry")
    armed.ends_right()
