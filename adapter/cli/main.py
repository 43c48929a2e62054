"""The verbs put together, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import typer
from typer.exceptions import TyperException

from adapter import __version__
from adapter.cli import care, keep, rules, run, serve
from adapter.cli.out import tell
from adapter.errors import BatonError, ConfigError

cli = typer.Typer(
    name="baton",
    help="Polls FHIR servers, keeps a ledger of coordination tasks, writes Task and CarePlan back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"baton {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    context: typer.Context,
    config: Path | None = typer.Option(
        None, "--config", "-c", help="The configuration; else BATON_CONFIG, else config/baton.yaml."
    ),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Say the version."
    ),
) -> None:
    """Polls FHIR servers, keeps a ledger of coordination tasks, writes Task and CarePlan back."""
    context.obj = config


run.register(cli)
serve.register(cli)
care.register(cli)
rules.register(cli)
keep.register(cli)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. 0 done, 1 failed, 2 wrong use or configuration, 3 done with items for a person."""
    logging.getLogger("httpx").disabled = True
    logging.getLogger("httpcore").disabled = True
    try:
        code = cli(args=arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:
        tell("stopped")
        return 1
    except TyperException as wrong:
        said = wrong.format_message() if hasattr(wrong, "format_message") else str(wrong)
        tell(f"baton: {said} → see: baton --help")
        return 2
    except ConfigError as wrong:
        tell(f"baton: {wrong}")
        for fault in wrong.faults:
            tell(f"  {fault}")
        return 2
    except BatonError as failed:
        tell(f"baton: {failed}")
        return failed.exit_code
    except KeyboardInterrupt:
        tell("stopped; nothing is half done, and the next run goes on")
        return 1
    except Exception as fault:  # a fault of ours: its place, and no value that could be a patient's
        frames = [f for f in traceback.extract_tb(fault.__traceback__) if "adapter" in f.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        tell(f"baton: a fault of Baton's own ({type(fault).__name__} at {place}) → please report it")
        return 1
