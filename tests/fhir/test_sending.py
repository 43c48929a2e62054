"""Retries, time-outs, redirects, and what a lost answer means."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest

from adapter.clock import Sequence, SystemClock
from adapter.errors import (
    AccessRefused,
    ForeignOrigin,
    NotFhir,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    RetryableError,
    ServerError,
    ServerUnavailable,
)
from adapter.fhir import FhirClient, Limits
from tests.fhir.bench import BASE, START, Script, bundle, client, outcome, reply, task

REFUSED = httpx.ConnectError("refused")
LOST = httpx.ReadError("reset")


def read(fhir: FhirClient) -> object:
    return fhir.read("Task", "1")


def update(fhir: FhirClient) -> object:
    return fhir.update(task(), version="1")


@pytest.mark.parametrize(
    "fault",
    [
        REFUSED,
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        LOST,
        httpx.RemoteProtocolError(""),
        httpx.WriteError(""),
        reply(500),
        reply(502, b"<html>"),
        reply(503),
        reply(408),
        reply(423),
        reply(425),
        reply(429),
        reply(503, None, Retry_After="1"),
    ],
    ids=lambda fault: type(fault).__name__ if isinstance(fault, Exception) else str(fault.status_code),
)
def test_a_read_is_tried_again(fault: httpx.Response | Exception) -> None:
    script = Script(fault, fault, reply(200, task()))
    assert client(script).read("Task", "1").status == 200
    assert len(script.asked) == 3
    assert script.clock.now() > START
    spent = Script(fault)
    with pytest.raises(RetryableError):
        client(spent, limits=Limits(retries=2)).read("Task", "1")
    assert len(spent.asked) == 3


def test_pauses_grow_to_their_cap() -> None:
    script = Script(reply(500))
    with pytest.raises(ServerUnavailable) as fault:
        client(script, limits=Limits(retries=6, backoff_s=1, backoff_cap_s=4)).read("Task", "1")
    assert fault.value.status == 500
    most = 1 + 2 + 4 + 4 + 4 + 4
    assert timedelta(seconds=most / 2) <= script.clock.now() - START <= timedelta(seconds=most)


@pytest.mark.parametrize("fault", [REFUSED, httpx.ConnectTimeout(""), httpx.PoolTimeout(""), reply(429)])
def test_a_write_of_which_nothing_arrived_is_tried_again(fault: httpx.Response | Exception) -> None:
    script = Script(fault, reply(200, task()))
    update(client(script))
    assert len(script.asked) == 2
    assert script.asked[0].content == script.asked[1].content != b""


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ReadTimeout(""),
        httpx.WriteTimeout(""),
        LOST,
        httpx.WriteError(""),
        httpx.RemoteProtocolError(""),
        reply(408),
        reply(500, outcome()),
        reply(502),
        reply(503),
        reply(504),
    ],
    ids=lambda fault: type(fault).__name__ if isinstance(fault, Exception) else str(fault.status_code),
)
@pytest.mark.parametrize(
    "write",
    [
        update,
        lambda fhir: fhir.put_new(task(), only_if_absent=True),
        lambda fhir: fhir.create(task(), identifier="a|b"),
        lambda fhir: fhir.delete("Task", "1"),
        lambda fhir: fhir.transaction([]),
    ],
    ids=["update", "put_new", "create", "delete", "transaction"],
)
def test_a_write_that_was_sent_is_never_repeated(
    fault: httpx.Response | Exception, write: Callable[[FhirClient], object]
) -> None:
    script = Script(fault, reply(200, task()))
    with pytest.raises(OutcomeUnknown):
        write(client(script))
    assert len(script.asked) == 1


def test_a_busy_server_is_told_apart_and_a_write_left_to_the_caller() -> None:
    script = Script(reply(503, None, Retry_After="7"))
    with pytest.raises(RateLimited) as busy:
        update(client(script))
    assert busy.value.retry_after == 7 and len(script.asked) == 1


@pytest.mark.parametrize(
    ("said", "date", "waits"),
    [
        ("7", "", 7),
        ("99999", "", 120),
        ("Mon, 23 Nov 2026 12:00:20 GMT", "", 20),
        # by the server's own clock, which is a year behind
        ("Mon, 23 Nov 2025 12:00:30 GMT", "Mon, 23 Nov 2025 12:00:00 GMT", 30),
        ("Mon, 23 Nov 2099 12:00:00 GMT", "", 120),
    ],
)
def test_retry_after_is_kept_and_capped(said: str, date: str, waits: float) -> None:
    headers = {"Retry_After": said} | ({"Date": date} if date else {})
    script = Script(reply(429, None, **headers), reply(200, task()))
    client(script).read("Task", "1")
    assert script.clock.now() - START == timedelta(seconds=waits)


@pytest.mark.parametrize("said", ["", "-3", "soon", "Mon, 23 Nov 2020 12:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_a_common_pause(said: str) -> None:
    script = Script(reply(429, None, Retry_After=said), reply(200, task()))
    client(script, limits=Limits(backoff_s=1)).read("Task", "1")
    assert timedelta(seconds=0.5) <= script.clock.now() - START <= timedelta(seconds=1)


def test_a_spent_rate_limit_says_how_long() -> None:
    script = Script(reply(429, None, Retry_After="500"))
    with pytest.raises(RateLimited) as limited:
        client(script, limits=Limits(retries=1)).read("Task", "1")
    assert limited.value.retry_after == 120 and limited.value.status == 429
    assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, AccessRefused),
        (403, AccessRefused),
        (405, Rejected),
        (406, Rejected),
        (413, Rejected),
        (415, Rejected),
        (418, Rejected),
        (422, Rejected),
        (501, Rejected),
        (304, NotFhir),
    ],
)
@pytest.mark.parametrize("ask", [read, update])
def test_final_answers_are_not_repeated(
    status: int, kind: type[ServerError], ask: Callable[[FhirClient], object]
) -> None:
    script = Script(reply(status, outcome()))
    with pytest.raises(kind) as fault:
        ask(client(script))
    assert len(script.asked) == 1 and fault.value.status == status


def test_no_server_answers() -> None:
    with pytest.raises(ServerUnavailable, match=r"no server answers at ehr\.example:443"):
        client(Script(REFUSED), limits=Limits(retries=0)).read("Task", "1")


def test_a_certificate_that_does_not_fit_is_named_and_not_tried_again() -> None:
    fault = httpx.ConnectError("certificate verify failed")
    fault.__cause__ = ssl.SSLCertVerificationError("hostname mismatch")
    for ask in (read, update):
        script = Script(fault)
        with pytest.raises(ServerUnavailable, match=r"the certificate of ehr\.example:443 does not fit"):
            ask(client(script))
        assert len(script.asked) == 1


# ---- bounds in time ----


class Trickle(httpx.SyncByteStream):
    """A body of which one byte comes each ten seconds."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.script.clock.advance(timedelta(seconds=10))
            yield b" "


@pytest.mark.parametrize(("ask", "kind"), [(read, ServerUnavailable), (update, OutcomeUnknown)])
def test_a_body_that_trickles_ends_at_the_total_time_out(
    ask: Callable[[FhirClient], object], kind: type[ServerError]
) -> None:
    script = Script(lambda _: httpx.Response(200, stream=Trickle(script)))
    with pytest.raises(kind):
        ask(client(script, limits=Limits(retries=0, total_s=120)))
    assert script.clock.now() - START <= timedelta(seconds=130)


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection, in the hands of ``talk``."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            line, _ = door.accept()
            with line:
                talk(line)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/fhir"
        thread.join(10)
        assert not thread.is_alive()


def real(base_url: str, **limits: float) -> FhirClient:
    bounds = Limits(retries=0, **limits)  # type: ignore[arg-type]
    return FhirClient(base_url, limits=bounds, clock=SystemClock(), seq=Sequence())


def test_headers_that_trickle_end_at_the_total_time_out() -> None:
    ended = threading.Event()

    def talk(line: socket.socket) -> None:
        line.recv(65536)
        line.sendall(b"HTTP/1.1 200 OK\r\n")
        try:
            while not ended.wait(0.02):  # each wait of the client is far below its step's time-out
                line.sendall(b"X-Slow: 1\r\n")
        except OSError:
            pass

    with raw_server(talk) as base, real(base, total_s=0.3, read_s=5) as fhir:
        with pytest.raises(ServerUnavailable, match="no answer in time"):
            fhir.read("Task", "1")
        ended.set()


def test_a_connection_that_breaks_off() -> None:
    def cut_body(line: socket.socket) -> None:
        line.recv(65536)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")

    with raw_server(cut_body) as base, real(base) as fhir, pytest.raises(ServerUnavailable):
        fhir.read("Task", "1")
    with raw_server(_hang_up) as base, real(base) as fhir, pytest.raises(OutcomeUnknown):
        fhir.update(task(), version="1")


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    refused = pytest.raises(ServerUnavailable, match=f"no server answers at 127.0.0.1:{port}")
    with real(f"http://127.0.0.1:{port}/fhir") as fhir, refused:
        fhir.update(task(), version="1")


def test_plain_http_where_tls_is_meant() -> None:
    def talk(line: socket.socket) -> None:
        line.recv(65536)
        line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with raw_server(talk) as base, real(base.replace("http://", "https://")) as fhir:  # noqa: SIM117
        with pytest.raises(ServerUnavailable, match="no secure connection to 127"):
            fhir.read("Task", "1")


# ---- redirects and other origins ----


def test_redirects_of_a_read_stay_on_the_origin() -> None:
    script = Script(
        reply(302, None, Location="/r4/Task/2"),
        reply(307, None, Location=f"{BASE}/Task/3"),
        reply(200, task("3")),
    )
    client(script, token=lambda: "secret").read("Task", "1")
    assert script.urls == [f"{BASE}/Task/{n}" for n in (1, 2, 3)]
    assert all(asked.headers["authorization"] == "Bearer secret" for asked in script.asked)


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/r4/Task/1",
        "http://ehr.example/r4/Task/1",
        "https://ehr.example:8443/r4/Task/1",
        "//evil.example/r4/Task/1",
        "https://ehr.example@evil.example/r4",
        "ftp://ehr.example/",
        "https://[",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_gets_no_request_and_no_token(location: str, status: int) -> None:
    script = Script(reply(status, None, Location=location), reply(200, task()))
    with pytest.raises(ForeignOrigin) as foreign:
        client(script, token=lambda: "secret").read("Task", "1")
    assert len(script.asked) == 1
    assert "Task/1" not in str(foreign.value)


def test_a_redirected_write_is_not_followed() -> None:
    script = Script(reply(307, None, Location=f"{BASE}/Task/2"), reply(200, task()))
    with pytest.raises(ForeignOrigin):
        update(client(script))
    assert len(script.asked) == 1


def test_redirects_without_end() -> None:
    script = Script(reply(302, None, Location=f"{BASE}/Task/1"))
    with pytest.raises(NotFhir):
        client(script).read("Task", "1")
    assert len(script.asked) == 4


def test_a_next_link_of_another_host_is_asked_at_ours() -> None:
    script = Script(
        reply(200, bundle(task(), next="http://inner:8080/r4/Task?cursor=2")), reply(200, bundle())
    )
    fhir = client(script, token=lambda: "secret")
    list(fhir.pages("Task", []))
    assert script.urls == [f"{BASE}/Task", f"{BASE}/Task?cursor=2"]


def test_following_another_hosts_link_sends_nothing_there() -> None:
    script = Script(reply(200, bundle()))
    fhir = client(script, token=lambda: "secret")
    with pytest.raises(ForeignOrigin):
        fhir.follow("https://evil.example/steal?x=1")
    assert not script.asked
    fhir.follow("https://evil.example/r4/Task?x=1")
    assert script.urls == [f"{BASE}/Task?x=1"]


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with raw_server(_good) as base, real(base) as fhir:
        assert fhir.read("Task", "1").status == 200


def _hang_up(line: socket.socket) -> None:
    line.recv(65536)


def _good(line: socket.socket) -> None:
    line.recv(65536)
    body = b'{"resourceType":"Task","id":"1"}'
    line.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
