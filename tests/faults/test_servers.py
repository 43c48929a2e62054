"""Servers that are not there, not ready, not who they say, or not what Baton needs: one sentence each, nothing lost."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.fhirjson import dumps
from tests.faults.hospital import Answer, Hospital, order
from tests.faults.scripted import TYPES, Asked, Said, Scripted, capability, outcome, page

HTML = Said(b"<!doctype html><html><body>Please sign in</body></html>", media_type="text/html")
DEEP = b"[" * 1_000_000 + b"]" * 1_000_000


def answers(path: str, said: Answer, *, times: int = 10**9) -> Callable[[Asked], Answer | None]:
    """``said`` instead of what the server would answer to a GET of this path."""
    left = [times]

    def meddle(asked: Asked) -> Answer | None:
        if (asked.method, asked.path) != ("GET", path) or left[0] <= 0:
            return None
        left[0] -= 1
        return said

    return meddle


def everything(said: Answer, *, but: str = "") -> Callable[[Asked], Answer | None]:
    return lambda asked: None if asked.path == but else said


def test_a_good_day(hospital: Hospital) -> None:
    hospital.ends_right()


# --- not there, not ready


def test_no_server_there_and_then_there(hospital: Hospital) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else's
        port = taken.getsockname()[1]
        hospital.configure(base_url=f"http://127.0.0.1:{port}/fhir")
        error = hospital.failed()
        assert error.startswith(f"ehr: no server answers at 127.0.0.1:{port}") and "address right" in error
        told = hospital.baton("check")
        assert told.code == 1 and f"127.0.0.1:{port}" in told.out
    with Scripted(hospital.front.script, port=port):
        hospital.ends_right()


def test_a_host_without_an_address(hospital: Hospital) -> None:
    hospital.configure(base_url="http://no-such-host.invalid/fhir")
    assert "no server answers at no-such-host.invalid" in hospital.failed()
    hospital.baton("ledger", "check")


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}], ids=["plain", "retry-after"])
def test_a_server_that_is_still_starting(hospital: Hospital, headers: dict[str, str]) -> None:
    hospital.meddle = everything(Said(b"", 503, headers))
    error = hospital.failed()
    assert "reading the metadata" in error and "503" in error and "still be starting" in error
    hospital.ends_right()


def test_a_server_that_starts_while_it_is_asked(hospital: Hospital) -> None:
    hospital.configure(limits={"retries": 3, "calls_per_minute": 0})
    hospital.meddle = answers("metadata", Said(b"", 503, {"Retry-After": "0"}), times=2)
    told = hospital.sync()
    assert (told.code, told.errors) == (0, []) and len(hospital.tasks()) == 3


@pytest.mark.parametrize("type", ["Patient", "Encounter", "Appointment", "Task"])
@pytest.mark.parametrize(
    "fault", [outcome(500, "exception"), HTML, Said(b"", 503)], ids=["500", "html", "503"]
)
def test_a_server_that_fails_in_the_middle_of_a_pass(hospital: Hospital, type: str, fault: Said) -> None:
    hospital.meddle = lambda asked: fault if asked.type == type and asked.method == "GET" else None
    told = hospital.sync()
    assert told.errors and any(" → " in error for error in told.errors)
    assert told.code in (1, 3) and (hospital.tasks() == set() or type == "Task")
    hospital.ends_right()  # who was looked at meanwhile is looked at again, though nothing new arrives


@pytest.mark.parametrize("type", ["Encounter", "Patient"])
def test_evidence_that_is_refused_and_then_is_not(hospital: Hospital, type: str) -> None:
    hospital.meddle = lambda asked: outcome(403, "forbidden") if asked.type == type else None
    told = hospital.sync()
    assert told.code == 3 and any("403" in error and "baton check" in error for error in told.errors)
    assert hospital.tasks() == set(), "who may lie in hospital, or be dead, is not called"
    assert hospital.baton("status").code == 3
    hospital.ends_right()


# --- a certificate that does not fit


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for another host, and one for this one."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    for name, names in (("other", "DNS:ehr.example"), ("right", "IP:127.0.0.1")):
        command = [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=ehr.example", "-addext", f"subjectAltName={names}",
            "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem"),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def secure(certificates: Path, hospital: Hospital) -> Iterator[Callable[[str], Scripted]]:
    """Starts a TLS front with one of the certificates."""
    running: list[Scripted] = []

    def start(name: str) -> Scripted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        running.append(Scripted(hospital.front.script, tls=context).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.mark.parametrize("why", ["unknown authority", "another host"])
def test_a_certificate_that_does_not_fit(
    hospital: Hospital, secure: Callable[[str], Scripted], certificates: Path, why: str
) -> None:
    server = secure("right" if why == "unknown authority" else "other")
    more = {} if why == "unknown authority" else {"ca_file": str(certificates / "other.pem")}
    hospital.configure(base_url=server.base_url, **more)
    error = hospital.failed()
    assert f"the certificate of 127.0.0.1:{server.port} does not fit" in error and "ca_file" in error
    assert server.asked == [], "nothing was sent to whom nobody knows"
    right = secure("right")
    hospital.configure(base_url=right.base_url, ca_file=str(certificates / "right.pem"), moved=True)
    hospital.ends_right()


def test_https_to_a_port_that_speaks_none(hospital: Hospital) -> None:
    hospital.configure(base_url=hospital.front.base_url.replace("http:", "https:"))
    assert f"no secure connection to 127.0.0.1:{hospital.front.port}" in hospital.failed()
    hospital.configure(moved=True)
    hospital.ends_right()


# --- refused


def test_a_token_that_is_not_taken(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_SECRET", "a-wrong-token")
    hospital.configure(token_env="BATON_SECRET")
    hospital.meddle = everything(outcome(401, "login", "who is a-wrong-token?"), but="metadata")
    error = hospital.failed()
    assert "401" in error and "token_env" in error and "a-wrong-token" not in error
    assert hospital.tasks() == set() and hospital.baton("outbox", "list", "--json").json() == []
    hospital.ends_right()


@pytest.mark.parametrize("status", [401, 403])
def test_one_type_that_is_refused(hospital: Hospital, status: int) -> None:
    hospital.meddle = answers("Appointment", outcome(status, "forbidden"))
    told = hospital.sync()
    (error,) = told.errors
    assert "search of Appointment" in error and str(status) in error and " → " in error
    assert told.code == (1 if status == 401 else 3), "a sign-in that ended fails; a scope needs a person"
    assert "nobody knows" not in error and hospital.tasks() == set(), "no visit known is not: no visit"
    hospital.ends_right()


def test_no_right_to_leave_a_mark(hospital: Hospital) -> None:
    hospital.meddle = lambda asked: outcome(403, "forbidden") if asked.type == "Device" else None
    told = hospital.sync()
    assert told.code == 3 and len(told.errors) == 3 and hospital.tasks() == set()
    assert all("mark of who writes here" in error and "baton outbox retry" in error for error in told.errors)
    hospital.meddle = None
    assert hospital.baton("outbox", "retry").code == 0
    hospital.ends_right()


# --- not FHIR, or another one


@pytest.mark.parametrize("path", ["metadata", "ServiceRequest", "Task"])
def test_a_page_of_html_with_status_200(hospital: Hospital, path: str) -> None:
    hospital.meddle = answers(path, HTML)
    error = hospital.failed()
    place = "metadata" if path == "metadata" else f"search of {path}"
    assert place in error and "a page of HTML" in error and "base_url" in error
    assert hospital.tasks() == set()
    hospital.ends_right()


@pytest.mark.parametrize(
    ("version", "said"),
    [("1.0.2", "DSTU2"), ("3.0.2", "3.0.2"), ("5.0.0", "5.0.0"), ("6.0.0-ballot2", "6.0.0"), ("", "no FHIR")],
)
def test_another_version_of_fhir(hospital: Hospital, version: str, said: str) -> None:
    statement = capability(version)
    if version == "1.0.2":
        statement["resourceType"] = "Conformance"
    hospital.meddle = answers("metadata", statement)
    error = hospital.failed()
    assert said in error and " → " in error
    assert hospital.front.paths() == ["GET metadata"], "nothing else is asked there, and nothing written"
    hospital.ends_right()


def test_a_type_that_the_server_does_not_have(hospital: Hospital) -> None:
    types = [type for type in TYPES if type != "CoverageEligibilityResponse"]
    hospital.meddle = answers("metadata", capability(types=types))
    told = hospital.sync()
    (error,) = told.errors
    assert told.code == 3 and "CoverageEligibilityResponse is not offered" in error
    assert "`types: {CoverageEligibilityResponse: none}`" in error
    assert "GET CoverageEligibilityResponse" not in hospital.front.paths()
    assert len(hospital.tasks()) == 3, "what needs no coverage goes on"
    hospital.configure(types={"CoverageEligibilityResponse": "none"})
    told = hospital.sync()
    assert (told.code, told.errors) == (0, []), "it has been said: nobody is asked again"


@pytest.mark.parametrize("status", [400, 404])
def test_a_search_that_the_server_does_not_take(hospital: Hospital, status: int) -> None:
    hospital.meddle = answers("Appointment", outcome(status, "not-supported", "unknown resource"))
    told = hospital.sync()
    (error,) = told.errors
    assert told.code == 3 and "search of Appointment" in error and str(status) in error and " → " in error
    hospital.ends_right()


@pytest.mark.parametrize("path", ["metadata", "ServiceRequest", "Task"])
def test_an_answer_that_is_none(hospital: Hospital, path: str) -> None:
    patient = b'{"resourceType":"Patient","id":"1"}'
    for body in (b"", b'{"resourceType": "Bund', b"null", b"[]", b"\xff\xfe", DEEP, patient):
        hospital.meddle = answers(path, body)
        error = hospital.failed()
        assert ("metadata" if path == "metadata" else f"search of {path}") in error and len(error) < 300
    hospital.ends_right()


@pytest.mark.parametrize("path", ["metadata", "ServiceRequest"])
def test_a_body_beyond_the_limit(hospital: Hospital, path: str) -> None:
    hospital.configure(limits={"retries": 0, "calls_per_minute": 0, "max_megabytes": 1})
    hospital.meddle = answers(path, b" " * 1_100_000 + dumps(capability()))
    error = hospital.failed()
    assert "larger than 1048576 bytes" in error and "max_megabytes" in error and "page_size" in error
    hospital.ends_right()


# --- one row


def _with_row(hospital: Hospital, row: bytes) -> Callable[[Asked], Answer | None]:
    """The real pages of orders, of which o2 is sent as ``row``."""

    def meddle(asked: Asked) -> Answer | None:
        if asked.path == "ServiceRequest/o2":
            return row
        if asked.path != "ServiceRequest":
            return None
        rows = [dumps(one) for one in hospital.sandbox.all("ServiceRequest") if one["id"] != "o2"]
        urls = [f"{hospital.front.base_url}/ServiceRequest/{id}" for id in ("o1", "o3", "o2")]
        return page([*rows, row], full_urls=urls)

    return meddle


def _order(**more: Any) -> bytes:
    return dumps({**order("o2", "p2"), **more})


@pytest.mark.parametrize(
    ("row", "reason", "place"),
    [
        (_order()[:-1] + b',"x":' + DEEP + b"}", "too-deep", ""),
        (_order().replace(b'"active"', b"active"), "not-json", "byte "),
        (_order(resourceType="Appointment"), "wrong-type", "resourceType"),
        (_order(id=7), "no-id", "id"),
        (_order(id="../Patient/p1"), "no-id", "id"),
        (_order(status=["active"]), "no-status", "ServiceRequest.status"),
        (_order(subject={"reference": "http://other.example/fhir/Patient/p2"}), "patient-elsewhere", "subject"),
        (b'{"id":"o2"}', "not-a-resource", "resourceType"),
        (b'"o2"', "not-a-resource", "resourceType"),
    ],
    ids=[
        "deep", "no-json", "type", "id", "path-as-id", "status", "patient", "no-type", "text",
    ],
)  # fmt: skip
def test_a_row_that_is_not_what_it_says(hospital: Hospital, row: bytes, reason: str, place: str) -> None:
    hospital.meddle = _with_row(hospital, row)
    told = hospital.sync()
    (entry,) = hospital.baton("quarantine", "list", "--json").json()
    assert told.code == 3 and told.errors == []
    assert (entry["type"], entry["reason"]) == ("ServiceRequest", reason) and place in entry["place"]
    assert hospital.tasks() == {"ServiceRequest/o1", "ServiceRequest/o3"}, "the rest of the page goes on"
    shown = hospital.baton("quarantine", "show", str(entry["id"]))
    assert shown.code == 0 and "baton quarantine list" in hospital.baton("sync").out
    hospital.meddle = None
    hospital.sandbox.put(order("o2", "p2"))  # somebody mends it in the EHR
    told = hospital.sync()
    for left in hospital.baton("quarantine", "list", "--json").json():  # whose id was never known
        assert hospital.baton("quarantine", "drop", str(left["id"])).code == 0
    hospital.ends_right()
    assert shown.out


def test_a_read_that_brings_another_resource(hospital: Hospital) -> None:
    wrong = {"resourceType": "Device", "id": "another", "status": "active"}
    hospital.meddle = lambda asked: wrong if asked.type == "Device" and asked.method == "GET" else None
    error = hospital.failed()
    assert "another Device" in error
    hospital.meddle = lambda asked: dumps(order("o9", "p9")) if asked.path == "ServiceRequest/o1" else None
    hospital.sync()
    hospital.ends_right()
