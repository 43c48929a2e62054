"""The wheel works where no checkout is: it carries the mappings and the configuration templates."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel: what pip would put into an environment's site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("baton_fhir-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def run(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``baton`` from the wheel; the dependencies are this environment's, the checkout is out of sight."""
    code = "import sys; from adapter.cli import main; sys.exit(main())"
    path = f"{site}:{sysconfig.get_paths()['purelib']}"
    env = {"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "HOME": str(cwd), "COLUMNS": "120"}
    command = [sys.executable, "-S", "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_help_runs(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "sync" in done.stdout


def test_the_demo_runs(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "demo")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "sandbox" in done.stdout.lower()


def test_the_mappings_and_templates_are_inside(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "mappings", "list").returncode == 0
    assert run(installed, tmp_path, "init", "baton.yaml").returncode == 0
    assert "namespace" in (tmp_path / "baton.yaml").read_text(encoding="utf-8")
