"""Verbs about the work itself: tasks, explain, baseline, withdraw, pause, resume."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import typer

from adapter import control
from adapter.cli import context as given
from adapter.cli.context import Json
from adapter.cli.out import as_json, local, say, table
from adapter.reconcile.needs import Verdict

Name = typer.Argument("", help="A source or a rule; none: every source.")


def register(cli: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (tasks, explain, baseline, withdraw, pause, resume):
        cli.command()(verb)


def tasks(
    context: typer.Context,
    all: bool = typer.Option(False, "--all", help="Closed ones, too."),
    source: str | None = typer.Option(None, "--source", "-s", help="Of one source."),
    patient: str | None = typer.Option(None, help="Of one patient: Patient/ID."),
    json: bool = Json,
) -> None:
    """List the coordination tasks, by patient, the most urgent patient first."""
    with given.app(context) as app:
        rows = app.task_rows(all=all, source=source, patient=patient)
    if json:
        as_json(rows)
    else:
        show_tasks(rows)


def show_tasks(rows: list[dict[str, Any]]) -> None:
    """Tasks grouped by patient, with due time and reason."""
    if not rows:
        say("no open tasks")
        return
    order = {patient: n for n, patient in enumerate(dict.fromkeys(row["patient"] for row in rows))}
    for patient, group in groupby(
        sorted(rows, key=lambda r: order[r["patient"]]), key=lambda r: r["patient"]
    ):
        say(patient)
        for row in group:
            say(f"  {row['title']}{_when(row)}")
            marks = [row["priority"] if row["priority"] != "routine" else "", _state(row)]
            said = ", ".join(mark for mark in marks if mark)
            say(f"    {row['reason']}{f' [{said}]' if said else ''}  ({row['id']})")


def _when(row: dict[str, Any]) -> str:
    if not row["due"] or row["closed_at"]:
        return ""
    late = datetime.fromisoformat(row["due"]) < datetime.now(UTC)
    return f" · {'OVERDUE since' if late else 'due'} {local(row['due'])}"


def _state(row: dict[str, Any]) -> str:
    parts = [row["status"] if row["status"] != "requested" else "", row["business_status"], row["hold"]]
    return ", ".join(part for part in parts if part)


def explain(
    context: typer.Context,
    task: str = typer.Argument(help="The task's id, as `tasks` shows it."),
    json: bool = Json,
) -> None:
    """Say of one task what it is, why it is here, since when, by which versions and rule, and what comes next."""
    with given.app(context) as app:
        told = control.explained(app, task)
    if json:
        as_json(told)
    else:
        show_explanation(told)


def show_explanation(told: dict[str, Any]) -> None:
    """The answer in words."""
    rule = told["rule"]
    say(f"{told['title']}  ({told['id']})")
    say(f"what    {told['next'] or told['code']}")
    say(f"for     {told['patient']} at {told['source']}, by {told['performer'] or 'anybody'}")
    say(f"why     {told['reason']}")
    say(f"since   {local(told['opened_at'])}; status {told['status']}, priority {told['priority']}")
    say(f"about   {', '.join(told['evidence'])} ({told['focus_state']})")
    say(f"rule    {rule['mapping']}/{rule['id']}, version {rule['version']}")
    if rule["when"]:
        say(f"  when      {' '.join(rule['when'].split())}")
    say(f"  satisfied {' '.join(rule['satisfied'].split())}")
    for one in told["now"]:
        say(f"now     {one['rule']} says of {one['focus']}: {_SAYS[one['says']]}")
    if told["waits_for"]:
        say(f"waits   until {', '.join(told['waits_for'])} can be read for this patient")
    if told["closing"]:
        say(f"closed by {', '.join(told['closing'])}")
    say("history")
    for event in told["history"]:
        causes = f" because of {', '.join(event['causes'])}" if event["causes"] else ""
        changes = ", ".join(f"{name} → {value}" for name, value in event["changes"].items())
        say(
            f"  {local(event['at'])}  {event['kind']}: {event['why']}{causes}{f' ({changes})' if changes else ''}"
        )
    for note in told["notes"]:
        say(f"note    {note}")
    say("next")
    for line in told["next_steps"]:
        say(f"  {line}")


_SAYS = {
    Verdict.OPEN: "to be done",
    Verdict.WAIT: "to be done later",
    Verdict.OLD: "to be done, and too old to be opened",
    Verdict.COMPLETE: "done",
    Verdict.ENDED: "its time has passed",
    Verdict.WITHDRAW: "not needed",
    Verdict.UNKNOWN: "not known",
}


def baseline(context: typer.Context, json: bool = Json) -> None:
    """List what go-live left out as too old, to clean up by hand, and what opens in its turn after it."""
    with given.app(context) as app:
        rows = control.baseline(app)
    if json:
        as_json(rows)
        return
    shown = [
        [row["rule"], row["focus"], (row["since"] or "")[:10], (row["opens"] or "never")[:10], row["title"]]
        for row in rows
    ]
    table(["rule", "about", "since", "opens", "what"], shown, empty="nothing was left out")


def withdraw(
    context: typer.Context,
    rule: str = typer.Option(..., "--rule", help="The rule whose open tasks are taken back."),
    yes: bool = typer.Option(False, "--yes", help="Do it; without this it is only listed."),
    json: bool = Json,
) -> None:
    """Take a rule's open tasks back, and turn the rule off until `resume`. Lists first; --yes does it."""
    with given.app(context) as app:
        rows = control.withdraw(app, rule, dry_run=not yes)
    if json:
        as_json(rows)
        return
    table(
        ["task", "what", "status"], [[r["id"], r["title"], r["status"]] for r in rows], empty="no open tasks"
    )
    if rows and not yes:
        say(f"nothing was changed; to withdraw these {len(rows)}: baton withdraw --rule {rule} --yes")


def pause(
    context: typer.Context, name: str = typer.Argument("", help="A source or a rule; none: every source.")
) -> None:
    """Stop writing to a source, or stop a rule."""
    with given.app(context) as app:
        say(control.pause(app, name))


def resume(
    context: typer.Context, name: str = typer.Argument("", help="A source or a rule; none: every source.")
) -> None:
    """Let what was paused go on."""
    with given.app(context) as app:
        say(control.resume(app, name))
