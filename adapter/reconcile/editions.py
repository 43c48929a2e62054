"""The step from one edition of the mappings to the next: nothing gets lost without a word (CONSISTENCY F19).

A file that was not copied yet, or a need whose words were edited, would leave tasks without a rule, or make them
anew. So the rules of the last edition are remembered, and one that is missing stops the start.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapter import notes
from adapter.errors import Fault, MappingError
from adapter.fhirjson import dumps, loads
from adapter.ledger import Ledger
from adapter.mapping.rules import Edition


def take_up(ledger: Ledger, edition: Edition) -> None:
    """Compare an edition with the one before, and remember it.

    Raises:
        MappingError: a rule, or the text of a need, of the last edition is gone and nobody says why. Nothing was
            changed.
    """
    held = ledger.note(notes.RULES)
    faults = list(_gone(dict(loads(held)) if held else {}, edition))
    if faults:
        raise MappingError("the mappings lack what the last edition had", faults)
    present = dumps({rule.id: rule.need.text for rule in edition.rules}).decode()
    if present != held:
        ledger.keep_note(notes.RULES, present)


def _gone(before: dict[str, str], edition: Edition) -> Iterator[Fault]:
    for id, need in sorted(before.items()):
        rule = edition.rule(id)
        if rule is None and id not in edition.removed:
            yield Fault(
                f"the rule {id} is missing",
                "put its file back, or name it under `removed:` in a mapping: its open tasks stay then",
            )
        elif (
            rule is not None and need != rule.need.text and (not rule.was_need or rule.was_need.text != need)
        ):
            yield Fault(
                f"the need of the rule {id} was {need!r}",
                "a need is an identity: put it back, or say `was_need:` so that its tasks are found again",
                file=rule.file,
            )
