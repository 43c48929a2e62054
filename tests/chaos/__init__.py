"""Kills and faults at random moments: nothing is lost, nothing comes twice, the end is the same as without."""

import pytest

pytest.register_assert_rewrite("tests.chaos.ward", "tests.chaos.story")
