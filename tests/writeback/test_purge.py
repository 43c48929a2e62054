from __future__ import annotations

from pathlib import Path

import pytest

from adapter.clock import FixedClock
from adapter.errors import Unsafe
from adapter.sandbox import Sandbox
from adapter.writeback import codes
from adapter.writeback.purge import find, purge
from tests.writeback.bench import NAMESPACE, made_bench, task

RUN = {"system": "urn:baton:tag:run", "code": "r1"}
META = {"tag": [RUN], "security": [dict(codes.TEST_LABEL)]}


def test_everything_of_the_run_and_nothing_else(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    bench = made_bench(tmp_path, server, clock, tags=(RUN,), security=(codes.TEST_LABEL,))
    device = server.all("Device")[0]
    server.edit(f"Device/{device['id']}", meta={**META})
    for ref in ("Patient/p1", "ServiceRequest/s1"):
        server.edit(ref, meta=META)
    server.put({"resourceType": "Patient", "id": "real"})
    server.put({"resourceType": "Patient", "id": "half", "meta": {"tag": [RUN]}})
    bench.open(task(), plan=True)
    bench.run()
    with pytest.raises(Unsafe):
        find(bench.client, namespace=NAMESPACE, run_tag=RUN, environment="production")
    listed = find(bench.client, namespace=NAMESPACE, run_tag=RUN, environment="test")
    assert listed.counts == {"CarePlan": 1, "Task": 1, "Device": 1, "ServiceRequest": 1, "Patient": 1}
    assert listed.unlabelled == ("Patient/half",)
    report = purge(bench.client, listed)
    assert report.deleted == listed.counts and report.left == {}
    left = {kind: number for kind, number in server.count().items() if number}
    assert left == {"Patient": 2, "Practitioner": 1, "CareTeam": 1}


def test_what_is_named_by_others_is_left_and_said(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    bench = made_bench(tmp_path, server, clock, tags=(RUN,), security=(codes.TEST_LABEL,))
    server.edit("Patient/p1", meta=META)
    listed = find(bench.client, namespace=NAMESPACE, run_tag=RUN, environment="test")
    assert listed.refs == ("Patient/p1",)
    assert "HAPI-0550" in purge(bench.client, listed).left["Patient/p1"]
