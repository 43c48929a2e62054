"""What the captured CapabilityStatements of EHRs mean for Baton."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import NotFhir
from adapter.fhir import Capability, WriteRung
from adapter.fhir.capability import PollWay

CORPUS = Path(os.environ.get("FHIR_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))


def statement(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    rest = [{"mode": "server", "resource": list(resources)}]
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": rest, **more}


def offers(type: str, *interactions: str, params: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "type": type,
        "interaction": [{"code": code} for code in interactions],
        "searchParam": [{"name": name, "type": "token"} for name in params],
        **more,
    }


def test_what_is_said_can_be_asked() -> None:
    task = offers(
        "Task",
        "read",
        "update",
        "create",
        "vread",
        params=("status",),
        updateCreate=True,
        conditionalCreate=True,
        supportedProfile=["http://x/p"],
        profile="http://x/q",
    )
    found = Capability(
        statement(task, format=["json"], software={"name": "Any EHR", "version": "1.2"})
        | {
            "rest": [
                {"mode": "client", "resource": [offers("Patient", "read")]},
                {
                    "mode": "server",
                    "resource": [task],
                    "interaction": [{"code": "transaction"}],
                    "searchParam": [{"name": "_lastUpdated"}],
                },
            ]
        }
    )
    assert found.software == "Any EHR 1.2" and found.fhir_version == "4.0.1" and found.formats == ("json",)
    assert found.supports("Task", "read") and not found.supports("Task", "delete")
    assert not found.supports("Patient", "read")  # that is what it asks of others
    assert (
        found.search_params("Task") == {"status", "_lastUpdated"}
        and found.search_params("Patient") == frozenset()
    )
    assert found.update_create("Task") and found.conditional_create("Task") and found.read_history("Task")
    assert found.supported_profiles("Task") == {"http://x/p", "http://x/q"}
    assert found.supports_system("transaction") and not found.supports_system("batch")
    assert found.types == {"Task"}


@pytest.mark.parametrize(
    ("interactions", "flags", "rung"),
    [
        (("create", "update"), {"updateCreate": True, "conditionalCreate": True}, WriteRung.OWN_ID),
        (("update",), {"updateCreate": True}, WriteRung.OWN_ID),
        (("create", "update"), {"updateCreate": False, "conditionalCreate": True}, WriteRung.CONDITIONAL),
        (("create", "update"), {}, WriteRung.CREATE_ONLY),
        (("update",), {"conditionalCreate": True}, WriteRung.UPDATE_ONLY),
        (("create",), {"conditionalCreate": True}, WriteRung.NONE),
        (("read",), {"updateCreate": True}, WriteRung.NONE),
    ],
)
def test_write_rungs(interactions: tuple[str, ...], flags: dict[str, bool], rung: WriteRung) -> None:
    assert Capability(statement(offers("Task", *interactions, **flags))).write_rung("Task") is rung


def test_hapi_creates_by_update_without_saying_so() -> None:
    hapi = {"name": "HAPI FHIR Server", "version": "8.8.0"}
    silent = offers("Task", "create", "update", conditionalCreate=True)
    assert Capability(statement(silent, software=hapi)).write_rung("Task") is WriteRung.OWN_ID
    denied = silent | {"updateCreate": False}
    assert Capability(statement(denied, software=hapi)).write_rung("Task") is WriteRung.CONDITIONAL


@pytest.mark.parametrize(
    ("resource", "way"),
    [
        (offers("Appointment", "search-type", params=("_lastUpdated", "date")), PollWay.LAST_UPDATED),
        (offers("Appointment", "search-type", "history-type", params=("date",)), PollWay.HISTORY),
        (offers("Appointment", "search-type", params=("date", "patient")), PollWay.DATE_WINDOW),
        (offers("Appointment", "search-type", params=("patient",)), PollWay.ROSTER),
        (offers("Appointment", "read"), PollWay.NONE),
    ],
)
def test_poll_ways(resource: dict[str, Any], way: PollWay) -> None:
    assert Capability(statement(resource)).poll_way("Appointment") is way


@pytest.mark.parametrize(
    "broken",
    [
        {"rest": None},
        {"rest": "x"},
        {"rest": [7]},
        {"rest": [{"resource": [None, {"type": "Task", "interaction": "x", "searchParam": [3]}]}]},
        {"software": "x", "format": "json"},
        {"rest": [{"resource": [{"type": "Task", "interaction": [{"code": 7}], "updateCreate": "true"}]}]},
    ],
)
def test_broken_parts_count_as_absent(broken: dict[str, Any]) -> None:
    found = Capability({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", **broken})
    assert not found.supports("Task", "read") and found.write_rung("Task") is WriteRung.NONE
    assert found.explain(["Task"])


def test_a_foreign_version_is_refused() -> None:
    with pytest.raises(NotFhir, match=r"5\.0\.0"):
        Capability({"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"})


def test_what_the_server_says_of_last_update_is_passed_on() -> None:
    param = {"name": "_lastUpdated", "type": "date", "documentation": "only  clinical\nchanges"}
    found = Capability(
        statement(
            {
                "type": "ServiceRequest",
                "interaction": [{"code": "search-type"}, {"code": "read"}],
                "searchParam": [param],
            }
        )
    )
    assert found.explain(["ServiceRequest"]) == [
        "ServiceRequest: can be polled by last update",
        "ServiceRequest: the server says of its last update: only clinical changes",
    ]


def captured(name: str) -> Capability:
    path = CORPUS / "ehr-metadata" / f"{name}-capabilitystatement.json"
    if not path.exists():
        pytest.skip("no corpus: set FHIR_CORPUS")
    return Capability(json.loads(path.read_text()))


@pytest.mark.corpus
def test_epic() -> None:
    epic = captured("epic")
    assert epic.write_rung("Task") is WriteRung.UPDATE_ONLY and epic.write_rung("CarePlan") is WriteRung.NONE
    assert epic.poll_way("Appointment") is PollWay.DATE_WINDOW
    assert epic.explain(["CoverageEligibilityResponse", "Task"])[:2] == [
        "CoverageEligibilityResponse: not offered by this server",
        "Task: cannot be created here, only updated where the EHR has made one itself",
    ]


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("ehr", "type", "way"),
    [
        ("oracle-millennium", "ServiceRequest", PollWay.LAST_UPDATED),
        ("oracle-millennium", "Appointment", PollWay.DATE_WINDOW),
        ("athenahealth", "ServiceRequest", PollWay.LAST_UPDATED),
        ("athenahealth", "Appointment", PollWay.NONE),
        ("meditech-greenfield", "Task", PollWay.NONE),
        ("eclinicalworks", "Appointment", PollWay.NONE),
    ],
)
def test_other_ehrs(ehr: str, type: str, way: PollWay) -> None:
    found = captured(ehr)
    assert found.poll_way(type) is way
    assert found.write_rung("Task") is WriteRung.NONE
