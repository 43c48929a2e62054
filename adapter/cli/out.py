"""What verbs print, and where: results on stdout, all else on stderr; with ``--json`` stdout is JSON alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from adapter.fhirjson import dumps
from adapter.report import Progress, no_progress

# In a pipe there is no screen to fit: lines stay whole, so that grep and awk can work on them.
stdout = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


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
