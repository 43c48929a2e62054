"""The floor does the work that it is measured by: it finds the same open tasks as Baton on the same pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from adapter.model import POLLED
from adapter.polling import evidence
from adapter.polling.evidence import Evidence, ReadReport
from tests.bench.baton import configure, opened, passed
from tests.bench.floor import Floor
from tests.bench.pages import serving


def test_floor_and_baton_find_as_many_tasks_on_the_same_pages(tmp_path: Path) -> None:
    with serving(400) as pages, opened(configure(tmp_path, pages.base_url)) as app:
        floor = Floor(pages.base_url, tmp_path / "floor.db")
        assert floor.run() == pages.resources
        passed(app)
        counts = app.ledger.counts("general")
        assert sum(counts[type]["live"] for type in POLLED) == pages.resources
        open_tasks = {task.patient for task in app.ledger.tasks(open_only=True)}
        assert len(open_tasks) > pages.patients // 2
        assert len(floor.tasks()) == len(app.ledger.tasks(open_only=True))
        assert httpx.post(f"{pages.root}/change/10").json() == {"changed": 10}
        report = passed(app)
        assert sum(report.sources[0].changed.values()) == 10, "each change is seen, and nothing else"
        floor.close()


def test_a_second_walk_decides_what_single_reads_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, found = [], []
    singly = Counter[int]()
    read = Evidence._read

    def counted(self: Evidence, patient: str, type: str, held: Iterable[str]) -> ReadReport:
        singly[evidence.LEAST_READS] += 1
        return read(self, patient, type, held)

    monkeypatch.setattr(Evidence, "_read", counted)
    with serving(2000) as pages, ExitStack() as open_ones:
        apps = []
        for least in (1, 10**9):
            folder = tmp_path / str(least)
            folder.mkdir()
            apps.append((least, open_ones.enter_context(opened(configure(folder, pages.base_url)))))
            passed(apps[-1][1])
        httpx.post(f"{pages.root}/change/100")
        for least, app in apps:
            monkeypatch.setattr(evidence, "LEAST_READS", least)
            received.append(sum(passed(app).sources[0].polled.values()))
            found.append(Counter((t.patient, t.rule, t.focus, t.status) for t in app.ledger.tasks()))
    assert received[0] > received[1], "the first one has walked once more"
    assert singly[1] == 0 < singly[10**9], "and read for nobody: how many lack it was known before"
    assert found[0] == found[1] and found[0]
