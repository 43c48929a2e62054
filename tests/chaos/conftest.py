"""How often, from which seed, and the end without any kill or fault to which the others are held."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.chaos.proxy import Proxy
from tests.chaos.story import Story
from tests.chaos.ward import TOKEN_ENV, End, Ward
from tests.conftest import TOKEN, person_at

Place = tuple[httpx.Client, Proxy]


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_ENV, TOKEN)


@pytest.fixture(scope="session")
def chaos_seed() -> str:
    """Fixed in ordinary test runs, drawn in ``make chaos``, or given to repeat one."""
    drawn = secrets.token_hex(3) if os.environ.get("BATON_KILLS") or os.environ.get("BATON_FAULTS") else "1"
    seed = os.environ.get("BATON_CHAOS_SEED", drawn)
    print(f"\nchaos: BATON_CHAOS_SEED={seed}", flush=True)
    return seed


@pytest.fixture
def sandbox_place() -> Iterator[Place]:
    """A sandbox behind a proxy."""
    from adapter.sandbox import Habits, Sandbox

    with (
        Sandbox(habits=Habits(token=TOKEN, search_cache=timedelta(minutes=1))) as sandbox,
        person_at(sandbox.base_url) as ehr,
        Proxy(sandbox.base_url) as proxy,
    ):
        yield ehr, proxy


@pytest.fixture
def hapi_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """HAPI behind a proxy."""
    base_url = request.getfixturevalue("hapi").base_url
    with person_at(base_url) as ehr, Proxy(base_url) as proxy:
        yield ehr, proxy


@pytest.fixture(params=["sandbox", pytest.param("hapi", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each server behind a proxy."""
    yield request.getfixturevalue(f"{request.param}_place")


_ENDS: dict[str, End] = {}


@pytest.fixture
def end_without(tmp_path: Path) -> Callable[[Place], End]:
    """The end of the same edits without faults and kills, once per kind of server."""

    def end(place: Place) -> End:
        ehr, proxy = place
        kind = str(ehr.base_url)
        if kind not in _ENDS:
            ward = Ward.made(ehr, proxy, tmp_path / "without", "without")
            story = Story.drawn("without")
            ward.sync()
            while story.left:
                assert story.round(ward)
                ward.sync()
            ward.quiet()
            ward.check()
            _ENDS[kind] = ward.end()
        return _ENDS[kind]

    return end
