"""Polling: what changed at a source, what is missing there, and as of when that may be believed.

:class:`Poller` walks types, :class:`PatientReader` keeps Patients fresh, :class:`Evidence` reads types for
one patient, :class:`OpenWork` reads again what open tasks hang on, :class:`QuarantineRetry` what could not be
read.
"""

from adapter.polling.budget import Budget
from adapter.polling.context import PollingContext
from adapter.polling.evidence import Evidence, ReadReport
from adapter.polling.open_work import OpenWork, RereadReport
from adapter.polling.patients import PatientReader, PatientsReport
from adapter.polling.poller import Poller, stale
from adapter.polling.reader import Reader
from adapter.polling.result import PollResult
from adapter.polling.retry import QuarantineRetry

__all__ = [
    "Budget",
    "Evidence",
    "OpenWork",
    "PatientReader",
    "PatientsReport",
    "PollResult",
    "Poller",
    "PollingContext",
    "QuarantineRetry",
    "ReadReport",
    "Reader",
    "RereadReport",
    "stale",
]
