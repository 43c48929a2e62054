"""Cut JSON into its parts by brackets and quotation marks alone: for what does not parse as a whole.

Nothing is decoded and nothing recurses, so that a value which is no JSON, or is nested a million deep, stays
one part among others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SIGN = re.compile(rb'"|[{\[]+|[}\]]+|,')
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*")


def members(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of an object, in order, with their values as written.

    Raises:
        ValueError: where it is no object, or is cut off.
    """
    at = _skip(raw, 0)
    if raw[at : at + 1] != b"{":
        raise ValueError("no object")
    at = _skip(raw, at + 1)
    while raw[at : at + 1] != b"}":
        key = _STRING.match(raw, at)
        colon = _skip(raw, key.end()) if key else at
        if key is None or raw[colon : colon + 1] != b":":
            raise ValueError("no member")
        start = _skip(raw, colon + 1)
        end = _value_end(raw, start)
        yield key[0][1:-1].decode("utf-8", "replace"), raw[start:end].rstrip()
        at = _skip(raw, end + 1) if raw[end : end + 1] == b"," else end


def elements(raw: bytes) -> Iterator[bytes]:
    """The elements of an array, in order, as written.

    Raises:
        ValueError: where it is no array, or is cut off.
    """
    at = _skip(raw, 0)
    if raw[at : at + 1] != b"[":
        raise ValueError("no array")
    at = _skip(raw, at + 1)
    while raw[at : at + 1] != b"]":
        end = _value_end(raw, at)
        yield raw[at:end].rstrip()
        at = _skip(raw, end + 1) if raw[end : end + 1] == b"," else end


def _value_end(raw: bytes, at: int) -> int:
    """Where the value that starts at ``at`` ends: at the comma or the closing bracket that follows it."""
    depth = 0
    while found := _SIGN.search(raw, at):
        sign, at = found[0], found.end()
        if sign == b'"':
            string = _STRING.match(raw, found.start())
            if string is None:
                break
            at = string.end()
        elif sign[:1] in b"{[":
            depth += len(sign)
        elif sign == b",":
            if depth == 0:
                return found.start()
        elif len(sign) > depth:
            return found.start() + depth
        else:
            depth -= len(sign)
    raise ValueError("cut off")


def _skip(raw: bytes, at: int) -> int:
    blank = _BLANK.match(raw, at)
    return blank.end() if blank else at
