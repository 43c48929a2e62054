"""What people and the hospital do meanwhile, at the server itself: lines of steps, each step once and in order.

The lines touch different patients, and the steps of a line lead one way, so that the end hangs on what was done and
not on when Baton saw it. A step that needs a Task waits until it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Protocol

from adapter.sandbox.cohort import STORIES, booking
from adapter.sandbox.synthetic import Builder

Resource = dict[str, Any]
BUSINESS_STATUS = "urn:baton:code:business-status"


class Desk(Protocol):
    """Where people work: the EHR itself, seen from inside."""

    run: str
    builder: Builder

    def put(self, resource: Resource) -> None: ...

    def change(self, ref: str, **elements: Any) -> None: ...

    def on_task(self, patient: str, element: str, value: str, edit: Callable[[Resource], None]) -> bool: ...

    def has_task(self, patient: str) -> bool: ...


Step = Callable[[Desk], bool]


@dataclass(slots=True)
class Line:
    """The steps for one patient, and how many were done."""

    patient: str
    steps: tuple[Step, ...]
    done: int = 0

    def advance(self, desk: Desk) -> bool:
        """Do the next step; False where it has to wait or there is none."""
        if self.done >= len(self.steps) or not self.steps[self.done](desk):
            return False
        self.done += 1
        return True

    @property
    def over(self) -> bool:
        return self.done >= len(self.steps)


@dataclass(slots=True)
class Story:
    """All lines, in an order that a seed draws."""

    lines: list[Line]
    random: Random
    told: list[str] = field(default_factory=list)

    @classmethod
    def drawn(cls, seed: str) -> Story:
        return cls(list(_lines()), Random(f"story/{seed}"))

    def some(self, desk: Desk, most: int) -> int:
        """Up to ``most`` steps of lines drawn at random; how many were done."""
        return sum(self._one(desk) for _ in range(most))

    def _one(self, desk: Desk) -> bool:
        open_lines = [line for line in self.lines if not line.over]
        if not open_lines:
            return False
        line = self.random.choice(open_lines)
        return self._told(line, line.advance(desk))

    def round(self, desk: Desk) -> int:
        """One step of each line that can go on; how many went."""
        return sum(self._told(line, line.advance(desk)) for line in self.lines)

    def _told(self, line: Line, went: bool) -> bool:
        if went:
            self.told.append(f"{line.patient} step {line.done}")
        return went

    def waiting(self) -> list[str]:
        """The lines that are not over."""
        return [f"{line.patient} step {line.done + 1}" for line in self.lines if not line.over]

    @property
    def left(self) -> int:
        return sum(len(line.steps) - line.done for line in self.lines)


def steady_cohort(resources: list[Resource], run: str) -> list[Resource]:
    """A cohort without the stories that only wait for some hours to pass."""
    waiting = {f"{run}-p{story.number:02}" for story in STORIES if story.settling}
    named = {f"Patient/{id}" for id in waiting}
    return [one for one in resources if one["id"] not in waiting and not named & set(_names(one))]


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for part in value.values():
            yield from _names(part)
    elif isinstance(value, list):
        for part in value:
            yield from _names(part)


# --- what people do with a Task


def sets_status(patient: str, status: str) -> Step:
    """A person sets the status."""
    return lambda desk: desk.on_task(patient, "status", status, lambda task: task.update(status=status))


def notes(patient: str, text: str) -> Step:
    """A person adds a note."""

    def edit(task: Resource) -> None:
        task["note"] = [*task.get("note", []), {"text": text}]

    return lambda desk: desk.on_task(patient, "note", text, edit)


def takes(patient: str, doctor: int = 1) -> Step:
    """A person makes somebody the owner."""

    def step(desk: Desk) -> bool:
        owner = desk.builder.to("Practitioner", f"dr{doctor}")
        return desk.on_task(patient, "owner", owner["reference"], lambda task: task.update(owner=owner))

    return step


def moves_due(patient: str, days: int) -> Step:
    """A person moves the due date to a day."""

    def step(desk: Desk) -> bool:
        day = (desk.builder.now + timedelta(days=days)).date().isoformat()

        def edit(task: Resource) -> None:
            restriction = task.get("restriction", {})
            period = {**restriction.get("period", {}), "end": day}
            task["restriction"] = {**restriction, "period": period}

        return desk.on_task(patient, "due", day, edit)

    return step


def says(patient: str, code: str) -> Step:
    """A person sets the business status."""
    status = {"coding": [{"system": BUSINESS_STATUS, "code": code}]}
    return lambda desk: desk.on_task(
        patient, "business_status", code, lambda task: task.update(businessStatus=status)
    )


# --- what the hospital does


def orders(patient: str, name: str, what: str) -> Step:
    """A new referral, written ten days ago and entered now."""

    def step(desk: Desk) -> bool:
        builder = desk.builder
        desk.put(builder.order(name, int(patient[1:]), what, authored=builder.at(-10, 10)))
        return True

    return step


def revokes(patient: str, order: str) -> Step:
    """The order is taken back."""
    return _with_task(
        patient, lambda desk: desk.change(f"ServiceRequest/{desk.run}-{order}", status="revoked")
    )


def books(patient: str, order: str) -> Step:
    """A visit is booked for the order."""

    def do(desk: Desk) -> None:
        builder, number = desk.builder, int(patient[1:])
        desk.put(builder.visit(f"b{number}", number, "booked", days=9, order=order, created_days=0))

    return _with_task(patient, do)


def books_for_p08() -> Step:
    """The demo's booking."""
    return _with_task(
        "p08", lambda desk: desk.put(booking(desk.builder.now, desk.builder.zone, run=desk.run))
    )


def confirms(patient: str, visit: str) -> Step:
    """The visit that was asked for is booked."""
    return _with_task(patient, lambda desk: desk.change(f"Appointment/{desk.run}-{visit}", status="booked"))


def answers(patient: str, name: str) -> Step:
    """The payer answers anew: in force."""

    def do(desk: Desk) -> None:
        for one in desk.builder.check(name, int(patient[1:]), days=0, outcome="complete", inforce=True):
            desk.put(one)

    return _with_task(patient, do)


def _with_task(patient: str, do: Callable[[Desk], None]) -> Step:
    def step(desk: Desk) -> bool:
        if not desk.has_task(patient):
            return False
        do(desk)
        return True

    return step


def _lines() -> Iterator[Line]:
    def line(patient: str, *steps: Step) -> Line:
        return Line(patient, steps)

    yield line(
        "p17",
        sets_status("p17", "in-progress"),
        notes("p17", "called the desk"),
        sets_status("p17", "completed"),
    )
    yield line("p01", sets_status("p01", "in-progress"), confirms("p01", "v01"))
    yield line("p03", sets_status("p03", "rejected"))
    yield line(
        "p04", moves_due("p04", 9), takes("p04", 2), notes("p04", "left a message\r\nwill call <b>again</b>")
    )
    yield line("p08", books_for_p08())
    yield line("p09", revokes("p09", "o09"))
    yield line("p10", notes("p10", "family asks for the morning"), books("p10", "o10"))
    yield line(
        "p18", says("p18", "waiting-records"), notes("p18", "asked twice"), says("p18", "left-message")
    )
    yield line("p19", answers("p19", "e19b"))
    yield line("p21", notes("p21", "sent again"), answers("p21", "e21c"))
    yield line(
        "p22",
        sets_status("p22", "accepted"),
        takes("p22", 3),
        moves_due("p22", 12),
        sets_status("p22", "on-hold"),
    )
    yield line("p23", notes("p23", "the payer will not"), sets_status("p23", "failed"))
    yield line("p05", orders("p05", "n05", "cardiology"), takes("p05"), sets_status("p05", "completed"))
    yield line("p16", orders("p16", "n16", "physiotherapy"), revokes("p16", "n16"))
    yield line(
        "p07",
        orders("p07", "n07", "cardiology"),
        sets_status("p07", "in-progress"),
        says("p07", "reached"),
        revokes("p07", "n07"),
    )
    yield line("p20", orders("p20", "n20", "dermatology"), sets_status("p20", "entered-in-error"))
    yield line("p13", orders("p13", "n13", "cardiology"), moves_due("p13", 20), books("p13", "n13"))
    yield line(
        "p11", orders("p11", "n11", "mri"), sets_status("p11", "cancelled"), notes("p11", "done elsewhere")
    )
