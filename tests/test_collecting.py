"""Collecting rarely: thresholds come back, however blocks are nested and whatever they raise."""

from __future__ import annotations

import gc

import pytest

from adapter.collecting import OLD, YOUNG, rare_collections


def test_thresholds_are_raised_inside_and_come_back() -> None:
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold()[0] == YOUNG and gc.get_threshold()[2] == OLD
        with rare_collections():
            assert gc.get_threshold()[0] == YOUNG
        assert gc.get_threshold()[0] == YOUNG, "the outer block still runs"
    assert gc.get_threshold() == before
    with pytest.raises(KeyError), rare_collections():
        raise KeyError
    assert gc.get_threshold() == before
    assert gc.isenabled()
