"""How a source signs in: a bearer token or a password, from the environment or a file.

A credential is a callable that gives the text of the ``Authorization`` header: a bare token goes out as
"Bearer …", a text with its scheme ("Basic …") as it stands. After a 401 the client calls :meth:`renew` once,
and sends again if that says that the text is another one. SMART Backend Services fits the same two calls.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from adapter.errors import SettingsError


@runtime_checkable
class Renewable(Protocol):
    """A credential that can be had anew."""

    def __call__(self) -> str | None:
        """The text of the header, None where nothing is to be sent."""

    def renew(self) -> bool:
        """Fetch it again; True where it is another one now."""


class Secret:
    """A secret that stands in an environment variable or in a file (the file wins); read at its first use."""

    def __init__(
        self, *, env: str = "", file: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        if not env and file is None:
            raise SettingsError("a secret needs the name of an environment variable or of a file")
        self._env = env
        self._file = file
        self._environ = os.environ if environ is None else environ
        self._held: str | None = None

    def __call__(self) -> str:
        """The secret, without blanks around it.

        Raises:
            SettingsError: where it is missing, empty, or no text that fits into a header.
        """
        if self._held is None:
            self._held = self._read()
        return self._held

    def renew(self) -> bool:
        """Read it again; True where it has changed."""
        before, self._held = self._held, None
        return self() != before

    def _read(self) -> str:
        place = str(self._file) if self._file else f"environment variable {self._env}"
        try:
            text = self._file.read_text(encoding="utf-8") if self._file else self._environ.get(self._env, "")
        except (OSError, UnicodeDecodeError):
            raise _unusable("cannot be read", place) from None
        text = text.strip()
        if not text:
            raise _unusable("is missing or empty", place)
        if not (text.isascii() and text.isprintable()):
            raise _unusable("holds signs that no header may carry", place)
        return text


class BearerToken(Secret):
    """A token that somebody else keeps fresh in an environment variable or in a file."""


class BasicSignIn:
    """A user name and a password; sent as "Basic …"."""

    def __init__(self, user: str, password: Secret) -> None:
        if ":" in user or not user:
            raise SettingsError("a user name for basic sign-in is empty or holds a colon")
        self._user = user
        self._password = password

    def __call__(self) -> str:
        pair = f"{self._user}:{self._password()}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"

    def renew(self) -> bool:
        """Read the password again; True where it has changed."""
        return self._password.renew()


def _unusable(what: str, place: str) -> SettingsError:
    return SettingsError(
        f"the secret in {place} {what}", remedy="put the bare token there, in one line and nothing else"
    )
