"""A linter of words: what a coordinator reads must say what to do, in plain words, without judging anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator

from adapter.mapping.template import Group, Hole, Template

LONGEST_TITLE = 80
_VERB_LIST = """
    add address agree appeal arrange ask attach book bring call cancel chase check choose clarify close
    collect compare complete confirm contact coordinate correct deliver discuss document enrol enroll
    escalate explain file fill find finish follow forward get give help hold inform invite issue keep
    link list look mail make match meet message move note notify obtain offer open order pass phone plan
    prepare print process provide put reach read rebook reconcile record refer register remind renew
    repeat reply report request reschedule resolve return review run schedule search secure see select
    send set settle sign sort start submit tell test track transfer translate transmit update upload use
    verify visit wait watch write
"""
_VERBS = frozenset(_VERB_LIST.split())
_NO_VERB = re.compile(
    r"^(?:the|a|an|no|not|please|you|your|we|our|patient|missing|needs?|new|this|that|there|it|is|was)$", re.I
)
_NO_VERB_ENDING = re.compile(r"(?:ing|ed|tion|sion|ment|ness|ity|ance|ence|al|er|or)$", re.I)
_CODE_IN_PARENTHESES = re.compile(r"\(\s*(?:[A-Z]{0,3}\d[\w.\-]*|[a-z]+(?:-[a-z0-9]+)+)\s*\)")
_JUDGEMENT = re.compile(
    r"\b(?:non-?complian\w*|non-?adheren\w*|refus\w+|fail(?:s|ed)?\s+to|difficult|uncooperative|unreliable|lazy|"
    r"careless|negligen\w*|poor\s+historian|drug[- ]seek\w*|abuser?s?|addicts?|frequent\s+flyers?|denie[sd]\s+"
    r"(?:having|that)|claims\s+(?:to|that)|alleg\w+|should\s+have|at\s+fault|to\s+blame|complain(?:s|ed|ing)?)\b",
    re.IGNORECASE,
)


def title_faults(template: Template) -> Iterator[tuple[str, str]]:
    """What is wrong with a title: (message, remedy)."""
    first = template.parts[0] if template.parts else ""
    word = first.split(" ")[0] if isinstance(first, str) else ""
    if not _is_imperative(word):
        yield "a title begins with what to do", "begin with a verb such as Book, Call, Obtain, Verify"
    if len(template.literal) > LONGEST_TITLE:
        yield f"the title's fixed text has more than {LONGEST_TITLE} characters", "shorten it"
    if template.literal.rstrip().endswith("."):
        yield "a title has no full stop", "remove it"
    yield from word_faults(template)


def sentence_faults(template: Template) -> Iterator[tuple[str, str]]:
    """What is wrong with a reason or a next step: it is one sentence."""
    text = _sample(template).strip()
    if not text.endswith("."):
        yield "this is one sentence and ends with a full stop", "add the full stop"
    elif re.search(r"[.!?]\s+\S", text):
        yield "this is more than one sentence", "say it in one"
    if text and not text[0].isupper():
        yield "a sentence begins with a capital letter", "write it large"
    yield from word_faults(template)


def word_faults(template: Template) -> Iterator[tuple[str, str]]:
    """Judgements of people and codes, which no text for people holds."""
    found = _JUDGEMENT.search(_sample(template))
    if found:
        yield f"'{found[0]}' judges a person", "say what happened, not whose fault it is"
    if _CODE_IN_PARENTHESES.search(template.text) or _code_in_hole(template):
        yield "a code in parentheses means nothing to most readers", "use the code's text or display"


def _is_imperative(word: str) -> bool:
    if word.lower() in _VERBS:
        return word[:1].isupper()
    fits = word.isalpha() and word[:1].isupper() and word[1:].islower()
    return fits and not _NO_VERB.match(word) and not _NO_VERB_ENDING.search(word)


def _sample(template: Template) -> str:
    """The text with a word in each hole."""
    said: list[str] = []
    for part in template.parts:
        pieces = part.parts if isinstance(part, Group) else (part,)
        said += [("word" if said else "Word") if isinstance(piece, Hole) else piece for piece in pieces]
    return "".join(said)


def _code_in_hole(template: Template) -> bool:
    return bool(re.search(r"\(\s*\{[^}]*\.code\s*\}\s*\)", template.text))
