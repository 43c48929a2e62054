"""What polling needs of one source, built once by whoever constructs things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapter.clock import Clock
from adapter.facts.keep import Keeper
from adapter.fhir import Answer, Capability, FhirClient, Page
from adapter.ledger import Ledger
from adapter.model import POLLED
from adapter.polling.budget import Budget

TASK_SYSTEM = "urn:baton:{namespace}:task"


@dataclass(frozen=True, slots=True)
class PollingContext:
    """One source's means.

    ``search`` and ``since`` bound a type's polling (by type); ``capability`` None means: not known, assume
    no history. ``polled`` are the types whose focus rows only their poll may bring into scope.
    """

    source: str
    client: FhirClient
    ledger: Ledger
    keeper: Keeper
    clock: Clock
    budget: Budget
    namespace: str = ""
    capability: Capability | None = None
    search: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    since: Mapping[str, datetime] = field(default_factory=dict)
    page_size: int = 100
    overlap_s: float = 150.0
    long_pages: int = 50
    polled: frozenset[str] = frozenset(POLLED)

    def now(self) -> datetime:
        """The server's own now."""
        return self.client.clock.now()

    def search_page(self, type: str, params: list[tuple[str, str]]) -> Page:
        """The first page of a search, within the budget."""
        self.budget.take()
        return self.client.search(type, params)

    def follow(self, url: str) -> Page:
        """A following page, within the budget."""
        self.budget.take()
        return self.client.follow(url)

    def read(self, ref: str) -> Answer:
        """One resource by "Type/id", within the budget."""
        self.budget.take()
        type, _, id = ref.partition("/")
        return self.client.read(type, id)

    def pages(self, type: str, params: list[tuple[str, str]]) -> Iterator[Page]:
        """All pages of a search, within the budget; see :meth:`FhirClient.pages`."""
        self.budget.take()
        for page in self.client.pages(type, params):
            yield page
            if page.next is not None:
                self.budget.take()

    def history(self, type: str, since: datetime) -> Iterator[Page]:
        """All pages of a type's history, within the budget."""
        self.budget.take()
        for page in self.client.history(type, since=since):
            yield page
            if page.next is not None:
                self.budget.take()

    def filters(self, type: str) -> tuple[tuple[str, str], ...]:
        """What every search of a type names beside the window: Tasks are ours only."""
        own = self.search.get(type, ())
        if type != "Task":
            return own
        return ((("identifier", f"{TASK_SYSTEM.format(namespace=self.namespace)}|")), *own)

    def bounded(self, type: str) -> bool:
        """Whether the configuration may hide resources of a type from its poll."""
        return bool(self.search.get(type)) or type in self.since
