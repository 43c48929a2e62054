"""The floor does the work that it is measured by: it finds the same open tasks as Baton on the same pages."""

from __future__ import annotations

from pathlib import Path

import httpx

from adapter.model import POLLED
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
