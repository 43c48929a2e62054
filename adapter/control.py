"""How a person steers a Baton: pause and resume, take a rule's work back, and see what go-live left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from adapter import notes
from adapter.app import App, row_of
from adapter.clock import Clock, SystemClock
from adapter.errors import BatonError, LedgerLocked, UsageError
from adapter.fhirjson import dumps, loads
from adapter.ledger.fold import difference
from adapter.mapping.finding import Finding
from adapter.model import Chart, Event, EventKind, Json, Task, TaskStatus
from adapter.reconcile.needs import CLOSING, Need, Verdict, judge, needs_of, unheard_of
from adapter.reconcile.reconciler import findings_of, speakers_of

_PAGE = 200


_WAIT_S = 15.0


def perform(app: App, verb: str, arguments: Json) -> str:
    """Do what a verb asks, with the ledger's lock held; what came of it, as JSON."""
    try:
        said: Any = _COMMANDS[verb](app, arguments)
    except KeyError:
        said = {"fault": f"this Baton knows no command {verb!r}"}
    except BatonError as fault:
        said = {"fault": str(fault)}
    return dumps(said).decode()


def ask(app: App, verb: str, arguments: Json, clock: Clock | None = None) -> Any:
    """Do it here, or, where a running service holds the ledger, ask the service and wait for its answer (F67).

    Raises:
        LedgerLocked: something else than a service holds the ledger, or it did not answer: it will do it yet.
        BatonError: what went wrong there.
    """
    try:
        with app.ledger.lock(verb):
            return _answered(perform(app, verb, arguments))
    except LedgerLocked:
        number = app.ledger.add_command(verb, arguments)
    clock = clock or SystemClock()
    until = clock.monotonic() + _WAIT_S
    while clock.monotonic() < until:
        text = app.ledger.note(notes.answer(number))
        if text:
            return _answered(text)
        clock.sleep(0.2)
    raise LedgerLocked(
        "another Baton works on this ledger and has not answered yet",
        remedy="what was asked is noted down, and done by the next `baton run`; see: baton status",
    )


def _answered(text: str) -> Any:
    said = loads(text)
    if isinstance(said, dict) and "fault" in said:
        raise BatonError(said["fault"])
    return said


def retry_quarantine(app: App, number: int) -> bool:
    """Read a quarantined resource again, here or by the running service; whether it can be used now."""
    return bool(ask(app, "quarantine retry", {"number": number}))


def pause(app: App, name: str) -> str:
    """Stop one source's writing, or one rule; ``name`` "" means every source. What was paused, in a sentence."""
    return _set(app, name, paused=True)


def resume(app: App, name: str) -> str:
    """Let what was paused go on; its persons are looked at again."""
    said = _set(app, name, paused=False)
    for source in app.settings.sources:
        app.ledger.request_everyone(source.name, "resumed")
    return said


def _set(app: App, name: str, *, paused: bool) -> str:
    done = "paused" if paused else "resumed"
    configured = [source.name for source in app.settings.sources]
    if not name or name in configured:
        named = [name] if name else configured
        for one in named:
            if not app.ledger.pause_source(one, paused=paused):
                raise UsageError(f"the source {one} was never synced", remedy="run: baton sync")
            since = SystemClock().now().isoformat() if paused else ""
            app.ledger.keep_note(notes.PAUSED_SINCE + one, since)
        return f"{done}: {', '.join(named)}"
    if app.edition.rule(name) is None:
        known = ", ".join([*configured, *(rule.id for rule in app.edition.rules)])
        raise UsageError(f"there is no source or rule {name!r}", remedy=f"known: {known}")
    rules = app.paused_rules()
    left = rules | {name} if paused else rules - {name}
    app.ledger.keep_note(notes.PAUSED_RULES, dumps(sorted(left)).decode())
    return f"{done}: {name}"


def withdraw(app: App, rule: str, *, dry_run: bool) -> list[dict[str, Any]]:
    """Take a rule's open tasks back, with one reason, and turn the rule off until it is resumed.

    What a person has started is marked and not closed. A dry run only says which tasks these are. The needs
    stay silent afterwards, as after a person's rejection.
    """
    if app.edition.rule(rule) is None and not any(t.rule == rule for t in app.ledger.tasks()):
        raise UsageError(f"there is no rule {rule!r}", remedy="see: baton mappings list")
    found = [task for task in app.ledger.tasks(open_only=True) if task.rule == rule]
    words = app.ledger.words([task.id for task in found])
    listed = [row_of(task, words.get(task.id)) for task in found]
    if not dry_run:
        ask(app, "withdraw", {"rule": rule})
    return listed


def _withdraw(app: App, rule: str) -> int:
    """Take the rule's open tasks back, whichever are open now; how many."""
    found = [task for task in app.ledger.tasks(open_only=True) if task.rule == rule]
    if app.edition.rule(rule) is not None:
        _set(app, rule, paused=True)
    app.ledger.append([_withdrawn(app, task) for task in found])
    app.ledger.want([f"Task/{task.id}" for task in found])
    plans = {(task.patient, task.programme) for task in found}
    touched = [p for p in app.ledger.plans() if not p.gone and (p.patient, p.programme) in plans]
    app.ledger.want([f"CarePlan/{plan.id}" for plan in touched])
    return len(found)


def _withdrawn(app: App, task: Task) -> Event:
    now = app.engine(task.source).now
    if task.started:
        new = structs.replace(task, mark="no-longer-needed", marked_at=now)
        return Event(task.id, EventKind.MARKED, now, difference(task, new), "withdrawn by command")
    new = structs.replace(
        task, status=TaskStatus.CANCELLED, closed_at=now, closed_by="command", hold="", held_status=""
    )
    return Event(task.id, EventKind.WITHDRAWN, now, difference(task, new), "withdrawn by command")


def explained(app: App, task_id: str) -> dict[str, Any]:
    """Everything that answers "why is this here?"; of an open task also what each rule of its need says ``now``.

    A task may be kept by another rule than the one that opened it, and one that nobody needs any more may wait until
    a type can be read by which another rule may speak of its need: ``waits_for``.
    """
    told = app.explain(task_id)
    task = app.ledger.task(told["id"])
    assert task is not None
    says, waits_for = _now(app, task) if task.open else ([], [])
    return {**told, "now": says, "waits_for": waits_for}


def _now(app: App, task: Task) -> tuple[list[dict[str, str]], list[str]]:
    """What the rules of an open task's need find, were it looked at now, and what it waits for."""
    engine = app.engine(task.source)
    try:
        chart = app.ledger.chart_of(task.patient, engine.facts(), engine.now)
        needs = needs_of(findings_of(app.edition, chart, engine.client.bases), chart)
    except BatonError:
        return [], []  # a damaged row: `ledger check` tells of it
    says: list[dict[str, str]] = []
    unread: set[str] = set()
    speakers = speakers_of(app.edition, chart)
    for need in needs:
        if need.text == task.need or need.speaks_of(task.rule, task.focus):
            says += [_finding(finding, chart) for finding in need.findings]
            closes = need.verdict in CLOSING
            unread |= unheard_of(need, speakers(need.text or task.need), chart) if closes else need.missing
    return says, sorted(unread)


def _finding(finding: Finding, chart: Chart) -> dict[str, str]:
    return {"rule": finding.rule.id, "focus": finding.focus, "says": judge(finding, chart.now).value}


def baseline(app: App) -> list[dict[str, Any]]:
    """What go-live left out, for a clean-up by hand, and what waits for its turn in the days after it.

    Each row has ``opens``: when the task will be made; None where none will, because it is too old.
    """
    with app.copied() as copy:
        return [_left(need, source) for source, need in _needs(copy) if _is_left(need)]


def _is_left(need: Need) -> bool:
    return need.verdict is Verdict.OLD or (need.verdict is Verdict.WAIT and need.face.in_turn)


def _needs(app: App) -> list[tuple[str, Need]]:
    found = []
    for source in app.settings.sources:
        if app.ledger.source(source.name) is None:
            continue
        engine = app.engine(source.name)
        app.ledger.request_everyone(source.name, "sweep")
        requests = app.ledger.due_requests(source.name, engine.now, 10_000_000)
        for start in range(0, len(requests), _PAGE):
            charts = app.ledger.charts(requests[start : start + _PAGE], engine.facts(), engine.now)
            for chart in charts:
                findings = findings_of(app.edition, chart, engine.client.bases)
                found += [(source.name, need) for need in needs_of(findings, chart)]
    return found


def _left(need: Need, source: str) -> dict[str, Any]:
    face = need.face
    return {
        "source": source,
        "rule": face.rule.id,
        "focus": face.focus,
        "need": need.text,
        "since": face.onset.isoformat() if face.onset else None,
        "opens": face.opens.isoformat() if face.in_turn and face.opens else None,
        "why": "live_over" if face.in_turn else face.too_old_reason,
        "title": face.particulars.words.title,
    }


def read_plan(text: bytes) -> frozenset[str]:
    """The targets of a saved plan.

    Raises:
        UsageError: where the file is no plan.
    """
    try:
        said = loads(text)
        return frozenset(str(one["target"]) for one in said["writes"])
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            "this file is no plan", remedy="make one: baton sync --dry-run --plan FILE"
        ) from None


_COMMANDS: Mapping[str, Callable[[App, Json], Any]] = {
    "withdraw": lambda app, said: _withdraw(app, str(said["rule"])),
    "quarantine retry": lambda app, said: app.retry_quarantine(int(said["number"])),
}
