"""What a rule finds about one focus: a verdict of three values, dates, words, and when to look again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from adapter.mapping.durations import Duration
from adapter.model import Priority, Words

if TYPE_CHECKING:
    from adapter.mapping.rules import Rule


class Tri(Enum):
    """Yes, no, or not known. Kleene's logic: no-and-unknown is no, yes-and-unknown is unknown."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"

    @staticmethod
    def all(values: Iterable[Tri]) -> Tri:
        """Kleene's and."""
        found = set(values)
        if Tri.NO in found:
            return Tri.NO
        return Tri.UNKNOWN if Tri.UNKNOWN in found else Tri.YES


class Step(Struct, frozen=True):
    """One step of an escalation. ``id`` is made of anchor, offset and effect, so that inserting another before it
    changes nothing (CONSISTENCY F59). ``by`` is its distance from the due time, which a person may move."""

    id: str
    at: datetime
    priority: Priority | None = None
    tell: str = ""
    by: Duration | None = None


class Particulars(Protocol):
    """What a task says and rests on. Few of those who hold a finding ask for any of it.

    Attributes:
        words: only where the need is yes and unsatisfied; else empty.
        based_on: orders, other than the focus, that drove it.
        opening: evidence as "Type/id".
        group: tasks of one group are shown together.
        renews: digest of the values whose change ends silence; None where any is unknown, and where no task of
            the person is about this need or focus.
    """

    @property
    def words(self) -> Words: ...
    @property
    def based_on(self) -> tuple[str, ...]: ...
    @property
    def opening(self) -> tuple[str, ...]: ...
    @property
    def group(self) -> str: ...
    @property
    def renews(self) -> str | None: ...


NO_WORDS = Words()


@dataclass(frozen=True, slots=True)
class Stated:
    """:class:`Particulars` that are known from the start."""

    words: Words = NO_WORDS
    based_on: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()
    group: str = ""
    renews: str | None = None


NOTHING_STATED = Stated()


class Finding(Struct, frozen=True):
    """The judgement of one rule about one focus, at one moment.

    Attributes:
        rule: the rule.
        focus: "Type/id".
        need: the need; None where it is unknown (or where nobody asks: see ``satisfied``).
        applies, when: verdicts; ``when`` has ``applies`` and ``ends`` in it (Kleene).
        satisfied: UNKNOWN also where nobody asks: ``when`` is no and the person has no task.
        missing: types whose reading could settle what is unknown. Read for them only where the answer would act:
            an open task, or ``opens`` not ahead.
        blind: types that cannot be read at all, and without which the verdict stays unknown.
        errors: expressions that failed, without values; each counted once per rule and focus.
        onset: when the need arose.
        opens, opens_known: not before this. ``opens_known`` is false where it, the need or the onset is unknown.
        in_turn: ``opens`` was put off: it waited at go-live already, and this person's turn comes then.
        due, due_is_day: until this (the end of that business day, where it is a day).
        ends, ended: moot after this; passed.
        old, too_old_reason: must not open: "max_age" or "live_from". Never closes anything.
        steps: the escalation, by time.
        particulars: worked out when they are asked for.
        closing: evidence as "Type/id".
        hold_policy: "in-hospital" or "none".
        on_hold: the focus is an order on hold: the engine holds, the answer is as if it were active.
        urgent, priority: by the focus's own priority.
        next_look: the next moment at which time alone can change any of this; None = never.
    """

    rule: Rule
    focus: str
    need: str | None = None
    applies: Tri = Tri.UNKNOWN
    when: Tri = Tri.UNKNOWN
    satisfied: Tri = Tri.UNKNOWN
    missing: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    onset: datetime | None = None
    opens: datetime | None = None
    opens_known: bool = False
    in_turn: bool = False
    due: datetime | None = None
    due_is_day: bool = False
    ends: datetime | None = None
    ended: bool = False
    old: bool = False
    too_old_reason: str = ""
    steps: tuple[Step, ...] = ()
    particulars: Particulars = NOTHING_STATED
    performer: str = ""
    programme: str = ""
    closing: tuple[str, ...] = ()
    hold_policy: str = "in-hospital"
    urgent: bool = False
    priority: Priority = Priority.ROUTINE
    next_look: datetime | None = None
    blind: frozenset[str] = frozenset()
    on_hold: bool = False

    def opens_now(self, now: datetime) -> bool:
        """Whether, guards aside, a task has to stand for this: yes, unsatisfied, begun, and not too old."""
        return (
            self.when is Tri.YES
            and self.satisfied is Tri.NO
            and self.need is not None
            and self.opens_known
            and self.opens is not None
            and self.opens <= now
            and not self.old
        )
