"""Baton: polls FHIR servers, keeps a ledger of coordination tasks, writes Task and CarePlan back."""

__version__ = "0.6.2"
