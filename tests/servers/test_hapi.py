"""The launcher of HAPI itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.servers import hapi as launcher

if TYPE_CHECKING:
    from tests.servers.hapi import HapiServer


def test_a_machine_without_java_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launcher.missing_tools() == "java and mvn not found on the PATH"
    with pytest.raises(launcher.HapiUnavailable, match="java and mvn"):
        launcher.HapiServer().start()


@pytest.mark.long
@pytest.mark.server
def test_a_port_that_is_taken_is_no_ready_server(hapi: HapiServer) -> None:
    with pytest.raises(launcher.HapiUnavailable, match="Address already in use"):
        launcher.HapiServer(port=hapi.port).start()


@pytest.mark.long
@pytest.mark.server
def test_a_killed_server_comes_back_with_what_it_acknowledged(hapi: HapiServer, tmp_path: Path) -> None:
    # ``hapi`` is asked for only because it skips or fails where HAPI cannot run.
    server = launcher.HapiServer(db_file=tmp_path / "store")
    try:
        server.start()
        made = httpx.put(
            f"{server.base_url}/Patient/p-1", json={"resourceType": "Patient", "id": "p-1"}, timeout=60
        )
        assert made.status_code == 201
        server.kill()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.base_url}/Patient/p-1")
        server.start()
        assert httpx.get(f"{server.base_url}/Patient/p-1", timeout=60).status_code == 200
    finally:
        server.stop()
