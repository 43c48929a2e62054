"""``a ?? b``: Baton's own sign for "the first that is not empty", in templates and ``onset`` only."""

from __future__ import annotations

_OPEN, _CLOSE = "([{", ")]}"


def split_coalesce(text: str) -> list[str]:
    """The alternatives of a text, split at each ``??`` outside quotes, comments and brackets, without outer spaces.

    A text without ``??`` gives itself. Brackets or quotes that do not close are left to the parser to refuse.
    """
    found: list[str] = []
    start = place = depth = 0
    while place < len(text):
        sign = text[place]
        if sign in "'`":
            place = _after_quote(text, place)
            continue
        if text.startswith(("//", "/*"), place):
            place = _after_comment(text, place)
            continue
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if depth == 0 and text.startswith("??", place):
            found.append(text[start:place].strip())
            place = start = place + 2
            continue
        place += 1
    return [*found, text[start:].strip()]


def _after_quote(text: str, place: int) -> int:
    sign = text[place]
    place += 1
    while place < len(text) and text[place] != sign:
        place += 2 if text[place] == "\\" else 1
    return place + 1


def _after_comment(text: str, place: int) -> int:
    end = "\n" if text.startswith("//", place) else "*/"
    found = text.find(end, place + 2)
    return len(text) if found < 0 else found + len(end)
