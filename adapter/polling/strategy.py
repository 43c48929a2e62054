"""How the changes of one type are found: what a polling strategy has to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from adapter.errors import Issue
from adapter.polling.walk import Window


class Strategy(Protocol):
    """One way to ask for what has changed. It only writes questions; the poller asks them."""

    @property
    def name(self) -> str:
        """Part of what a watermark belongs to."""

    def params(self, window: Window) -> list[tuple[str, str]]:
        """The search for one window of time."""

    def simpler(self, refused: Sequence[Issue]) -> bool:
        """Give up something that only helps (a sort key), after a refusal or a warning.

        False where nothing is left to give up: the search is then refused. It never gives up the window.
        """
