"""What is no JSON, or no answer to the question: as rows, as pages and as metadata it does not stop a poll."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.clock import FixedClock
from adapter.errors import NotFhir, ServerError
from adapter.facts.keep import REASONS, Keeper, Unreadable
from adapter.fhir import FhirClient
from adapter.model import SnapshotState
from tests.corpus.families import ROOT, document_of, version_of
from tests.corpus.serving import FIRST, Capsys, configure, quarantine, script_of, snapshots, stamp, sync
from tests.faults.scripted import Asked, Said, Scripted, capability, page

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the corpus is missing: no folder {ROOT}"),
]
Row = tuple[str, str, str, bytes]


def _malformed() -> dict[str, bytes]:
    return {file.stem: file.read_bytes() for file in sorted((ROOT / "malformed").rglob("*.json"))}


def _order(id: str, at: str) -> Row:
    body = {
        "resourceType": "ServiceRequest",
        "id": id,
        "meta": {"versionId": "1", "lastUpdated": at},
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p"},
    }
    return "ServiceRequest", id, at, json.dumps(body).encode()


def _among_good_ones() -> list[Row]:
    rows = [_order("good-0", stamp(0))]
    for number, (name, raw) in enumerate(_malformed().items(), 1):
        rows.append(("ServiceRequest", name, stamp(2 * number), raw))
        rows.append(_order(f"good-{number}", stamp(2 * number + 1)))
    return rows


def test_malformed_rows_are_set_aside_and_all_others_arrive(tmp_path: Path, capsys: Capsys) -> None:
    rows = _among_good_ones()
    good = [f"ServiceRequest/{id}" for _, id, _, _ in rows if id.startswith("good-")]
    with Scripted(lambda asked: b"") as server:
        server.script = script_of(lambda: server.base_url, rows)
        config = configure(server, tmp_path, page_size=10)
        first = sync(config, capsys)
        asked = len(server.asked)
        second = sync(config, capsys)
    assert first.code == 3 and first.errors == []
    held = snapshots(config, good)
    assert [ref for ref in good if ref not in held or held[ref].state is not SnapshotState.LIVE] == []
    set_aside = quarantine(config)
    assert len(set_aside) == len(_malformed()), "each is in the list once, and only those"
    assert {row.reason for row in set_aside} <= {"not-json", "unreadable-page", *REASONS}
    assert second.code == 3 and second.errors == []
    assert len(quarantine(config)) == len(set_aside)
    assert len(server.asked) - asked < asked / 2, "what was stepped over is not looked for again and again"


@pytest.mark.parametrize("name", sorted(_malformed()) if ROOT.is_dir() else [])
def test_a_malformed_page_stops_its_type_alone(name: str, tmp_path: Path, capsys: Capsys) -> None:
    raw = _malformed()[name]
    rows: list[Row] = [
        ("Appointment", "a1", stamp(1), b'{"resourceType":"Appointment","id":"a1","status":"booked"}')
    ]
    broken = True
    with Scripted(lambda asked: b"") as server:
        whole = script_of(lambda: server.base_url, [*rows, _order("o1", stamp(2))])

        def script(asked: Asked) -> Any:
            return raw if broken and asked.path == "ServiceRequest" else whole(asked)

        server.script = script
        config = configure(server, tmp_path)
        first = sync(config, capsys)
        set_aside = [row.reason for row in quarantine(config)]
        if set_aside:  # its brackets close: the row that holds the fault could be cut out
            assert (first.code, first.errors, set_aside) == (3, [], ["not-json"])
        else:
            (error,) = first.errors
            assert first.code == 1 and error.startswith("s: search of ServiceRequest: ") and " → " in error
        assert list(snapshots(config, ["Appointment/a1", "ServiceRequest/o1"])) == ["Appointment/a1"]
        broken = False
        assert sync(config, capsys).code in (0, 3), "the pages are whole again"
    assert "ServiceRequest/o1" in snapshots(config, ["ServiceRequest/o1"])


def _files() -> Iterator[tuple[str, bytes]]:
    for file in sorted(ROOT.rglob("*.json")):
        yield str(file.relative_to(ROOT)), file.read_bytes()


def test_any_file_as_any_answer_is_a_page_or_a_clear_refusal() -> None:
    """As the page of a search, as a row of one, as an answer to a read, as metadata: nothing else is raised."""
    body = b""
    wire = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    client = FhirClient(
        "http://ehr.test/fhir", name="ehr", clock=FixedClock(FIRST), seq=_Numbers(), transport=wire
    )
    keeper = Keeper({}, bases=client.bases)
    counts = {"pages": 0, "rows": 0, "refused": 0}
    for name, raw in _files():
        for ask in (
            lambda: client.search("ServiceRequest", []),
            lambda: client.read("ServiceRequest", "x"),
            client.capability,
        ):
            body = raw
            try:
                ask()
            except ServerError as fault:
                assert str(fault).startswith("ehr: ") and len(str(fault)) < 300, name
                counts["refused"] += 1
        body = page([raw])
        try:
            found = client.search("ServiceRequest", [])
        except NotFhir:
            assert not _is_json(raw), f"{name} is JSON: as a row it never spoils its page"
            continue
        counts["pages"] += 1
        for entry in found.entries:
            try:
                keeper.keep(entry.resource, entry.raw, type="ServiceRequest")
                counts["rows"] += 1
            except Unreadable as fault:
                assert fault.reason in REASONS
    client.close()
    print(counts)
    assert counts["rows"] > 80 and counts["pages"] > 700


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw.decode("utf-8-sig"))
    except ValueError:
        return False
    return True


class _Numbers:
    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


@pytest.mark.parametrize("file", sorted((ROOT / "ehr-metadata").glob("*.json")), ids=lambda file: file.stem)
def test_metadata_of_real_ehrs_is_understood_or_refused(file: Path, tmp_path: Path, capsys: Capsys) -> None:
    statement = document_of(file)
    with Scripted(lambda asked: statement if asked.path == "metadata" else page([])) as server:
        done = sync(configure(server, tmp_path), capsys)
        asked = server.paths()
    if statement.get("resourceType") != "CapabilityStatement":
        (error,) = done.errors
        assert done.code == 1 and "metadata" in error and asked == ["GET metadata"]
        return
    offered = {one["type"] for rest in statement["rest"] for one in rest["resource"]}
    lacking = {"Appointment", "ServiceRequest", "CoverageEligibilityResponse", "Task"} - offered
    assert done.code == (3 if lacking else 0) and len(done.errors) == len(lacking)
    assert all(f"{type} is not offered" in " ".join(done.errors) for type in lacking)
    for type in ("Appointment", "ServiceRequest", "CoverageEligibilityResponse"):
        assert (f"GET {type}" in asked) is (type in offered), "what a server does not offer is not asked for"


@pytest.mark.parametrize("version", ["R5", "STU3", "DSTU2"])
def test_rows_of_another_version_on_a_server_that_says_r4_do_no_harm(
    version: str, tmp_path: Path, capsys: Capsys
) -> None:
    """A shape does not tell its version; what has another shape is a row with less in it, or set aside."""
    rows: list[Row] = []
    for number, file in enumerate(sorted(ROOT.rglob("*.json"))):
        if version_of(file) != version:
            continue
        try:
            found = document_of(file)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("resourceType") in ("Appointment", "ServiceRequest"):
            rows.append((found["resourceType"], found["id"], stamp(number), file.read_bytes()))
    assert rows
    with Scripted(lambda asked: b"") as server:
        server.script = script_of(lambda: server.base_url, rows)
        config = configure(server, tmp_path)
        done = sync(config, capsys)
    assert done.code in (0, 3) and done.errors == []
    assert set(snapshots(config, [f"{type}/{id}" for type, id, _, _ in rows]))


def test_the_statement_that_the_scripted_server_gives_is_one() -> None:
    assert capability()["fhirVersion"] == "4.0.1" and Said().status == 200
