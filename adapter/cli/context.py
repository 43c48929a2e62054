"""What every verb needs: the settings that were named, and a Baton made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from adapter.app import App, open_ledger
from adapter.errors import UsageError
from adapter.ledger import Ledger
from adapter.settings import Settings, load

Json = typer.Option(False, "--json", help="Print JSON, and nothing else on stdout.")
Source = typer.Option(None, "--source", "-s", help="The source; may be left out where there is one.")


def settings(context: typer.Context, *, secrets: bool = True) -> Settings:
    """The settings of ``--config``, ``BATON_CONFIG`` or config/baton.yaml."""
    return load(context.obj, secrets=secrets)


@contextmanager
def app(context: typer.Context) -> Iterator[App]:
    """A whole Baton."""
    with App.open(settings(context)) as made:
        yield made


@contextmanager
def ledger(context: typer.Context) -> Iterator[Ledger]:
    """Only the ledger, for verbs that ask no server."""
    with open_ledger(settings(context, secrets=False)) as opened:
        yield opened


def one_source(found: Settings, name: str | None) -> str:
    """The source that a verb is about: the named one, or the only one."""
    names = [source.name for source in found.sources]
    if name is None and len(names) == 1:
        return names[0]
    if name in names:
        return str(name)
    raise UsageError(
        "which source?" if name is None else f"there is no source {name!r}",
        remedy=f"--source {'|'.join(names)}",
    )
