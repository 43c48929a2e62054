"""A canary patient: what only she bears must appear in no output but those that show patient data on purpose.

Her marks stand in good resources and broken ones, in what the server writes into its errors, links and
redirects, and in faults of Baton's own. They are looked for in everything that every verb prints, at every
level of the log, and in every file that is left, except the ledger itself and its copies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.cli import main
from adapter.cli.main import cli
from adapter.facts.keep import Keeper
from adapter.fhirjson import dumps
from adapter.reconcile.reconciler import Reconciler
from adapter.sandbox import Sandbox
from adapter.writeback.deliver import Delivery
from tests.faults.hospital import Hospital
from tests.faults.scripted import Asked, Said, page
from tests.faults.sharing import share_mappings

NAME, PHONE, RECORD, STREET, ID = (
    "Zanzibarelli", "555-0199-221", "MRN-CANARY-77", "Elmcanary Street", "pat-canary-9q7x",
)  # fmt: skip
CANARY = (NAME, PHONE, RECORD, STREET, ID)
ALL_OF_IT = f"{NAME} {PHONE} {RECORD} {STREET} Patient/{ID}"
#: Those that may show her: the README says so.
SHOWING = {("tasks",), ("explain",), ("quarantine", "show"), ("baseline",), ("ledger", "export")}
VERBS: dict[tuple[str, ...], list[list[str]]] = {
    ("check",): [[], ["--json"]],
    ("sync",): [["--json"], ["--sweep"]],
    ("status",): [[], ["--json"]],
    ("quarantine", "list"): [[], ["--json"]],
    ("quarantine", "retry"): [["1"], ["2"], ["999"]],
    ("outbox", "list"): [[], ["--json"]],
    ("outbox", "retry"): [[]],
    ("hold", "list"): [[], ["--json"]],
    ("hold", "release"): [["1"]],
    ("ledger", "check"): [[]],
    ("ledger", "rebuild"): [[], ["--repair"]],
    ("pause",): [[], ["schedule-referral"]],
    ("resume",): [[], ["schedule-referral"]],
    ("withdraw",): [["--rule", "schedule-referral"], ["--rule", "schedule-referral", "--json"], ["--rule", "none"]],
    ("mappings", "check"): [[], ["--json"]],
    ("mappings", "list"): [[], ["--json"]],
    ("mappings", "test"): [[]],
    ("seed",): [[]],
    ("purge",): [["none"]],
    ("init",): [[]],
    ("quarantine", "drop"): [["1"], ["999"]],
}  # fmt: skip
ELSEWHERE = {("demo",), ("run",)}  # the demo has no canary; the service is tried in a process of its own


@pytest.fixture
def hospital(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hospital]:
    share_mappings(monkeypatch)
    with Sandbox() as sandbox:
        made = Hospital(sandbox, tmp_path, capsys)
        with made.front:
            sandbox.put(_patient())
            sandbox.put(_order("good"))
            sandbox.put(_order("late", authoredOn=_days_ago(400)))
            sandbox.put(_order("broken", status=None))
            sandbox.put(
                _order("elsewhere", subject={"reference": f"http://other/Patient/{ID}", "display": NAME})
            )
            made.configure()
            yield made
        made.close()


def _patient() -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": ID,
        "active": True,
        "name": [{"family": NAME}],
        "telecom": [{"value": PHONE}],
        "identifier": [{"system": "urn:mrn", "value": RECORD}],
        "address": [{"line": [STREET]}],
    }


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _order(id: str, **more: Any) -> dict[str, Any]:
    made = {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "authoredOn": _days_ago(10),
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}],
        "code": {"text": "Visit"},
        "note": [{"text": ALL_OF_IT}],
        "identifier": [{"system": "urn:mrn", "value": RECORD}],
        "subject": {"reference": f"Patient/{ID}", "display": NAME},
        **more,
    }
    return {key: value for key, value in made.items() if value is not None}


def _outcome(status: int) -> Said:
    issue = {
        "severity": "error",
        "code": "processing",
        "diagnostics": f"cannot take {ALL_OF_IT}",
        "details": {"text": ALL_OF_IT, "coding": [{"code": RECORD, "display": NAME}]},
        "expression": [f"Patient.name.where(family='{NAME}')", f"Patient/{ID}"],
        "location": [f"/f:Patient[{RECORD}]"],
    }
    return Said(dumps({"resourceType": "OperationOutcome", "issue": [issue]}), status)


def _when(test: Callable[[Asked], bool], said: Said | bytes) -> Callable[[Asked], Said | bytes | None]:
    return lambda asked: said if test(asked) else None


def _get(*paths: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.method == "GET" and asked.path in paths


def _reads(type: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.method == "GET" and asked.type == type


HTML = Said(f"<html><title>{ALL_OF_IT}</title></html>".encode(), media_type="text/html")
AWAY = f"http://127.0.0.1:9/{NAME}/Patient/{ID}?identifier={RECORD}&phone={PHONE}"
BROKEN_ROWS = [
    dumps(_order("r1")).replace(b'"active"', b"active"),
    dumps({**_order("r2"), "id": f"{ID}/{NAME}"}),
    dumps({**_order("r3"), "status": ALL_OF_IT}),
    dumps({**_order("r4"), "resourceType": NAME}),
    dumps({**_order("r5"), "subject": {"identifier": {"system": "urn:mrn", "value": RECORD}, "display": NAME}}),
    dumps(_patient()),
    dumps(ALL_OF_IT),
    b"[" * 200 + dumps(ALL_OF_IT) + b"]" * 200,
]  # fmt: skip
FAULTS: dict[str, Callable[[Asked], Said | bytes | None]] = {
    "a good day": lambda asked: None,
    "broken rows": _when(_get("ServiceRequest"), page(BROKEN_ROWS)),
    **{f"{status} on orders": _when(_get("ServiceRequest"), _outcome(status)) for status in (403, 500)},
    "401 on all": _when(lambda asked: asked.path != "metadata", _outcome(401)),
    "403 on patients": _when(_reads("Patient"), _outcome(403)),
    "500 on patients": _when(_reads("Patient"), _outcome(500)),
    "404 on encounters": _when(_reads("Encounter"), _outcome(404)),
    "422 on writes": _when(lambda asked: asked.method == "PUT", _outcome(422)),
    "500 on writes": _when(lambda asked: asked.method == "PUT" and asked.type == "Task", _outcome(500)),
    "409 on writes": _when(lambda asked: asked.method == "PUT" and asked.type == "Task", _outcome(409)),
    "html metadata": _when(_get("metadata"), HTML),
    "html orders": _when(_get("ServiceRequest"), HTML),
    "an outcome for a page": _when(_get("ServiceRequest"), _outcome(200)),
    "a warning in a page": _when(_get("Appointment"), page([_outcome(200).body])),
    "a resource for a page": _when(_get("ServiceRequest"), dumps(_patient())),
    "a page of text": _when(_get("ServiceRequest"), ALL_OF_IT.encode()),
    "a redirect away": _when(_get("ServiceRequest"), Said(b"", 302, {"Location": AWAY})),
    "a page link away": _when(_get("ServiceRequest"), page([], next=AWAY)),
    "another version": _when(_get("metadata"), dumps({"resourceType": "CapabilityStatement", "fhirVersion": NAME})),
    "a patient for a read": _when(_reads("Device"), dumps({**_patient(), "resourceType": "Device"})),
}  # fmt: skip


def _clean(text: str, what: str) -> None:
    for mark in CANARY:
        assert mark not in text, f"{what} tells {mark}: {text[max(0, text.find(mark) - 300) :][:600]}"


def _files_are_clean(folder: Path) -> None:
    for path in folder.rglob("*"):
        _clean(str(path.relative_to(folder)), "the name of a file")
        if path.is_file() and not path.name.startswith(("ledger.db", "copy.db")):
            _clean(path.read_text("utf-8", "replace"), str(path.name))


def test_every_verb_is_tried() -> None:
    named: set[tuple[str, ...]] = {(c.name or c.callback.__name__,) for c in cli.registered_commands}  # type: ignore[union-attr]
    for group in cli.registered_groups:
        assert group.typer_instance is not None and group.name
        for command in group.typer_instance.registered_commands:
            named.add((group.name, command.name or command.callback.__name__))  # type: ignore[union-attr]
    assert named == VERBS.keys() | SHOWING | ELSEWHERE


@pytest.mark.parametrize("fault", FAULTS)
def test_no_pass_tells_of_her(
    hospital: Hospital, fault: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG")
    hospital.meddle = FAULTS[fault]
    for verb in (["check"], ["sync"], ["status"], ["quarantine", "list", "--json"], ["outbox", "list"]):
        told = hospital.baton(*verb)
        _clean(told.out + told.err, " ".join(verb))
    _clean(caplog.text, "the log")
    _files_are_clean(hospital.folder)


def test_no_verb_tells_of_her(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.chdir(hospital.folder)
    hospital.meddle = FAULTS["422 on writes"]
    assert hospital.baton("sync").code == 3, "quarantined and parked wait for a person"
    for verb, options in VERBS.items():
        for option in options:
            told = hospital.baton(*verb, *option)
            _clean(told.out + told.err, " ".join([*verb, *option]))
    assert hospital.baton("sync", "--dry-run", "--plan", "plan.json").code in (0, 3)
    assert "targets" not in (hospital.folder / "plan.json").read_text("utf-8")
    assert hospital.baton("ledger", "export", "copy.db").code == 0
    assert NAME in hospital.baton("quarantine", "show", "3").out or NAME in _all_shown(hospital), (
        "she is there"
    )
    _clean(caplog.text, "the log")
    _files_are_clean(hospital.folder)


def _all_shown(hospital: Hospital) -> str:
    rows = hospital.baton("quarantine", "list", "--json").json()
    return "".join(hospital.baton("quarantine", "show", str(row["id"])).out for row in rows)


@pytest.mark.parametrize(
    "place", [(Keeper, "keep"), (Reconciler, "run"), (Delivery, "run")], ids=lambda p: p[1]
)
def test_a_fault_of_our_own_tells_its_place_only(
    hospital: Hospital,
    place: tuple[type, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")

    def broken(*_: object, **__: object) -> object:
        raise ValueError(f"no such thing: {ALL_OF_IT}") from KeyError(ALL_OF_IT)

    monkeypatch.setattr(*place, broken)
    code = main(["-c", str(hospital.config), "sync"])
    said = capsys.readouterr()
    assert code == 1 and "ValueError at" in said.err and "Traceback" not in said.err
    _clean(said.out + said.err + caplog.text, "the fault")
    _files_are_clean(hospital.folder)


@pytest.mark.parametrize("level", ["debug", "info"])  # of which warning and error show a part
def test_the_service_logs_nothing_of_her(hospital: Hospital, level: str) -> None:
    """A few seconds of service with broken rows and refused writes: its log at this level, and what it leaves."""
    refused = _outcome(422)
    rows = page(BROKEN_ROWS)

    def meddle(asked: Asked) -> Said | bytes | None:
        if asked.method == "PUT" and asked.type == "Task":
            return refused
        return rows if asked.path == "ServiceRequest" and asked.get("_lastUpdated") else None

    hospital.meddle = meddle
    hospital.configure(interval="1s")
    _clean(_served(hospital, level), f"the log at {level}")
    _files_are_clean(hospital.folder)


def _served(hospital: Hospital, level: str) -> str:
    command = [sys.executable, "-c", "import sys; from adapter.cli import main; sys.exit(main(sys.argv[1:]))"]
    options = [
        "-c",
        str(hospital.config),
        "run",
        "--log-level",
        level,
        *(["--log-json"] if level == "debug" else []),
    ]
    asked = len(hospital.front.asked)
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    ) as service:
        end = time.monotonic() + 30
        while time.monotonic() < end and service.poll() is None:
            if sum(a.method == "PUT" and a.type == "Task" for a in hospital.front.asked[asked:]) >= 1:
                break
            time.sleep(0.05)
        service.send_signal(signal.SIGTERM)
        said, _ = service.communicate(timeout=30)
    assert service.returncode == 0, said
    return said


def test_the_marks_would_be_found() -> None:
    with pytest.raises(AssertionError, match="tells"):
        _clean(f"… {json.dumps(ALL_OF_IT)} …", "a test of the test")
    assert yaml.safe_load(yaml.safe_dump(list(CANARY))) == list(CANARY)
