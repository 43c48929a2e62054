"""Every error that Baton raises on purpose, as one tree split by what the caller must do next.

``ConfigError`` a person mends a file · ``RetryableError`` try again later · ``OutcomeUnknown`` look before sending
again · ``Conflict`` somebody else wrote: read back and decide anew · ``Rejected`` the server will not take it: park
it · ``AccessRefused`` the source's sign-in or scope · ``Unsafe`` stop and ask a person.

No message carries patient data: texts of a server stay in :class:`Issue`, and only its codes and its place are
printed. Errors of httpx and sqlite3 never leave ``adapter.fhir`` and ``adapter.ledger``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file that a person wrote: where it is, what is wrong, what to do."""

    message: str
    remedy: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line or "", self.column or "") if part)
        said = f"{self.key}: {self.message}" if self.key else self.message
        text = f"{place}: {said}" if place else said
        return f"{text} → {self.remedy}" if self.remedy else text


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of an OperationOutcome. ``text`` may hold patient data and is never logged or printed by itself.

    ``server_code`` is what names the fault without a patient in it: "HAPI-0989", Epic's "4113".
    """

    severity: str
    code: str
    expression: str = ""
    server_code: str = ""
    text: str = ""

    def safe(self) -> str:
        """The issue without its free text."""
        parts = [self.severity, self.code, self.server_code, self.expression]
        return " ".join(part for part in parts if part)


class BatonError(Exception):
    """The root. ``str()`` is one sentence for a person; ``remedy`` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} → {self.remedy}" if self.remedy else self.message


class ConfigError(BatonError):
    """A file or an option that a person wrote is wrong; ``faults`` lists every fault found at once."""

    exit_code = 2

    def __init__(self, message: str, faults: Sequence[Fault] = (), *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.faults = tuple(faults)


class SettingsError(ConfigError):
    """The configuration is wrong."""


class MappingError(ConfigError):
    """A mapping file, a value set or a code map is wrong."""


class UsageError(ConfigError):
    """The command line asks for what cannot be done, or names what does not exist."""


class ServerError(BatonError):
    """A FHIR server answered with, or failed by, something. ``status`` is 0 where no answer came."""

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        status: int = 0,
        issues: Sequence[Issue] = (),
        source: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.issues = tuple(issues)
        self.source = source

    def codes(self) -> str:
        """What the server said, without its free text."""
        return "; ".join(issue.safe() for issue in self.issues)


class RetryableError(ServerError):
    """A passing fault: the same request may succeed later, and nothing was changed by it."""


class ServerUnavailable(RetryableError):
    """No connection, a time-out before sending a write, or 5xx on a read."""


class RateLimited(RetryableError):
    """429, or 503 with Retry-After; ``retry_after`` in seconds, already capped."""

    def __init__(self, message: str, *, retry_after: float = 0.0, **kw: object) -> None:
        super().__init__(message, **kw)  # type: ignore[arg-type]
        self.retry_after = retry_after


class OutcomeUnknown(ServerError):
    """A write was sent and no answer came (or 408, or 5xx): it may have been done. Look before sending again."""


class Conflict(ServerError):
    """409 or 412: the version is stale, or several match. Servers differ in the number, not in the meaning."""


class NotFound(ServerError):
    """404. Only one with an OperationOutcome (``issues``) speaks of the resource; others may be a wrong route."""


class Gone(ServerError):
    """410 on a resource: it was deleted."""


class PageExpired(ServerError):
    """The paging session is over (410 on a page, Epic 4113): repeat the window."""


class Rejected(ServerError):
    """400, 405, 413, 415, 422: the server will not take this content."""


class AccessRefused(ServerError):
    """401 or 403: sign-in or scope. Opens the source's breaker, or closes one type; parks nothing."""


class NotFhir(ServerError):
    """The answer is no FHIR: a HTML page, JSON that does not parse, a body beyond the limit, another version."""


class ForeignOrigin(ServerError):
    """A link or redirect leads to another origin. Nothing was sent there."""


class Unsafe(BatonError):
    """Going on could harm: another ledger writes here, the ledger is older than the EHR. A person decides."""


class LedgerError(BatonError):
    """The ledger cannot be used: locked by another Baton, made by a newer one, corrupt, disk full, read-only."""


class LedgerUnusable(LedgerError):
    """The file itself cannot be read or written now: a full disk, a read-only folder, a corrupt file. No person's
    chart is to blame, so nothing is set aside because of it."""


class LedgerLocked(LedgerError):
    """Another process works on this ledger; the message names it."""

    exit_code = 2
