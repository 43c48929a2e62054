"""Reading ahead: while one Task is written, what stands under the next ones' ids is read on connections of their own.

Every write is preceded by a read of its id in the same delivery, and a new Task by a search for its need (F16). Done
one after the other they take longer than the write itself. What is read here is some tenths of a second old when it is
used; the write that follows is bound to it by its version all the same.

Where many wait, the reads of some go as one batch. It tells what stands and what never stood apart from what was
deleted, as the single reads do and a search would not. What it leaves open, and what has become old, is read singly;
and so is every Task where the server takes no batch, or where no If-Match "0" guards what is new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from adapter.errors import RetryableError, ServerError
from adapter.fhir import Answer, Page
from adapter.model import Task
from adapter.writeback.sending import Sender

FEWEST = 4  # Tasks for which it is worth it
DEPTH = 4  # how far ahead
WORKERS = 2
NEEDS = 25  # in one search; some gateways cut long addresses
MANY = 10  # Tasks from which their reads go as batches
BATCH = 25  # reads in one of them
FRESH_S = 2.0  # what a batch has read counts for so long


@dataclass(frozen=True, slots=True)
class Found:
    """What stands under one id, and what was found of its need where nothing stands there.

    ``fault`` is what reading it raised, ``search_fault`` what the search did.
    """

    answer: Answer | None = None
    fault: ServerError | None = None
    page: Page | None = None
    search_fault: ServerError | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch has brought: what stands under the ids that it tells of, as of ``at`` (monotonic)."""

    stands: Mapping[str, Answer | None]
    at: float


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
        return Found(answer) if answer is not None or not _is_made(task) else self._of_needs([task])

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

    def __init__(
        self, sender: Sender, need_system: str, tasks: Sequence[Task], *, batches: bool = True
    ) -> None:
        super().__init__(sender, need_system)
        self._tasks = {task.id: task for task in tasks}
        self._waiting = deque(tasks)
        self._batches = batches and len(tasks) >= MANY
        self._under_way: dict[str, Future[Found] | Future[Batch]] = {}
        self._needs: dict[str, Future[Found]] = {}
        self._batch: dict[str, Future[Batch]] = {}
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
            self._begin()
        begun = self._under_way.pop(task.id, None)
        if begun is None or self._tasks.get(task.id) != task:
            return super().found(task)
        read = begun.result()
        if isinstance(read, Found):
            return read
        return self._of_batch(task, read) or super().found(task)

    def _begin(self) -> None:
        """Begin to read the next Task, with those that go with it."""
        task = self._waiting.popleft()
        if not task.seen_version and task.open and task.id not in self._needs:
            fresh = [one for one in (task, *self._waiting) if not one.seen_version and one.open][:NEEDS]
            search = self._pool.submit(self._of_needs, fresh)
            self._needs.update(dict.fromkeys((one.id for one in fresh), search))
        if task.id not in self._batch and self._batched(task):
            ids = [one.id for one in (task, *self._waiting) if self._batched(one)][:BATCH]
            self._batch.update(dict.fromkeys(ids, self._pool.submit(self._read_batch, ids)))
        self._under_way[task.id] = self._batch.get(task.id) or self._pool.submit(self._read, task)

    def _batched(self, task: Task) -> bool:
        """Whether a batch may read it: its write has a guard, if only the If-Match "0" of a first one."""
        return (
            self._batches
            and not self._sender.no_batch
            and (bool(task.seen_version) or self._sender.guards_new)
        )

    def _read_batch(self, ids: Sequence[str]) -> Batch:
        """In a thread: a batch of reads. One that fails is no fault: each of its Tasks is read by itself then."""
        at = self._sender.client.clock.monotonic()
        try:
            return Batch(self._sender.client.read_each("Task", ids), at)
        except RetryableError:
            self._batches = False  # not while the server is in trouble
        except ServerError:
            self._sender.no_batch = True
        return Batch({}, at)

    def _of_batch(self, task: Task, batch: Batch) -> Found | None:
        """What a batch says of a Task; None where it has to be read by itself."""
        if self._sender.client.clock.monotonic() - batch.at > FRESH_S or task.id not in batch.stands:
            return None
        answer = batch.stands[task.id]
        if answer is None and not self._sender.guards_new:
            return None
        return self._with_needs(task, answer)

    def _read(self, task: Task) -> Found:
        """In a thread: the read, and what the search of the list that holds this need has brought."""
        try:
            answer = self._sender.read(f"Task/{task.id}")
        except ServerError as fault:
            return Found(fault=fault)
        return self._with_needs(task, answer)

    def _with_needs(self, task: Task, answer: Answer | None) -> Found:
        if answer is not None or not _is_made(task):
            return Found(answer)
        needs = self._needs.get(task.id)
        listed = needs.result() if needs else None  # submitted before the read, and so begun before it
        if listed is None or listed.page is None or listed.page.next is not None:
            return self._of_needs([task])
        return listed


def _is_made(task: Task) -> bool:
    """Whether a Task that does not stand there is made: a closed one that the EHR lost is, too (F18)."""
    return task.open or bool(task.seen_version)
