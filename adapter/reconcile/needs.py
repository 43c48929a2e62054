"""Needs: what several rules say about one thing to be done, brought to one verdict. Pure.

Two rules may see the same need (a no-show of a referral's visit): the need is open if any of them says open,
complete if none does and one is satisfied, withdrawn if all say no, and left as it is while any is unknown
(CONSISTENCY F20). The rule of lowest rank that says open gives the need its face.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from adapter.mapping.finding import Finding, Tri
from adapter.mapping.scope import Freshness
from adapter.model import Chart, Known


class Verdict(StrEnum):
    """What a rule, or all rules of a need, say now."""

    OPEN = "open"
    WAIT = "wait"  # needed, and its ``opens`` lies ahead
    OLD = "old"  # needed, and older than go-live less the lookback, or than max_age: gates opening only
    COMPLETE = "complete"
    WITHDRAW = "withdraw"
    ENDED = "ended"  # withdrawn by the clock, as the rule's ``ends`` says
    UNKNOWN = "unknown"


STANDING = frozenset({Verdict.OPEN, Verdict.OLD, Verdict.WAIT})
CLOSING = frozenset({Verdict.COMPLETE, Verdict.ENDED, Verdict.WITHDRAW})


class Need(Struct, frozen=True):
    """One need of one person: the verdict, the finding that gives the face, and all that speak of it.

    ``text`` is the need's canonical text, "" where it could not be told (a link not read yet): such a need
    matches an open task by rule and focus only. ``participant`` is the person where the focus names several.
    """

    text: str
    participant: str
    verdict: Verdict
    face: Finding
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> frozenset[str]:
        """Types whose reading could settle what is unknown, where the answer would act by now."""
        return frozenset().union(*(f.missing for f in self.findings))

    @property
    def suspended(self) -> bool:
        """Whether it hangs on an order that is on hold: whoever holds it does not want it done now."""
        return any(f.on_hold for f in self.findings)

    def acts(self, now: datetime) -> bool:
        """Whether an answer would act: not while every opening that is known lies ahead."""
        return any(not (f.opens_known and f.opens and f.opens > now) for f in self.findings)

    def speaks_of(self, rule: str, focus: str) -> bool:
        """Whether one of the findings is that of a rule about a focus."""
        return any(f.rule.id == rule and f.focus == focus for f in self.findings)


def judge(finding: Finding, now: datetime) -> Verdict:
    """What one finding says by itself. ``satisfied`` is judged before ``when`` where both would close."""
    if finding.satisfied is Tri.YES:
        return Verdict.COMPLETE
    if finding.ended:
        return Verdict.ENDED
    if finding.when is Tri.NO:
        return Verdict.WITHDRAW
    if finding.when is Tri.UNKNOWN or finding.satisfied is Tri.UNKNOWN or not finding.opens_known:
        return Verdict.UNKNOWN
    if finding.opens is not None and finding.opens > now:
        return Verdict.WAIT
    return Verdict.OLD if finding.old else Verdict.OPEN


# The first that any finding says is what the need is; UNKNOWN stands before the closing ones because what is
# unknown closes nothing.
_ORDER = (
    Verdict.OPEN,
    Verdict.UNKNOWN,
    Verdict.WAIT,
    Verdict.OLD,
    Verdict.COMPLETE,
    Verdict.ENDED,
    Verdict.WITHDRAW,
)


def needs_of(findings: Iterable[Finding], chart: Chart) -> list[Need]:
    """The needs that a person's findings speak of, in a stable order."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    loose: list[Finding] = []
    for finding in findings:
        if finding.need:
            groups.setdefault((finding.need, participant_of(finding, chart)), []).append(finding)
        else:
            loose.append(finding)
    made = [_combined(text, participant, group, chart.now) for (text, participant), group in groups.items()]
    made += [_combined("", participant_of(f, chart), [f], chart.now) for f in loose]
    return sorted(made, key=lambda need: (need.text, need.participant, need.face.focus, need.face.rule.id))


def participant_of(finding: Finding, chart: Chart) -> str:
    """The person where the focus names several (a group visit): each participant's need is her own (F20)."""
    snapshot = chart.snapshots.get(finding.focus)
    if snapshot is None or snapshot.patients == chart.patients:
        return ""
    others = set(snapshot.patients) - set(chart.patients)
    return chart.person if others else ""


def unheard_of(need: Need, speakers: Iterable[str], chart: Chart) -> frozenset[str]:
    """Those of some types by which another rule may speak of a need for all that is known since its foci came.

    That all rules say no rests on knowing all of them (F3). What nobody can read keeps no task open.
    """
    came = [Freshness(chart.snapshots[finding.focus], chart.now) for finding in need.findings]
    known = {type: chart.known.get(type, Known()) for type in speakers}
    return frozenset(
        [
            type
            for type, said in known.items()
            if not said.blind and not all([since.holds(type, said) for since in came])
        ]
    )


def need_key(source_key: str, need: str, participant: str) -> str:
    """The key of a need: drawn once, at its first opening, then kept with the task and never computed again."""
    text = f"{source_key}|{need}|{participant}"
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode().lower()  # 16 letters


def _combined(text: str, participant: str, findings: list[Finding], now: datetime) -> Need:
    judged = [(judge(finding, now), finding) for finding in findings]
    verdict, face = judged[0]
    if len(judged) > 1:
        said = {verdict for verdict, _ in judged}
        verdict = next(v for v in _ORDER if v in said)
        speaking = [f for v, f in judged if v is verdict]
        face = min(speaking, key=lambda f: (f.rule.rank, f.rule.id, f.focus))
    if not text and verdict is Verdict.OPEN:
        verdict = Verdict.UNKNOWN  # a need without identity opens nothing
    return Need(text, participant, verdict, face, tuple(findings))
