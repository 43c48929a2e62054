"""Reading ahead: while one Task is written, what stands under the next ones' ids is read on connections of their own.

Every write is preceded by a read of its id in the same delivery, and a new Task by a search for its need (F16). Done
one after the other they take longer than the write itself. What is read here is some hundredths of a second old when
it is used; the write that follows is bound to it by its version all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from adapter.errors import ServerError
from adapter.fhir import Answer, Page
from adapter.model import Task
from adapter.writeback.sending import Sender

FEWEST = 4  # Tasks for which it is worth it
DEPTH = 4  # how far ahead
WORKERS = 2
NEEDS = 25  # in one search; some gateways cut long addresses


@dataclass(frozen=True, slots=True)
class Found:
    """What stands under one id, and what was found of its need where nothing stands there.

    ``fault`` is what reading it raised, ``search_fault`` what the search did.
    """

    answer: Answer | None = None
    fault: ServerError | None = None
    page: Page | None = None
    search_fault: ServerError | None = None


class Reading:
    """Reads what stands there, when it is asked for."""

    def __init__(self, sender: Sender, need_system: str) -> None:
        self._sender = sender
        self._need_system = need_system

    def found(self, task: Task) -> Found:
        """What stands under a task's id; where nothing does, the Tasks of its need."""
        try:
            answer = self._sender.read(f"Task/{task.id}")
        except ServerError as fault:
            return Found(fault=fault)
        if answer is not None or not (task.open or task.seen_version):
            return Found(answer)
        return self._of_needs([task])  # a closed one that the EHR lost is made again, too (F18)

    def _of_needs(self, tasks: Sequence[Task]) -> Found:
        """The Tasks of some needs in one search: their identifiers tell whose each is."""
        values = ",".join(f"{self._need_system}|{task.key}" for task in tasks)
        try:
            return Found(page=self._sender.client.search("Task", [("identifier", values)]))
        except ServerError as fault:
            return Found(search_fault=fault)


class ReadAhead(Reading):
    """Reads what stands there, some Tasks ahead of the one that is asked for. Use it as a context manager.

    The needs of Tasks that were never written are searched for in lists; a list whose answer has a next page, or
    that is refused, is asked again one by one.
    """

    def __init__(self, sender: Sender, need_system: str, tasks: Sequence[Task]) -> None:
        super().__init__(sender, need_system)
        self._tasks = {task.id: task for task in tasks}
        self._waiting = list(tasks)
        self._under_way: dict[str, Future[Found]] = {}
        self._needs: dict[str, Future[Found]] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="read-ahead")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def found(self, task: Task) -> Found:
        """As :meth:`Reading.found`; a Task that was not announced, or is another by now, is read at once."""
        while self._waiting and len(self._under_way) < DEPTH:
            self._begin(self._waiting.pop(0))
        begun = self._under_way.pop(task.id, None)
        if begun is None or self._tasks.get(task.id) != task:
            return super().found(task)
        return begun.result()

    def _begin(self, task: Task) -> None:
        if not task.seen_version and task.open and task.id not in self._needs:
            fresh = [one for one in (task, *self._waiting) if not one.seen_version and one.open][:NEEDS]
            search = self._pool.submit(self._of_needs, fresh)
            self._needs.update(dict.fromkeys((one.id for one in fresh), search))
        self._under_way[task.id] = self._pool.submit(self._read, task, self._needs.get(task.id))

    def _read(self, task: Task, needs: Future[Found] | None) -> Found:
        """In a thread: the read, and what the search of the list that holds this need has brought."""
        if needs is None:
            return super().found(task)
        try:
            answer = self._sender.read(f"Task/{task.id}")
        except ServerError as fault:
            return Found(fault=fault)
        if answer is not None:
            return Found(answer)
        listed = needs.result()  # submitted before this read, and so begun before it
        if listed.page is None or listed.page.next is not None:
            return self._of_needs([task])
        return listed
