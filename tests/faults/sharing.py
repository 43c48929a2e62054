"""The shipped mappings, read once for all verbs of a test run: what is tried here is not the reading of rules."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from adapter import app
from adapter.mapping.loader import load
from adapter.mapping.rules import Edition


@lru_cache(maxsize=4)
def _loaded(folder: Path, codes: Path | None) -> Edition:
    return load(folder, codes=codes)


def share_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every verb in this process use the same edition."""
    monkeypatch.setattr(app, "load", lambda folder, *, codes=None: _loaded(folder, codes))
