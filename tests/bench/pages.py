"""A small quick FHIR server for measurements, in a process and on a core of its own.

It answers what a pass asks: the CapabilityStatement, searches by ``_lastUpdated``, ``_id`` and ``patient`` with
``_count`` and next links, and reads by id, each with a Date. Entries are rendered once and joined per page, and HTTP
is spoken by hand, so that the server hides nothing of what is measured. Two verbs are its own: ``POST /change/N`` lets
a resource of each of N patients change now, ``POST /stop`` ends it.
"""

from __future__ import annotations

import asyncio
import bisect
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from tests.bench.population import Resource, changed, patients_for, population

BASE = "/fhir"
TYPES = ("Patient", "ServiceRequest", "CoverageEligibilityResponse", "Appointment")
HISTORY = timedelta(days=300)  # over so long the loaded resources were last updated


@dataclass
class Shelf:
    """One type: entries in the order of their stamps, and where each id stands."""

    stamps: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    entries: dict[str, bytes] = field(default_factory=dict)
    stamp_of: dict[str, str] = field(default_factory=dict)
    version: dict[str, int] = field(default_factory=dict)

    def put(self, resource: Resource, stamp: str, base: str) -> None:
        """Add or replace; stamps only grow."""
        id = resource["id"]
        version = self.version[id] = self.version.get(id, 0) + 1
        if version > 1:
            place = bisect.bisect_left(self.stamps, self.stamp_of[id])
            while self.ids[place] != id:
                place += 1
            del self.stamps[place], self.ids[place]
        resource["meta"].update(versionId=str(version), lastUpdated=stamp)
        address = f"{base}/{resource['resourceType']}/{id}"
        entry = {"fullUrl": address, "resource": resource, "search": {"mode": "match"}}
        self.entries[id] = orjson.dumps(entry)
        self.stamp_of[id] = stamp
        self.stamps.append(stamp)
        self.ids.append(id)


class Store:
    """All shelves of one server."""

    def __init__(self, resources: int, base: str) -> None:
        self.base = base
        self.now = datetime.now(UTC)
        self.patients = patients_for(resources)
        self.turn = 0
        self.shelves = {type: Shelf() for type in TYPES}
        step = HISTORY / (self.patients * 20)
        at = self.now - HISTORY - timedelta(hours=1)
        for number, resource in enumerate(population(self.patients, self.now)):
            self.shelves[resource["resourceType"]].put(resource, _stamp(at + number * step), base)

    def change(self, number: int) -> int:
        """One resource of each of ``number`` patients changes; how many did."""
        at, first = datetime.now(UTC), self.turn
        for place in range(number):
            resource = changed((first + place) % self.patients, self.now)
            stamp = _stamp(at + timedelta(milliseconds=place // 8))
            self.shelves[resource["resourceType"]].put(resource, stamp, self.base)
        self.turn += number
        return number

    def answer(self, path: str, query: str) -> tuple[int, bytes]:
        """Status and body."""
        if path == "metadata":
            return 200, _capability()
        type, _, id = path.partition("/")
        shelf = self.shelves.get(type)
        if id:
            entry = shelf.entries.get(id) if shelf else None
            return (200, orjson.dumps(orjson.loads(entry)["resource"])) if entry else (404, _not_found())
        asked = parse_qs(query, keep_blank_values=True)
        if shelf is None or "identifier" in asked or "patient" in asked:
            return 200, _bundle(f"{self.base}/{type}?{query}", [], "", 0)
        if "_id" in asked:
            ids = asked["_id"][0].split(",")
            found = [shelf.entries[one] for one in ids if one in shelf.entries]
            return 200, _bundle(f"{self.base}/{type}?{query}", found, "", len(found))
        return 200, self._page(type, shelf, asked, query)

    def _page(self, type: str, shelf: Shelf, asked: dict[str, list[str]], query: str) -> bytes:
        count = int(asked.get("_count", ["100"])[0])
        if "_offset" in asked:
            first, last = int(asked["_offset"][0]), int(asked["_until"][0])
        else:
            first, last = 0, len(shelf.ids)
            for bound in asked.get("_lastUpdated", ()):
                place = bisect.bisect_left(shelf.stamps, bound[2:])
                first, last = (max(first, place), last) if bound[:2] == "ge" else (first, min(last, place))
        end = min(first + count, last)
        found = [shelf.entries[id] for id in shelf.ids[first:end]]
        more = f"{self.base}/{type}?_offset={end}&_until={last}&_count={count}" if end < last else ""
        return _bundle(f"{self.base}/{type}?{query}", found, more, last - first)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def _bundle(own: str, entries: list[bytes], more: str, total: int) -> bytes:
    links = [{"relation": "self", "url": own}] + ([{"relation": "next", "url": more}] if more else [])
    head = {"resourceType": "Bundle", "type": "searchset", "total": total, "link": links}
    if not entries:
        return orjson.dumps(head)
    return orjson.dumps(head)[:-1] + b',"entry":[' + b",".join(entries) + b"]}"


def _capability() -> bytes:
    interactions = [{"code": code} for code in ("read", "search-type")]
    resources = [
        {"type": type, "interaction": interactions} for type in (*TYPES, "Task", "CarePlan", "Device")
    ]
    return orjson.dumps(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "kind": "instance",
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "software": {"name": "pages for measurements"},
            "rest": [{"mode": "server", "resource": resources}],
        }
    )


def _not_found() -> bytes:
    issue = {"severity": "error", "code": "not-found", "diagnostics": "not known"}
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": [issue]})


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, HTTP/1.1 with keep-alive."""

    def __init__(self, store: Store, stop: asyncio.Event) -> None:
        self._store = store
        self._stop = stop
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while b"\r\n\r\n" in self._waiting:
            head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
            method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
            self._transport.write(self._answer(method, target))

    def _answer(self, method: str, target: str) -> bytes:
        parts = urlsplit(target)
        if method == "POST":
            status, body = 200, self._own(parts.path)
        else:
            status, body = self._store.answer(parts.path.removeprefix(f"{BASE}/"), unquote(parts.query))
        date = format_datetime(datetime.now(UTC), usegmt=True)
        head = (
            f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Type: application/fhir+json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _own(self, path: str) -> bytes:
        verb, _, number = path.strip("/").partition("/")
        if verb == "stop":
            self._stop.set()
            return b"{}"
        return orjson.dumps({"changed": self._store.change(int(number))})


async def serve(resources: int) -> None:
    """Build the store, say where it is on stdout, serve until told to stop or the parent is gone."""
    stop = asyncio.Event()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{listening.getsockname()[1]}{BASE}"
        store = Store(resources, base)
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(store, stop), sock=listening
        )
        total = sum(len(shelf.ids) for type, shelf in store.shelves.items() if type != "Patient")
        print(f"READY {base} {total} {store.patients}", flush=True)
        parent = os.getppid()
        while not stop.is_set() and os.getppid() == parent:
            try:
                await asyncio.wait_for(stop.wait(), 2.0)
            except TimeoutError:
                continue
        server.close()


@dataclass(frozen=True, slots=True)
class Pages:
    """A running server of pages."""

    base_url: str
    resources: int
    patients: int

    @property
    def root(self) -> str:
        return self.base_url.removesuffix(BASE)


@contextmanager
def serving(resources: int) -> Iterator[Pages]:
    """A server of about so many resources, on the core that the measured process does not use."""
    command = [sys.executable, "-m", "tests.bench.pages", str(resources)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            _, base, total, patients = child.stdout.readline().split()
            yield Pages(base, int(total), int(patients))
        finally:
            child.terminate()


if __name__ == "__main__":
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    asyncio.run(serve(int(sys.argv[1])))
