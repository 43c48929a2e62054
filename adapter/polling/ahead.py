"""The next request of a walk, under way while the page before it is stored.

One at a time, and never more than one page ahead: memory follows the pages that wait to be stored. The numbers of
requests and answers are drawn as they are sent and come, so that the order of what was seen stays true (F40). A fault
is raised where the page is asked for, as if the request had been made there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from adapter.fhir import Page


class Ahead:
    """At most one request under way. ``close`` it: the request ends with its walk."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._asked: tuple[Hashable, Future[Page]] | None = None

    def ask(self, what: Hashable, request: Callable[[], Page]) -> None:
        """Send ``request`` now, for whoever asks for ``what`` next; once, however often it is said."""
        if self._asked is not None and self._asked[0] == what:
            return
        self._drop()
        if self._thread is None:  # most walks are of one page, and need none
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        self._asked = (what, self._thread.submit(request))

    def answer(self, what: Hashable, request: Callable[[], Page]) -> Page:
        """The page that was asked for ahead, if it was ``what``; else that of a request made here.

        Raises:
            ServerError: as the request did.
        """
        if self._asked is None or self._asked[0] != what:
            self._drop()
            return request()
        (_, coming), self._asked = self._asked, None
        return coming.result()

    def is_here(self, within_s: float) -> bool:
        """Whether what was asked for has come, or comes within some seconds; a fault has come, too."""
        return self._asked is not None and bool(wait([self._asked[1]], within_s).done)

    def close(self) -> None:
        """Wait for what is under way, and let it go."""
        self._drop()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _drop(self) -> None:
        if self._asked is not None:
            (_, coming), self._asked = self._asked, None
            with suppress(BaseException):  # nobody asks for it any more, whatever it came to
                coming.exception()
