from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whole import compared

# Each takes ten seconds on HAPI; in `make test` one of them is enough there, and all of them run on the sandbox.
_ONE_IS_ENOUGH = "test_an_edit_between_our_read_and_our_write_is_kept[hapi-"


@pytest.hookimpl(tryfirst=True)  # before it is chosen by marks what runs
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is the same in other words on a slow server runs with what takes minutes there."""
    for item in items:
        if _ONE_IS_ENOUGH in item.nodeid and not item.nodeid.endswith("[hapi-status]"):
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def looks_are_whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """What history a look leaves out has to change nothing here, either. Servers and scenarios take long enough."""
    if request.node.get_closest_marker("server") or "scenarios" in request.node.nodeid:
        yield
        return
    with compared():
        yield
