"""Verbs that do the work: init, check, sync, seed, purge, demo."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

import typer

from adapter.app import App, SyncReport
from adapter.cli import context as given
from adapter.cli.care import show_tasks
from adapter.cli.context import Json, Source
from adapter.cli.out import as_json, progress, say, table, tell
from adapter.control import read_plan
from adapter.demo import View, run_demo
from adapter.errors import UsageError
from adapter.fhirjson import dumps
from adapter.sandbox.cohort import cohort
from adapter.settings import DEFAULT_FILE, template


def register(cli: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (demo, init, check, sync, seed, purge):
        cli.command()(verb)


def demo(
    server: str | None = typer.Option(
        None, help="A FHIR test server; without one, a sandbox in this process."
    ),
    token_env: str = typer.Option("", help="The environment variable with that server's bearer token."),
) -> None:
    """Show the main job: seed a synthetic cohort, make its tasks, let a coordinator work, reconcile."""
    code = run_demo(View(say, show_tasks, show), server=server, token_env=token_env)
    raise typer.Exit(code)


def init(
    path: Path = typer.Argument(DEFAULT_FILE, help="Where to write it."),
    base_url: str = typer.Option("https://ehr.example/fhir", help="The EHR's FHIR base URL."),
) -> None:
    """Write a commented configuration with a namespace of its own."""
    if path.exists():
        raise UsageError(f"{path} is there already", remedy="name another file, or move that one away")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template(secrets.token_hex(8), base_url), encoding="utf-8")
    say(f"wrote {path}")
    say(f"next: set base_url and the token in it, then: baton --config {path} check")


def check(context: typer.Context, json: bool = Json) -> None:
    """Connect to every source, and say what will work there and what will not."""
    with given.app(context) as app:
        found = app.check()
        notes = app.settings.notes()
    if json:
        as_json([{"name": one.name, "ok": one.ok, "lines": one.lines} for one in found])
    else:
        for one in found:
            say(f"{one.name}: {'reachable' if one.ok else 'NOT reachable'}")
            for line in one.lines:
                say(f"  {line}")
        for note in notes:
            say(f"note: {note}")
    if not all(one.ok for one in found):
        raise typer.Exit(1)


def sync(
    context: typer.Context,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Say what would be written; change nothing anywhere."
    ),
    plan: Path | None = typer.Option(None, help="With --dry-run: save what would be written."),
    apply: Path | None = typer.Option(
        None, help="Write of a saved plan what is still true, and nothing else."
    ),
    take_over: bool = typer.Option(
        False, "--take-over", help="No other ledger writes here any more: adopt what stands in the EHR."
    ),
    sweep: bool = typer.Option(
        False,
        "--sweep",
        help="Compare every id and version with the server's: proves that nothing was missed.",
    ),
    json: bool = Json,
) -> None:
    """One full pass: poll, reconcile, write back, read back."""
    if plan and not dry_run:
        raise UsageError("--plan goes with --dry-run", remedy="baton sync --dry-run --plan FILE")
    only = read_plan(_bytes(apply)) if apply else None
    with given.app(context) as app, progress("starting") as told:
        report = app.sync(dry_run=dry_run, take_over=take_over, only=only, progress=told, sweep=sweep)
    if plan:
        plan.write_bytes(dumps({"writes": [{"target": target} for target in report.targets]}) + b"\n")
    if json:
        as_json(report.as_json())
    else:
        show(report, dry_run=dry_run)
    raise typer.Exit(report.exit_code)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise UsageError(f"{path} cannot be read") from None


def show(report: SyncReport, *, dry_run: bool = False) -> None:
    """A pass in a few lines."""
    for difference in report.differences:
        say(difference)
    for source in report.sources:
        polled = ", ".join(f"{n} {type}" for type, n in source.polled.items())
        new = sum(source.changed.values())
        say(f"{source.name}: received {polled or 'nothing'}; {new} new in content")
        if source.quarantined:
            say(f"  {source.quarantined} in quarantine → baton quarantine list")
        for sentence in source.swept:
            say(f"  {sentence}")
        for note in source.notes:
            tell(f"  note: {note}")
        for error in source.errors:
            tell(f"  {error}")
    say("tasks: " + (", ".join(f"{n} {what}" for what, n in report.tasks.items() if n) or "nothing changed"))
    would = "would write" if dry_run else "wrote"
    say(f"{would}: {report.writes['Task']} Task, {report.writes['CarePlan']} CarePlan")
    if report.writes["parked"]:
        say(f"{report.writes['parked']} parked → baton outbox list")
    for number in report.holds:
        say(f"a flood is held → baton hold list, then: baton hold release {number}")
    if report.waiting:
        say(f"{report.waiting} in all wait for a person → baton quarantine list, outbox list, hold list")
    if report.failed:
        tell(f"{report.failed} persons could not be looked at; they are tried again later")


def seed(context: typer.Context, source: str | None = Source) -> None:
    """Put a synthetic cohort into a test source; every resource bears the HTEST label and a run's tag."""
    with given.app(context) as app, progress("seeding") as told:
        name = given.one_source(app.settings, source)
        run = f"r{secrets.token_hex(4)}"
        zone = app.engine(name).settings.zone
        number = app.seed(name, cohort(datetime.now(UTC), zone, run=run), progress=told)
    say(f"seeded {number} resources, tagged urn:baton:run|{run}")
    say(f"take them out again with: baton purge {run}")


def purge(
    context: typer.Context,
    run: str = typer.Argument(help="The run id that seed or the demo printed."),
    source: str | None = Source,
    json: bool = Json,
) -> None:
    """Take a run's seeds, and what Baton wrote, out of a test source: care plans, Tasks, then seeds."""
    with given.app(context) as app:
        done = _purged(app, given.one_source(app.settings, source), run)
    if json:
        as_json(done)
    else:
        table(["type", "deleted"], sorted(done.items()), empty="there was nothing to delete")


def _purged(app: App, source: str, run: str) -> dict[str, int]:
    with progress("deleting"):
        return app.purge(source, run)
