"""What Baton needs of a FHIR server, and what its client makes of it: one suite, every server alike."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapter.clock import Sequence, SystemClock
from adapter.errors import AccessRefused, Conflict, Gone, NotFound, PageExpired, Rejected
from adapter.fhir import Answer, Capability, FhirClient, Limits, Page
from tests.conftest import FhirServer

pytestmark = pytest.mark.filterwarnings("error")

TAGS = "urn:baton:tests:run"
IDS = "urn:baton:tests:id"
QUICK = Limits(retries=0, total_s=60)


#: No PUT that only creates, no references that are enforced, no tokens, no search cache.
HELIOS = ("helios", "helios_postgres")
_PLAIN_PUT: set[str] = set()


def connect(server: FhirServer, token: str | None = None) -> FhirClient:
    sign_in = server.token if token is None else token
    if server.kind in HELIOS:
        _PLAIN_PUT.add(server.base_url)
    return FhirClient(
        server.base_url,
        headers=server.headers,
        token=lambda: sign_in,
        limits=QUICK,
        clock=SystemClock(),
        seq=Sequence(),
    )


@pytest.fixture
def client(fhir_server: FhirServer) -> Iterator[FhirClient]:
    with connect(fhir_server) as made:
        yield made


@pytest.fixture
def run() -> str:
    """A word of this test's own, for ids and tags: HAPI keeps what other tests wrote."""
    return f"t{uuid.uuid4().hex[:16]}"


@pytest.fixture
def patient(fhir_server: FhirServer, run: str) -> str:
    fhir_server.put({"resourceType": "Patient", "id": f"p-{run}"})
    return f"Patient/p-{run}"


def task(run: str, patient: str, number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Task",
        "id": f"b-{run}-{number}",
        "meta": {"tag": [{"system": TAGS, "code": run}]},
        "identifier": [{"system": IDS, "value": f"{run}-{number}"}],
        "status": "requested",
        "intent": "order",
        "for": {"reference": patient},
        **more,
    }


def new(client: FhirClient, body: dict[str, Any]) -> Answer:
    """Create under an id of ours, by a PUT that only creates where the server has one."""
    return client.put_new(body, only_if_absent=client.base_url not in _PLAIN_PUT)


def unlike(server: FhirServer, what: str) -> None:
    """Skip a test of what this server does in another way that the standard allows."""
    if server.kind in HELIOS:
        pytest.skip(f"Helios {what}")


def ids(pages: list[Page]) -> list[str]:
    return [e.resource["id"] for page in pages for e in page.entries if e.resource and e.mode != "outcome"]


def version(answer: Answer) -> str:
    assert answer.version
    return answer.version


def test_metadata_says_r4_and_what_can_be_done(client: FhirClient) -> None:
    capability = Capability(client.capability())
    assert capability.fhir_version.startswith("4.0")
    for type in ("Task", "CarePlan", "Appointment", "ServiceRequest", "CoverageEligibilityResponse"):
        for interaction in ("read", "search-type", "create", "update"):
            assert capability.supports(type, interaction), f"{type} {interaction}"
    assert "_lastUpdated" in capability.search_params("Task")
    assert capability.write_rung("Task") == "own-id"
    assert capability.supports_system("transaction")


def test_create_and_read(client: FhirClient, run: str, patient: str) -> None:
    made = new(client, task(run, patient, restriction={"period": {"end": "2026-12-01"}}))
    assert made.status == 201
    assert made.resource is not None and made.resource["status"] == "requested"
    read = client.read("Task", f"b-{run}-0")
    assert read.resource is not None and read.resource["restriction"] == {"period": {"end": "2026-12-01"}}
    assert read.version == made.version
    assert read.date is not None and abs(read.date - datetime.now(UTC)) < timedelta(minutes=1)
    assert made.sent_seq < made.received_seq < read.sent_seq < read.received_seq


def test_decimals_keep_their_digits(client: FhirClient, run: str, patient: str) -> None:
    from adapter.fhirjson import dumps, loads

    sent = loads(
        dumps(task(run, patient)).replace(
            b'"intent"', b'"input":[{"type":{"text":"x"},"valueDecimal":1.10}],"intent"'
        )
    )
    new(client, sent)
    assert b"1.10" in client.read("Task", f"b-{run}-0").raw


def test_update_needs_the_version_that_was_read(client: FhirClient, run: str, patient: str) -> None:
    first = version(new(client, task(run, patient)))
    second = client.update(task(run, patient, status="in-progress"), version=first)
    assert second.status == 200 and second.version != first
    with pytest.raises(Conflict) as stale:
        client.update(task(run, patient, status="completed"), version=first)
    assert stale.value.status in (409, 412)
    assert (client.read("Task", f"b-{run}-0").resource or {})["status"] == "in-progress"
    with pytest.raises(Rejected):
        client.update(task(run, patient), version="")


def test_create_only_put_never_overwrites(
    client: FhirClient, run: str, patient: str, fhir_server: FhirServer
) -> None:
    unlike(fhir_server, "has no PUT that only creates")
    client.put_new(task(run, patient), only_if_absent=True)
    with pytest.raises(Conflict):
        client.put_new(task(run, patient, status="completed"), only_if_absent=True)
    assert (client.read("Task", f"b-{run}-0").resource or {})["status"] == "requested"


def test_create_only_put_does_not_bring_back_what_was_deleted(
    client: FhirClient, run: str, patient: str, fhir_server: FhirServer
) -> None:
    unlike(fhir_server, "has no PUT that only creates")
    client.put_new(task(run, patient), only_if_absent=True)
    client.delete("Task", f"b-{run}-0")
    with pytest.raises(Conflict):
        client.put_new(task(run, patient), only_if_absent=True)


def test_plain_put_creates_then_overwrites(client: FhirClient, run: str, patient: str) -> None:
    assert client.put_new(task(run, patient), only_if_absent=False).status == 201
    assert client.put_new(task(run, patient, status="completed"), only_if_absent=False).status == 200


def test_conditional_create_twice_gives_one(client: FhirClient, run: str, patient: str) -> None:
    new = {key: value for key, value in task(run, patient).items() if key != "id"}
    first = client.create(new, identifier=f"{IDS}|{run}-0")
    second = client.create(new, identifier=f"{IDS}|{run}-0")
    assert (first.status, second.status) == (201, 200)
    found = ids(list(client.pages("Task", [("identifier", f"{IDS}|{run}-0")])))
    assert len(found) == 1
    assert first.location.startswith(f"Task/{found[0]}")


def test_conditional_create_with_several_matches_is_a_conflict(
    client: FhirClient, run: str, patient: str
) -> None:
    for number in (1, 2):
        body = task(run, patient, number) | {"identifier": [{"system": IDS, "value": run}]}
        new(client, body)
    with pytest.raises(Conflict):
        client.create(task(run, patient), identifier=f"{IDS}|{run}")


def test_search_by_identifier_tag_and_ids(client: FhirClient, run: str, patient: str) -> None:
    for number in range(3):
        new(client, task(run, patient, number))
    assert ids(list(client.pages("Task", [("identifier", f"{IDS}|{run}-1")]))) == [f"b-{run}-1"]
    assert sorted(ids(list(client.pages("Task", [("_tag", f"{TAGS}|{run}")])))) == [
        f"b-{run}-{n}" for n in range(3)
    ]
    some = client.pages("Task", [("_id", f"b-{run}-0,b-{run}-2,b-{run}-9")])
    assert sorted(ids(list(some))) == [f"b-{run}-0", f"b-{run}-2"]
    assert ids([client.search("Task", [("_tag", f"{TAGS}|nothing-{run}")])]) == []


def test_walk_over_pages_is_complete_and_without_doubles(
    client: FhirClient, fhir_server: FhirServer, run: str, patient: str
) -> None:
    for number in range(11):
        fhir_server.put(task(run, patient, number))
    pages = list(
        client.pages("Task", [("_tag", f"{TAGS}|{run}"), ("_sort", "_lastUpdated,_id"), ("_count", "3")])
    )
    assert len(pages) >= 4
    assert sorted(ids(pages)) == sorted(f"b-{run}-{n}" for n in range(11))
    assert all(page.faults == () and page.date is not None for page in pages)
    assert all(page.next is None or page.next.startswith(client.base_url) for page in pages)
    assert [p.sent_seq for p in pages] == sorted({p.sent_seq for p in pages})


def test_last_updated_window(client: FhirClient, run: str, patient: str) -> None:
    times = []
    for number in range(4):
        made = new(client, task(run, patient, number))
        assert made.resource is not None
        times.append(datetime.fromisoformat(made.resource["meta"]["lastUpdated"]).astimezone(UTC))
    since, before = (at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" for at in (times[1], times[3]))
    window = [("_lastUpdated", f"ge{since}"), ("_lastUpdated", f"lt{before}"), ("_tag", f"{TAGS}|{run}")]
    found = ids(list(client.pages("Task", window)))
    expected = [f"b-{run}-{n}" for n in range(4) if times[1] <= times[n] < times[3]]
    assert sorted(found) == expected and f"b-{run}-1" in found


def test_each_entry_keeps_its_own_bytes(client: FhirClient, run: str, patient: str) -> None:
    from adapter.fhirjson import loads

    new(client, task(run, patient))
    (entry,) = client.search("Task", [("_tag", f"{TAGS}|{run}")]).entries
    assert entry.raw.startswith(b"{") and loads(entry.raw) == entry.resource
    assert entry.mode == "match" and entry.full_url.endswith(f"Task/b-{run}-0")


def test_a_search_sees_what_was_written_since_the_last_one(
    client: FhirClient, fhir_server: FhirServer, run: str, patient: str
) -> None:
    query = [("_tag", f"{TAGS}|{run}")]
    assert ids([client.search("Task", query)]) == []
    fhir_server.put(task(run, patient))
    assert ids([client.search("Task", query)]) == [f"b-{run}-0"]
    if fhir_server.kind in HELIOS:
        return  # it keeps no searches
    # The control: without no-cache the server answers from an older search.
    fhir_server.ehr.get("Task", params=dict(query))
    fhir_server.put(task(run, patient, 1))
    stale = fhir_server.ehr.get("Task", params=dict(query)).json()
    assert len(stale.get("entry", [])) < 2
    assert len(ids([client.search("Task", query)])) == 2


def test_deleted_is_gone_and_stands_in_the_history(client: FhirClient, run: str, patient: str) -> None:
    before = client.clock.now() - timedelta(minutes=1)
    new(client, task(run, patient))
    client.delete("Task", f"b-{run}-0")
    with pytest.raises(Gone) as gone:
        client.read("Task", f"b-{run}-0")
    assert gone.value.issues
    assert ids([client.search("Task", [("_tag", f"{TAGS}|{run}")])]) == []
    entries = [e for page in client.history("Task", since=before) for e in page.entries]
    mine = [e for e in entries if f"Task/b-{run}-0" in f"{e.full_url} {e.url}"]
    assert [e.method for e in mine if e.resource is None and e.raw == b""] == ["DELETE"]
    assert any(e.resource is not None and e.resource["status"] == "requested" for e in mine)
    with pytest.raises(Conflict):
        client.update(task(run, patient), version="1")


def test_delete_of_the_version_that_was_read(client: FhirClient, run: str, patient: str) -> None:
    first = version(new(client, task(run, patient)))
    newest = version(client.update(task(run, patient, status="in-progress"), version=first))
    assert client.delete("Task", f"b-{run}-0", version=newest).status in (200, 204)
    with pytest.raises(Gone):
        client.read("Task", f"b-{run}-0")


def test_history_pages_since_an_instant(client: FhirClient, run: str, patient: str) -> None:
    made = new(client, task(run, patient))
    assert made.resource is not None
    since = datetime.fromisoformat(made.resource["meta"]["lastUpdated"])
    held = version(made)
    for status in ("received", "accepted", "in-progress"):
        held = version(client.update(task(run, patient, status=status), version=held))
    pages = list(client.history("Task", since=since, count=2))
    statuses = [
        e.resource["status"]
        for p in pages
        for e in p.entries
        if e.resource and e.resource["id"] == f"b-{run}-0"
    ]
    assert set(statuses) == {"requested", "received", "accepted", "in-progress"}
    assert len(pages) >= 2


def test_an_older_version_can_be_read(client: FhirClient, run: str, patient: str) -> None:
    first = version(new(client, task(run, patient)))
    client.update(task(run, patient, status="completed"), version=first)
    older = client.vread("Task", f"b-{run}-0", first)
    assert older.resource is not None and older.resource["status"] == "requested"
    assert older.version == first


def entry(body: dict[str, Any], **request: str) -> dict[str, Any]:
    path = f"{body['resourceType']}/{body['id']}"
    return {
        "fullUrl": f"urn:uuid:{uuid.uuid4()}",
        "resource": body,
        "request": {"method": "PUT", "url": path, **request},
    }


def test_a_transaction_is_all(client: FhirClient, run: str, patient: str) -> None:
    done = client.transaction([entry(task(run, patient, n)) for n in range(3)])
    assert done.resource is not None
    assert [e["response"]["status"][:3] for e in done.resource["entry"]] == ["201"] * 3
    assert len(ids([client.search("Task", [("_tag", f"{TAGS}|{run}")])])) == 3


def test_a_transaction_with_a_stale_version_is_nothing(client: FhirClient, run: str, patient: str) -> None:
    first = version(new(client, task(run, patient)))
    client.update(task(run, patient, status="in-progress"), version=first)
    stale = entry(task(run, patient, status="completed"), ifMatch=f'W/"{first}"')
    with pytest.raises((Conflict, Rejected)):
        client.transaction([entry(task(run, patient, 1)), stale])
    with pytest.raises(NotFound):
        client.read("Task", f"b-{run}-1")
    assert (client.read("Task", f"b-{run}-0").resource or {})["status"] == "in-progress"


def test_a_reference_to_nothing_is_rejected(
    client: FhirClient, run: str, patient: str, fhir_server: FhirServer
) -> None:
    unlike(fhir_server, "enforces no references")
    lost = task(run, patient, focus={"reference": f"ServiceRequest/none-{run}"})
    with pytest.raises(Rejected) as refused:
        new(client, lost)
    assert refused.value.issues
    assert run not in str(refused.value)


def test_a_resource_in_use_cannot_be_deleted(
    client: FhirClient, run: str, patient: str, fhir_server: FhirServer
) -> None:
    unlike(fhir_server, "enforces no references")
    new(client, task(run, patient))
    with pytest.raises(Conflict):
        client.delete("Patient", patient.partition("/")[2])


def test_validation_finds_what_is_missing(client: FhirClient, run: str, patient: str) -> None:
    good = client.validate(task(run, patient))
    assert not [issue for issue in good if issue.severity in ("error", "fatal")]
    bad = {key: value for key, value in task(run, patient).items() if key != "status"}
    assert [issue for issue in client.validate(bad) if issue.severity in ("error", "fatal")]
    with pytest.raises(NotFound):
        client.read("Task", f"b-{run}-0")


def test_a_wrong_token_is_refused(fhir_server: FhirServer, run: str, patient: str) -> None:
    unlike(fhir_server, "asks for no token here")
    with connect(fhir_server, "another") as stranger:
        for ask in (
            lambda: stranger.read("Patient", patient.partition("/")[2]),
            lambda: stranger.search("Task", []),
            lambda: new(stranger, task(run, patient)),
        ):
            with pytest.raises(AccessRefused) as refused:
                ask()
            assert refused.value.status == 401
            assert "another" not in str(refused.value)
    with connect(fhir_server) as known, pytest.raises(NotFound):
        known.read("Task", f"b-{run}-0")


def test_an_unknown_page_is_expired(
    client: FhirClient, fhir_server: FhirServer, run: str, patient: str
) -> None:
    unlike(fhir_server, "answers an unknown page with the first one; see test_helios")
    for number in range(5):
        fhir_server.put(task(run, patient, number))
    page = client.search("Task", [("_tag", f"{TAGS}|{run}"), ("_count", "2")])
    assert page.next is not None
    assert len(ids([client.follow(page.next)])) == 2
    with pytest.raises(PageExpired):
        client.follow(forgotten(page.next))


def forgotten(link: str) -> str:
    """The same link with the search's own id replaced by one that the server never gave."""
    name, bar, rest = link.partition("_getpages=")
    assert bar, "the server names its searches in another way"
    _, more, tail = rest.partition("&")
    return f"{name}{bar}{uuid.uuid4()}{more}{tail}"


def test_what_never_was_is_not_found(client: FhirClient, run: str) -> None:
    with pytest.raises(NotFound) as missing:
        client.read("Task", f"never-{run}")
    assert missing.value.issues and run not in str(missing.value)


def test_a_batch_of_reads_says_what_the_single_reads_say(client: FhirClient, run: str, patient: str) -> None:
    for number in range(3):
        new(client, task(run, patient, number))
    first = version(client.read("Task", f"b-{run}-0"))
    client.update(task(run, patient, status="accepted"), version=first)
    client.delete("Task", f"b-{run}-2")
    own = [f"b-{run}-{number}" for number in (0, 9, 1, 2)]
    told = client.read_each("Task", own)
    assert told[own[1]] is None
    assert own[3] not in told, "what was deleted is left to a single read"
    for id in (own[0], own[2]):
        single, batched = client.read("Task", id), told[id]
        assert batched is not None
        assert (batched.resource, batched.version) == (single.resource, single.version)


def test_tags_are_kept_and_found(client: FhirClient, run: str, patient: str) -> None:
    body = task(run, patient)
    body["meta"]["security"] = [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
    ]
    made = new(client, body)
    client.update(body | {"status": "completed"}, version=version(made))
    read = client.read("Task", f"b-{run}-0").resource
    assert read is not None
    assert [tag["code"] for tag in read["meta"]["tag"]] == [run]
    assert [label["code"] for label in read["meta"]["security"]] == ["HTEST"]
