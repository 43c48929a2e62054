"""Verbs about what waits for a person: hold, quarantine, outbox; and about the ledger itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from adapter import control
from adapter.cli import context as given
from adapter.cli.context import Json
from adapter.cli.out import as_json, local, say, table
from adapter.errors import UsageError

hold = typer.Typer(no_args_is_help=True, help="Floods that wait for a person.")
quarantine = typer.Typer(no_args_is_help=True, help="Resources that could not be read.")
outbox = typer.Typer(no_args_is_help=True, help="What waits to be written.")
ledger = typer.Typer(no_args_is_help=True, help="The ledger itself.")


def register(cli: typer.Typer) -> None:
    """Add these verbs."""
    for name, verbs in (("hold", hold), ("quarantine", quarantine), ("outbox", outbox), ("ledger", ledger)):
        cli.add_typer(verbs, name=name)


@hold.command("list")
def list_holds(context: typer.Context, json: bool = Json) -> None:
    """List the floods that wait for a person: of an edited mapping, or of a day beyond any so far."""
    with given.ledger(context) as book:
        rows = [
            {
                "id": row.id,
                "source": row.source,
                "cause": row.cause,
                "rule": row.rule,
                "direction": row.direction,
                "count": row.count,
                "since": _iso(row.created_at),
            }
            for row in book.holds()
        ]
    _shown(rows, json, empty="nothing is held")


@hold.command()
def release(context: typer.Context, number: int = typer.Argument(help="As `hold list` shows it.")) -> None:
    """Let one flood go: what is still true of it goes out with the next pass."""
    with given.app(context) as app:
        count = app.release_hold(number)
    say(f"released: {count} changes are counted again with the next pass")


@quarantine.command("list")
def list_quarantine(context: typer.Context, json: bool = Json) -> None:
    """List what could not be read: type, reason and place, nothing of the content."""
    with given.ledger(context) as book:
        rows = [
            {
                "id": row.id,
                "source": row.source,
                "type": row.type,
                "reason": row.reason,
                "place": row.place,
                "since": _iso(row.at),
                "tries": row.tries,
            }
            for row in book.quarantine()
        ]
    _shown(rows, json, empty="quarantine is empty")


@quarantine.command()
def show(context: typer.Context, number: int = typer.Argument(help="As `quarantine list` shows it.")) -> None:
    """Show one entry with its bytes as they came: this is patient data."""
    with given.ledger(context) as book:
        row = book.quarantined(number)
    if row is None:
        raise UsageError(f"there is no quarantine entry {number}", remedy="see: baton quarantine list")
    say(f"{row.type}/{row.res_id or '?'} of {row.source}: {row.reason} {row.place}".rstrip())
    say(row.raw.decode("utf-8", "replace"))


@quarantine.command("retry")
def retry_quarantine(
    context: typer.Context, number: int = typer.Argument(help="As `quarantine list` shows it.")
) -> None:
    """Read the resource again from its server."""
    with given.app(context) as app:
        done = control.retry_quarantine(app, number)
    say("it can be used now" if done else "it still cannot be read")
    if not done:
        raise typer.Exit(3)


@quarantine.command()
def drop(context: typer.Context, number: int = typer.Argument(help="As `quarantine list` shows it.")) -> None:
    """Take one entry out of the list; the resource stays unknown until it is read again."""
    with given.ledger(context) as book:
        if book.quarantined(number) is None:
            raise UsageError(f"there is no quarantine entry {number}", remedy="see: baton quarantine list")
        book.drop_quarantine(number)
    say("dropped")


@outbox.command("list")
def list_outbox(context: typer.Context, json: bool = Json) -> None:
    """List what waits to be written, and what the server refused, by its codes."""
    with given.ledger(context) as book:
        rows = [
            {
                "target": row.target,
                "source": row.source,
                "state": row.state,
                "refused": row.parked,
                "not_before": _iso(row.not_before),
                "failures": row.failures,
                "rounds": row.rounds,
            }
            for row in book.outbox()
            if row.state != "due" or row.sent < row.wanted
        ]
    _shown(rows, json, empty="nothing waits to be written")


@outbox.command("retry")
def retry_outbox(
    context: typer.Context, targets: list[str] | None = typer.Argument(None, help="None: all.")
) -> None:
    """Try what is parked again with the next pass."""
    with given.ledger(context) as book:
        known = {row.target for row in book.outbox()}
        wanted = [t if "/" in t else f"Task/{t}" for t in targets or sorted(known)]
        unknown = [target for target in wanted if target not in known]
        if unknown:
            raise UsageError(f"nothing of {unknown[0]} waits to be written", remedy="see: baton outbox list")
        for target in wanted:
            book.retry(target)
    say(f"{len(wanted)} will be tried with the next pass")


@ledger.command("check")
def check_ledger(context: typer.Context) -> None:
    """Check the file and its rows."""
    with given.ledger(context) as book:
        _faults(book.check(), "the ledger is sound")


@ledger.command()
def rebuild(
    context: typer.Context,
    repair: bool = typer.Option(False, "--repair", help="Write the rows anew from the events."),
) -> None:
    """Prove that the task rows are what their events say; report each difference."""
    with given.ledger(context) as book:
        if repair:
            with book.lock("ledger rebuild"):
                found = book.rebuild(repair=True)
            say(f"{len(found)} differences repaired")
            return
        _faults(book.rebuild(), f"{len(book.tasks())} tasks are exactly what their events say")


@ledger.command()
def export(
    context: typer.Context, path: Path = typer.Argument(help="The copy; it must not be there yet.")
) -> None:
    """Write a whole copy while the ledger is in use. It holds patient data."""
    with given.ledger(context) as book:
        book.export(path)
    say(f"wrote {path}")


def _faults(found: list[str], sound: str) -> None:
    for fault in found:
        say(fault)
    if found:
        raise typer.Exit(1)
    say(sound)


def _iso(at: Any) -> str | None:
    return at.isoformat() if at else None


def _shown(rows: list[dict[str, Any]], json: bool, *, empty: str) -> None:
    if json:
        as_json(rows)
        return
    times = {"since", "not_before"}
    shown = [[local(v) if k in times else v for k, v in row.items()] for row in rows]
    table([*rows[0]] if rows else [], shown, empty=empty)
