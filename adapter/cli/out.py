"""What verbs print, and where: results on stdout, all else on stderr; with ``--json`` stdout is JSON alone."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from adapter.fhirjson import dumps
from adapter.report import Progress, no_progress
from adapter.service import Log

# In a pipe there is no screen to fit: lines stay whole, so that grep and awk can work on them.
stdout = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


class LogLevel(StrEnum):
    """How much the service says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def service_log(level: str, *, as_json: bool) -> Log:
    """The log of a service on stderr: a line for each event, key=value or JSON. Libraries stay silent: they would
    print addresses."""
    for library in ("apscheduler", "httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    show = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "event", "source"], drop_missing=True
        )
    )
    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_empty,
            show,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
    )

    def told(level: str, event: str, **values: Any) -> None:
        getattr(logger, level)(event, **values)

    return told


def _without_empty(_: Any, __: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def say(text: str = "") -> None:
    """A line of the result."""
    stdout.print(text, markup=False)


def tell(text: str) -> None:
    """A line beside the result."""
    stderr.print(text, markup=False)


def as_json(value: Any) -> None:
    """The result as JSON, the only thing on stdout."""
    sys.stdout.write(dumps(value).decode() + "\n")


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """A table, or a sentence where there is nothing to show."""
    if not rows:
        say(empty)
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    stdout.print(made, markup=False)


def local(text: str | None) -> str:
    """A time of the ledger in the user's own zone: "Fri 5 Dec 16:00"."""
    if not text:
        return ""
    at = datetime.fromisoformat(text).astimezone()
    year = f" {at.year}" if at.year != datetime.now().astimezone().year else ""
    return f"{at:%a} {at.day} {at:%b}{year} {at:%H:%M}"


@contextmanager
def progress(begin: str) -> Iterator[Progress]:
    """A bar that says what is going on, on a terminal; nothing in a pipe."""
    if not stderr.is_terminal:
        yield no_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(begin, total=None)

        def told(text: str, done: int = 0, total: int = 0) -> None:
            bar.update(task, description=text, completed=done, total=total or None)

        yield told
