"""A small FHIR R4 server in this process, for the demo and for fault tests. It is a sandbox and says so.

It shares no code with the client that it tests.
"""

from adapter.sandbox.faults import Fault, FaultKind, Faults
from adapter.sandbox.habits import Habits
from adapter.sandbox.messages import Recorded
from adapter.sandbox.server import Sandbox

__all__ = ["Fault", "FaultKind", "Faults", "Habits", "Recorded", "Sandbox"]
