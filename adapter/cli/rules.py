"""Verbs for people who write rules: mappings check, test, list."""

from __future__ import annotations

from pathlib import Path

import typer

from adapter.cli import context as given
from adapter.cli.context import Json
from adapter.cli.out import as_json, say, table
from adapter.errors import MappingError, SettingsError
from adapter.mapping.loader import load
from adapter.mapping.rules import Edition
from adapter.reconcile import scenarios
from adapter.settings import packaged

mappings = typer.Typer(no_args_is_help=True, help="Check, test and list the rules.")
Folder = typer.Argument(None, help="A folder of mappings; else the configured one, else Baton's own.")


def register(cli: typer.Typer) -> None:
    """Add these verbs."""
    cli.add_typer(mappings, name="mappings")


def _edition(context: typer.Context, folder: Path | None) -> tuple[Path, Edition]:
    codes = packaged("config") / "codes"
    if folder is None:
        try:
            found = given.settings(context, secrets=False)
            folder, codes = found.mappings_folder, found.codes or codes
        except SettingsError:
            if context.obj is not None:
                raise
            folder = packaged("mappings")
    if not folder.is_dir():
        raise MappingError(
            f"there is no folder {folder}", remedy="name the folder that holds the mapping files"
        )
    return folder, load(folder, codes=codes)


@mappings.command()
def check(context: typer.Context, folder: Path | None = Folder, json: bool = Json) -> None:
    """Report every fault in every file, with line, column and remedy. Exit code 2 where there is one."""
    try:
        found, edition = _edition(context, folder)
    except MappingError as wrong:
        if json:
            as_json([_fault(fault) for fault in wrong.faults])
            raise typer.Exit(2) from None
        raise
    if json:
        as_json([])
        return
    say(f"{len(edition.mappings)} mappings with {len(edition.rules)} rules in {found}: no fault")
    for note in edition.notes:
        say(f"note: {note}")


def _fault(fault: object) -> dict[str, object]:
    names = ("file", "line", "column", "key", "message", "remedy")
    return {name: getattr(fault, name) for name in names}


@mappings.command()
def test(context: typer.Context, folder: Path | None = Folder, json: bool = Json) -> None:
    """Run the scenario files beside the mappings: given resources and a clock, expected tasks and silence."""
    found, edition = _edition(context, folder)
    results = scenarios.run(found, edition)
    failed = [result for result in results if not result.passed]
    if json:
        as_json(
            [
                {"file": r.file, "name": r.name, "passed": r.passed, "problems": list(r.problems)}
                for r in results
            ]
        )
    else:
        for result in failed:
            say(f"FAILED {result.file}: {result.name}")
            for problem in result.problems:
                say(f"  {problem}")
        say(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed:
        raise typer.Exit(1)


@mappings.command("list")
def list_rules(context: typer.Context, folder: Path | None = Folder, json: bool = Json) -> None:
    """List the rules: what each is about, who does it, and which types it reads."""
    _, edition = _edition(context, folder)
    rows = [
        {
            "rule": rule.id,
            "mapping": rule.mapping,
            "version": rule.mapping_version,
            "focus": rule.resource,
            "performer": rule.performer,
            "enabled": rule.enabled,
            "reads": sorted(rule.types),
        }
        for rule in edition.rules
    ]
    if json:
        as_json(rows)
        return
    shown = [[r.id, r.mapping, r.resource, r.performer, ", ".join(sorted(r.types))] for r in edition.rules]
    table(["rule", "mapping", "about", "performer", "reads"], shown, empty="there are no rules")
