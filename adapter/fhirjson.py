"""JSON as FHIR needs it: decimals keep their digits, and a page can be cut into its resources' own bytes.

A decimal read as a binary float loses 1.10 (FHIR: precision is significant), and an update must send back what it
read to the digit. msgspec reads fractions as :class:`decimal.Decimal` and writes them as numbers.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_canonical = msgspec.json.Encoder(decimal_format="number", order="sorted")


class NotJson(ValueError):
    """The text is no JSON (or is nested too deeply to be read). The message holds a place, never the text."""


def loads(data: bytes | str) -> Any:
    """Parse JSON. Fractions become ``Decimal``, whole numbers ``int``.

    Raises:
        NotJson: where it does not parse, with the byte at which it stopped.
    """
    try:
        return _decoder.decode(data)
    except RecursionError:
        raise NotJson("nested too deeply to be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation) as error:
        raise NotJson(_place(error)) from None  # the last: an exponent that no decimal can hold


def dumps(value: Any) -> bytes:
    """Write JSON in the order of the value's members; ``Decimal`` as a number with its digits."""
    return _encoder.encode(value)


def canonical(value: Any) -> bytes:
    """Write JSON with sorted members, so that equal contents give equal bytes."""
    return _canonical.encode(value)


def digest(value: Any) -> str:
    """The first 32 hexadecimal digits of the sha256 of a value's canonical form (of the bytes, if bytes)."""
    data = value if isinstance(value, bytes) else canonical(value)
    return hashlib.sha256(data).hexdigest()[:32]


class _Based(msgspec.Struct):
    basedOn: Any = None


_based = msgspec.json.Decoder(_Based)


def based_on(data: bytes) -> Any:
    """The ``basedOn`` of a resource, None where it has none; the rest of it is passed over, not made.

    ``data`` is JSON that :func:`dumps` or :func:`canonical` wrote.
    """
    return _based.decode(data).basedOn


def _place(error: Exception) -> str:
    text = str(error)
    where = text.rpartition("(byte ")[2].rstrip(")") if "(byte " in text else ""
    return f"not JSON at byte {where}" if where else "not JSON"
