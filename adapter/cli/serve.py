"""Verbs of the running service: run and status."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from adapter import status as statuses
from adapter.app import load_edition, open_ledger
from adapter.cli import context as given
from adapter.cli.context import Json
from adapter.cli.out import LogLevel, as_json, say, service_log
from adapter.service import Service


def register(cli: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (run, status):
        cli.command()(verb)


def run(
    context: typer.Context,
    take_over: bool = typer.Option(
        False, "--take-over", help="No other ledger writes here any more: adopt what stands in the EHR."
    ),
    log_json: bool = typer.Option(False, "--log-json", help="Log lines as JSON."),
    log_level: LogLevel = typer.Option(
        LogLevel.INFO, help="Of the log on stderr. No level holds patient data."
    ),
) -> None:
    """Work until told to stop (SIGTERM, Ctrl-C): poll, look, write and sweep, each source in its own time."""
    log = service_log(log_level.value, as_json=log_json)
    raise typer.Exit(Service(given.settings(context), log, take_over=take_over).run())


def status(context: typer.Context, json: bool = Json) -> None:
    """Say how every source is doing, from the ledger alone; exit code 3 where something needs a person."""
    settings = given.settings(context, secrets=False)
    with open_ledger(settings, create=False) as ledger:
        found = statuses.status(settings, ledger, datetime.now(UTC), load_edition(settings))
    if json:
        as_json(found.as_json())
    else:
        show_status(found)
    raise typer.Exit(found.exit_code)


def show_status(found: statuses.Status) -> None:
    """The answer in words."""
    say(f"service: {found.service}")
    for need in found.needs:
        say(f"  ! {need}")
    if found.paused_rules:
        say(f"paused rules: {', '.join(found.paused_rules)}")
    for one in found.sources:
        _show_source(one)


def _show_source(one: statuses.SourceStatus) -> None:
    say(f"{one.name}: {one.state}{', writing is paused' if one.paused else ''}")
    polled = ", ".join(f"{type} {said}" for type, said in one.types.items())
    say(f"  polled: {polled or 'not yet'}")
    say(f"  tasks: {one.open_tasks} open, {one.overdue} overdue")
    say(f"  waiting: {one.looks} to look at, {one.writes} to write")
    for sentence in one.sweeps:
        say(f"  sweep: {sentence}")
    for need in one.needs:
        say(f"  ! {need}")
